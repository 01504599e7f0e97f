"""Full disk, locked or broken database: a temporary reply, a living process, nothing half."""

import asyncio
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.queue.entry import QueueFull, QueueTrouble, State
from backupmx.queue.schema import Connection
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, OTHER, entry, settled, wire

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """32 MiB, really full when they are full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def filled(queue: SqliteQueue, size: int) -> dict[str, bytes]:
    """Put until three are refused.  -> what was promised"""
    promised: dict[str, bytes] = {}
    refused = 0
    while refused < 3:
        new = entry(body=b"\r\n" + os.urandom(size))
        try:
            await queue.put(new)
            promised[new.id] = wire(new.message)
        except QueueFull:
            refused += 1
    return promised


async def drained(queue: SqliteQueue) -> dict[str, bytes]:
    claims = await queue.claim(HOP, 100_000, NOW, 60.0)
    messages = {claim.id: wire(claim.message) for claim in claims}
    await asyncio.gather(*(queue.settle(settled(claim), NOW) for claim in claims))
    return messages


@pytest.mark.parametrize("size", [4_000, 300_000])
async def test_full_to_the_floor(small_disk: Path, size: int) -> None:
    """Filled to min_free the queue refuses with 452, still drains, and then takes mail again."""
    queue = await open_queue(f"sqlite:{small_disk}/queue.db", min_free=20 * MIB, fresh=0.0)
    promised = await filled(queue, size)
    assert await queue.check() == []
    assert await drained(queue) == promised
    assert (await queue.totals(), os.listdir(queue.body_folder)) == ([], [])
    await queue.put(entry(body=b"\r\n" + os.urandom(size)))
    await queue.close()


@pytest.mark.parametrize("size", [4_000, 300_000])
async def test_full_disk(small_disk: Path, size: int) -> None:
    """Filled by somebody else to the last octet it refuses with 452, loses nothing, and works when there is room."""
    queue = await open_queue(f"sqlite:{small_disk}/queue.db")
    await queue.put(entry(body=b"x" * size))
    write_new(small_disk / "somebody-elses-log", 25 * MIB)
    promised = await filled(queue, size)
    with pytest.raises(QueueFull, match=r"full|space"):
        await queue.put(entry(body=os.urandom(size * 2)))
    assert await queue.check() == []
    os.unlink(small_disk / "somebody-elses-log")
    messages = await drained(queue)
    assert {id: messages[id] for id in promised} == promised
    assert (await queue.totals(), os.listdir(queue.body_folder)) == ([], [])
    await queue.close()


def write_new(path: Path, octets: int) -> None:
    path.write_bytes(b"." * octets)


async def test_room_inside_the_database(small_disk: Path) -> None:
    """Space that delivered mail left in the file counts as free, or a queue once full would refuse for ever."""
    queue = await open_queue(f"sqlite:{small_disk}/queue.db")
    for _ in range(20):
        await queue.put(entry(body=b"\r\n" + os.urandom(50_000)))
    await drained(queue)
    await queue.close()
    free = shutil.disk_usage(small_disk).free
    queue = await open_queue(f"sqlite:{small_disk}/queue.db", min_free=free)
    await queue.put(entry(body=b"\r\n" + os.urandom(50_000)))
    await queue.close()


async def test_locked_for_a_moment(tmp_path: Path) -> None:
    """Somebody else's transaction is a wait, not an error."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    other = sqlite3.connect(queue.path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    putting = asyncio.ensure_future(queue.put(entry()))
    asyncio.get_running_loop().call_later(0.2, other.rollback)
    await putting
    assert len(await queue.waiting()) == 1
    other.close()
    await queue.close()


async def test_locked_for_too_long(tmp_path: Path) -> None:
    """A lock that stays is 451 after the patience; reading goes on; when it is gone mail is taken again."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", patience=0.2)
    await queue.put(entry())
    other = sqlite3.connect(queue.path)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(*(queue.put(entry(body=b"x" * 300_000)) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [QueueTrouble] * 5
    assert (len(await queue.waiting()), os.listdir(queue.body_folder)) == (1, [])
    other.close()
    await queue.put(entry())
    assert len(await queue.waiting()) == 2
    await queue.close()


@pytest.mark.parametrize("size", [1_000, 300_000])
async def test_a_disk_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A put whose wait for the disk failed is 451 and gone at once: nobody relays it, no account counts it."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    await queue.put(entry(id="before"))
    with monkeypatch.context() as failing:
        failing.setattr(Connection, "sync", failed)
        with pytest.raises(QueueTrouble, match="it failed"):
            await queue.put(entry(id="refused", body=b"x" * size))
    assert [listed.id for listed in await queue.waiting()] == ["before"]
    await queue.put(entry(id="after"))
    assert [claim.id for claim in await queue.claim(HOP, 10, NOW, 60.0)] == ["before", "after"]
    assert await queue.check() == []
    await queue.close()


def failed(db: Connection) -> None:
    raise OSError(errno.EIO, "it failed")


async def test_broken_and_mended(tmp_path: Path) -> None:
    """A database that is overwritten is 451 while it is; put back, it works without a restart."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", patience=0.2)
    await queue.put(entry())
    await queue.close()
    good = copied(queue.path)
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", patience=0.2)
    write(queue.path, b"this is no database " * 5000)
    for _ in range(2):
        with pytest.raises(QueueTrouble):
            await queue.put(entry())
        with pytest.raises(QueueTrouble):
            await queue.due(NOW)
    write(queue.path, good)
    await queue.put(entry())
    assert len(await queue.waiting()) == 2
    await queue.close()


def copied(path: str) -> bytes:
    return Path(path).read_bytes()


def write(path: str, content: bytes) -> None:
    """In place: the file stays the one that others have open."""
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(content)


async def test_no_database_at_all(tmp_path: Path) -> None:
    """A file that is no database is a sentence at start."""
    (tmp_path / "queue.db").write_bytes(b"mail " * 1000)
    with pytest.raises(QueueTrouble, match="not a database"):
        await open_queue(f"sqlite:{tmp_path}/queue.db")


async def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A place where nothing can be written is a sentence at start."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(QueueTrouble, match=r"Not a directory|File exists"):
        await open_queue(f"sqlite:{tmp_path}/file/queue.db")


async def test_a_body_folder_that_went(tmp_path: Path) -> None:
    """Large mail is 451 while its folder is gone, small mail goes on."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    os.rmdir(queue.body_folder)
    with pytest.raises(QueueTrouble):
        await queue.put(entry(body=b"x" * 300_000))
    await queue.put(entry())
    os.mkdir(queue.body_folder)
    await queue.put(entry(body=b"x" * 300_000))
    assert len(await queue.waiting()) == 2
    await queue.close()


async def test_a_client_that_hangs_up(tmp_path: Path) -> None:
    """A put nobody waits for any more is done or not done, never half; the next one works."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    for size in (10, 300_000):
        putting = asyncio.ensure_future(queue.put(entry(body=b"x" * size)))
        await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        await queue.put(entry(body=b"x" * size))
    assert await queue.check() == []
    await queue.sweep()
    assert await queue.check() == []
    await queue.close()


FORKED = """
import asyncio, os, sys
from backupmx.queue.sqlite import open_queue

async def refused(queue):
    try:
        await open_queue(sys.argv[1])
    except RuntimeError as error:
        return "forked" in str(error)

async def main():
    queue = await open_queue(sys.argv[1])
    await queue.due(0)
    child = os.fork()
    if child == 0:
        try:
            queue._writer.submit(None, None)
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    first = os.waitpid(child, 0)[1]
    if os.fork() == 0:
        coroutine = refused(queue)
        asyncio._set_running_loop(None)
        os._exit(0 if asyncio.new_event_loop().run_until_complete(coroutine) else 1)
    second = os.wait()[1]
    await queue.close()
    if os.fork() == 0:
        asyncio._set_running_loop(None)
        os._exit(1 if asyncio.new_event_loop().run_until_complete(refused(queue)) else 0)
    third = os.wait()[1]
    print(first, second, third)

asyncio.run(main())
"""


async def test_after_fork(tmp_path: Path) -> None:
    """A child neither uses its parent's queue nor opens one beside it; once the parent has closed it, it may."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", FORKED, f"sqlite:{tmp_path}/queue.db", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said == b"0 0 0\n"


async def test_a_backup_while_mail_comes_in(tmp_path: Path) -> None:
    """SQLite's own backup of the running queue is a whole queue."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    stop = threading.Event()

    def back_up() -> None:
        source = sqlite3.connect(queue.path)
        while not stop.is_set():
            with sqlite3.connect(tmp_path / "copy.db") as copy:
                source.backup(copy)
            copy.close()
        source.close()

    thread = threading.Thread(target=back_up)
    thread.start()
    for _ in range(20):
        await asyncio.gather(*(queue.put(entry()) for _ in range(20)))
    stop.set()
    await asyncio.to_thread(thread.join)
    again = await open_queue(f"sqlite:{tmp_path}/copy.db")
    assert await again.check() == []
    assert len(await again.waiting(limit=1)) == 1
    await again.close()
    assert sum(t.recipients for t in await queue.totals() if t.state == State.QUEUED) == 400
    await queue.close()


async def test_an_outcome_told_twice(tmp_path: Path) -> None:
    """An outcome that is told again, because nobody knows whether it was written, makes no second notice."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    await queue.put(entry())
    (claim,) = await queue.claim(HOP, 1, NOW, 60.0)
    told = replace(settled(claim, State.BOUNCED), notice=entry("sender@example.com", hop=OTHER))
    assert [await queue.settle(told, NOW), await queue.settle(told, NOW)] == [True, False]
    assert [one.id for one in await queue.waiting()] == [told.notice.id if told.notice else ""]
    assert await queue.check() == []
    await queue.close()


async def test_a_check_of_a_damaged_database(tmp_path: Path) -> None:
    """`queue check` tells of every fault that can be seen, not only the first: what is whole is read all the same."""
    path = tmp_path / "queue.db"
    queue = await open_queue(f"sqlite:{path}", clock=lambda: NOW)
    kept = [entry(), entry(arrived=NOW + 1)]
    for one in kept:
        await queue.put(one)
    await queue.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE entry SET body = x'00' WHERE id = ?", (kept[0].id,))
    db.commit()
    (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ledger'").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)
    queue = await open_queue(f"sqlite:{path}", clock=lambda: NOW)
    faults = await queue.check()
    assert any(fault.startswith(f"{kept[0].id}: damaged") for fault in faults)
    assert any("malformed" in fault or "btree" in fault.lower() for fault in faults)
    assert any(fault.startswith("the account cannot be read") for fault in faults)
    assert not any(fault.startswith(kept[1].id) for fault in faults)
    await queue.close()


@pytest.mark.parametrize(
    "harm",
    ["sender = CAST(x'ff41' AS TEXT)", "client = '{'", "body = 'text'", "head = 7", "client = CAST(x'ff' AS TEXT)"],
)
async def test_a_row_that_cannot_be_read(tmp_path: Path, harm: str) -> None:
    """One message that cannot be read is set aside and reported; those that were claimed with it go out."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    bad, good = entry(), entry(arrived=NOW + 1)
    for one in (bad, good):
        await queue.put(one)
    db = sqlite3.connect(tmp_path / "queue.db")
    db.execute(f"UPDATE entry SET {harm} WHERE id = ?", (bad.id,))
    db.commit()
    db.close()
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW + 2, 60.0)] == [good.id]
    assert [fault.partition(": ")[0] for fault in await queue.check()] == [bad.id]
    assert await queue.claim(HOP, 9, NOW + 600, 60.0) != []
    assert [one.id for one in await queue.claim(HOP, 9, NOW + 900, 60.0)] == [good.id]
    await queue.close()


def harm(path: Path, change: str) -> None:
    db = sqlite3.connect(path / "queue.db")
    db.execute(f"UPDATE {change}")
    db.commit()
    db.close()


NO_TEXT = "CAST(x'ff41' AS TEXT) WHERE"


@pytest.mark.parametrize("what", ["recipient SET address = {} entry = 1", "recipient SET orcpt = {} entry = 1"])
async def test_a_recipient_that_is_no_text(tmp_path: Path, what: str) -> None:
    """A message whose recipient cannot be read is set aside and reported; its neighbours on the next hop go out."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    bad, good = entry(), entry(arrived=NOW + 1)
    for one in (bad, good):
        await queue.put(one)
    harm(tmp_path, what.format(NO_TEXT))
    assert [fault.partition(": ")[:1] for fault in await queue.check()] == [(bad.id,)]
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW + 2, 60.0)] == [good.id]
    (shown,) = (await queue.waiting(id=bad.id))[0].recipients
    assert (shown.state, shown.reason.partition(":")[0]) == (State.HELD, "damaged")
    await queue.close()


@pytest.mark.parametrize("column", ["id", "sender", "reason", "message_id"])
async def test_a_listing_with_a_row_that_is_no_text(tmp_path: Path, column: str) -> None:
    """A listing shows what can be read of a damaged row, says so, and goes on behind it, a page of one at a time."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    kept = [entry(arrived=NOW + n) for n in range(4)]
    for one in kept:
        await queue.put(one)
    harm(tmp_path, f"entry SET {column} = CAST(substr(id, 1, 12) || x'ff41' AS TEXT) WHERE key = 2")
    after, seen = "", []
    while page := await queue.waiting(after=after, limit=1):
        seen += page
        after = page[-1].id
        assert len(seen) < 9
    assert ["damaged" in one.recipients[0].reason for one in seen].count(True) == 1
    assert [one.id for one in seen if "damaged" not in one.recipients[0].reason] == [
        kept[0].id, kept[2].id, kept[3].id,
    ]  # fmt: skip
    await queue.close()


async def test_nobody_is_told_of_a_delay_by_a_damaged_address(tmp_path: Path) -> None:
    """A sender's address that is no text any more gets no notice of a delay; the others do."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    kept = [entry(arrived=NOW + n) for n in range(2)]
    for one in kept:
        await queue.put(one)
    harm(tmp_path, f"entry SET sender = {NO_TEXT} key = 1")
    assert [late.claim.id for late in (await queue.late(NOW + 9, 9)).late] == [kept[1].id]
    await queue.close()


async def test_a_strangers_word_is_no_mark(tmp_path: Path) -> None:
    """Who writes the mark into a Message-ID makes no damaged row of it."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    await queue.put(replace(entry(), message_id="<\uffff@example.com>"))
    (one,) = await queue.waiting()
    assert (one.message_id, one.recipients[0].reason) == ("<\ufffd@example.com>", "")
    await queue.close()
