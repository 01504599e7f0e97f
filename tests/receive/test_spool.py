"""Content in memory and in a file."""

import asyncio
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backupmx.receive import spool
from backupmx.receive.spool import Body, Budget


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def nothing() -> None:
    pass


class Watched(Budget):
    """Knows the most that was ever held."""

    most = 0

    def __setattr__(self, name: str, value: int) -> None:
        super().__setattr__(name, value)
        if name == "held" and value > self.most:
            self.most = value


async def written(body: Body) -> None:
    """Nothing of it is on its way to the disk any more."""
    while body._writing is not None:
        await asyncio.wait([body._writing])


async def test_small_content_stays_in_memory(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Nothing is written for ordinary mail."""
    body = Body(f"{tmp_path}/id.in", 100, pool, nothing, Budget(1 << 30))
    body.add(b"a" * 60)
    body.add(b"b" * 40)
    content = await body.finish()
    assert content.data == b"a" * 60 + b"b" * 40
    assert None is content.spool
    assert os.listdir(tmp_path) == []


async def test_large_content_is_a_file(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """What is beyond the limit lies in the folder under its queue id, once and complete."""
    body = Body(f"{tmp_path}/id.in", 100_000, pool, nothing, Budget(1 << 30))
    pieces = [bytes([n]) * 70_000 for n in range(40)]
    for piece in pieces:
        body.add(piece)
    content = await body.finish()
    assert b"".join(pieces) == bytes(content.data)
    assert content.spool is not None
    assert f"{tmp_path}/id.in" == content.spool.path
    assert b"".join(pieces) == (tmp_path / "id.in").read_bytes()
    assert (tmp_path / "id.in").stat().st_mode & 0o777 == 0o600
    body.discard()
    await written(body)
    assert os.listdir(tmp_path) == []


async def test_kept_by_the_queue(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """A file that the queue has taken over is not removed."""
    body = Body(f"{tmp_path}/id.in", 10, pool, nothing, Budget(1 << 30))
    body.add(b"x" * 100)
    content = await body.finish()
    content.kept()
    body.discard()
    await written(body)
    assert os.listdir(tmp_path) == ["id.in"]


async def test_discarded_while_it_is_written(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """A client that goes away in the middle leaves no file."""
    body = Body(f"{tmp_path}/id.in", 10, pool, nothing, Budget(1 << 30))
    for _ in range(10):
        body.add(b"x" * 300_000)
    body.discard()
    assert True is body.add(b"more")
    await written(body)
    assert os.listdir(tmp_path) == []


async def test_a_slow_disk_stops_the_client(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Memory holds a few blocks: the client waits until the disk has caught up."""
    relieved = asyncio.Event()
    body = Body(f"{tmp_path}/id.in", 10, pool, relieved.set, Budget(1 << 30))
    kept_waiting = 0
    for _ in range(50):
        if not body.add(b"x" * 300_000):
            kept_waiting += 1
            relieved.clear()
            async with asyncio.timeout(10):
                await relieved.wait()
    assert kept_waiting > 0
    assert len((await body.finish()).data) == 15_000_000
    body.discard()


async def test_a_full_disk(tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is swallowed, `finish` says what happened, nothing is left."""

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.os, "write", full)
    body = Body(f"{tmp_path}/id.in", 10, pool, nothing, Budget(1 << 30))
    for _ in range(10):
        body.add(b"x" * 300_000)
    with pytest.raises(OSError, match="No space left"):
        await body.finish()
    body.discard()
    await written(body)
    assert os.listdir(tmp_path) == []


async def test_the_floor(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """What the queue wants to keep free is not spooled into."""
    body = Body(f"{tmp_path}/id.in", 10, pool, nothing, Budget(1 << 30), floor=spool.room(str(tmp_path)) * 2)
    body.add(b"x" * 300_000)
    with pytest.raises(OSError, match=r"less than queue\.min_free would be left"):
        await body.finish()
    body.discard()
    assert os.listdir(tmp_path) == []


async def test_without_a_folder(pool: ThreadPoolExecutor) -> None:
    """Without a folder everything stays in memory."""
    body = Body("", 10, pool, nothing, Budget(1 << 30))
    body.add(b"x" * 1000)
    assert (await body.finish()).data == b"x" * 1000
    body.discard()


async def test_a_budget_for_all(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """Six hundred clients with a megabyte each in a worker's memory: past the budget they go to disk at once, and
    each waits for its own block; what was sent is there, and nothing stays counted."""
    budget, clients = Watched(8 << 20), 600
    free = [asyncio.Event() for _ in range(clients)]
    bodies = [Body(f"{tmp_path}/{n}.in", 1 << 20, pool, free[n].set, budget) for n in range(clients)]

    async def send(n: int) -> None:
        for _ in range(14):
            free[n].clear()
            if not bodies[n].add(bytes([n % 256]) * 65_536):
                async with asyncio.timeout(60):
                    await free[n].wait()

    await asyncio.gather(*(send(n) for n in range(clients)))
    contents = [await body.finish() for body in bodies]
    assert all(bytes(content.data) == bytes([n % 256]) * 14 * 65_536 for n, content in enumerate(contents))
    # A piece that waits and one on its way for each, when all of them are over the budget.
    assert 8 << 20 < budget.most <= (8 << 20) + 2 * clients * 65_536
    assert sum(content.spool is None for content in contents) * 14 * 65_536 <= 8 << 20
    for body in bodies:
        body.discard()
    assert budget.held == 0
    assert os.listdir(tmp_path) == []


async def test_small_mail_past_the_budget(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """What is smaller than a block is not worth a file, however much others hold."""
    budget = Budget(10)
    body = Body(f"{tmp_path}/id.in", 1 << 20, pool, nothing, budget)
    assert body.add(b"x" * 4000)
    assert (await body.finish()).spool is None
    body.discard()
    assert budget.held == 0


@pytest.mark.parametrize("when", ["at once", "in the middle", "after the end"])
async def test_nothing_stays_counted(tmp_path: Path, pool: ThreadPoolExecutor, when: str) -> None:
    """Whenever a client goes away, and however often it is said, the budget has back what it took."""
    budget = Budget(1 << 20)
    body = Body(f"{tmp_path}/id.in", 100_000, pool, nothing, budget)
    body.add(b"x" * 50_000)
    if when != "at once":
        for _ in range(4):
            body.add(b"x" * 300_000)
    if when == "after the end":
        await body.finish()
    body.discard()
    body.discard()
    await written(body)
    assert (budget.held, os.listdir(tmp_path)) == (0, [])
