"""What a crash leaves: everything promised, nothing half.

The programs of workers.py run under load and are killed with SIGKILL; what they
had said they promised is then looked for.  A kill loses no page that the kernel
has, so that the disk is asked at all is looked at with strace.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, entry, settled


@asynccontextmanager
async def program(what: str, store: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.queue.workers", what, store, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def promises(process: asyncio.subprocess.Process, until: int) -> list[str]:
    """The ids it promised: `until` of them, then SIGKILL, then what it still had said."""
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(until)]
    process.send_signal(signal.SIGKILL)
    said += (await process.stdout.read()).splitlines(keepends=True)
    return [line.decode().strip() for line in said]


async def everything(queue: SqliteQueue) -> dict[str, int]:
    """Ids that wait and how many recipients each has."""
    found: dict[str, int] = {}
    while page := await queue.waiting(after=max(found, default="")):
        found |= {entry.id: len(entry.recipients) for entry in page}
    return found


@pytest.mark.parametrize("until", [1, 50, 700])
async def test_killed_while_accepting(tmp_path: Path, until: int) -> None:
    """Whatever was promised before the kill is there, whole, with all its recipients."""
    store = f"sqlite:{tmp_path}/queue.db"
    async with program("put", store) as process:
        promised = await promises(process, until)
    queue = await open_queue(store)
    await queue.sweep()
    found = await everything(queue)
    assert set(promised) - set(found) == set()
    assert set(found.values()) == {2}
    assert await queue.check() == []
    await queue.close()


async def test_killed_while_relaying(tmp_path: Path) -> None:
    """Every message is either still queued or was settled, whichever of two processes dies when."""
    store = f"sqlite:{tmp_path}/queue.db"
    async with AsyncExitStack() as stack:
        putting = await stack.enter_async_context(program("put", store))
        relaying = await stack.enter_async_context(program("relay", store))
        settled_ids = await promises(relaying, 500)
        promised = await promises(putting, 700)
    queue = await open_queue(store)
    await queue.sweep()
    found = await everything(queue)
    assert set(settled_ids) & set(found) == set()
    # What the relay had settled and not yet said is in the account: at most the claim it was at.
    unsaid = set(promised) - set(found) - set(settled_ids)
    lives = [life for id in unsaid | set(settled_ids[:50]) for life in await queue.trace(id)]
    assert {fate.state for life in lives for fate in life.fates} <= {"delivered"}
    assert (len(unsaid) <= 20, len(lives)) == (True, len(unsaid) + 50)
    assert await queue.check() == []
    assert len(await queue.claim(HOP, 10_000, 2e9, 60.0)) == len(found)
    await queue.close()


async def test_several_processes(tmp_path: Path) -> None:
    """Receivers and a relay work at once on one file, and nobody is told that it is locked."""
    store = f"sqlite:{tmp_path}/queue.db"
    async with AsyncExitStack() as stack:
        loads = [await stack.enter_async_context(program("load", store, "1500")) for _ in range(3)]
        relay = await stack.enter_async_context(program("relay", store))
        assert [await process.wait() for process in loads] == [0, 0, 0]
        assert relay.stdout is not None
        settled_ids = [await relay.stdout.readline() for _ in range(4500)]
    assert len(set(settled_ids)) == 4500
    queue = await open_queue(store)
    assert await queue.totals() == []
    await queue.close()


# Is the disk asked?


SYNC = re.compile(r"(fdatasync|fsync)\((\d+)")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
async def test_the_disk_is_asked(tmp_path: Path) -> None:
    """A put and a settle wait for the disk; a claim, and giving it back, do not."""
    log = tmp_path / "trace"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = await asyncio.create_subprocess_exec(
        "strace", "-f", "-y", "-e", "trace=fsync,fdatasync,write,unlink", "-o", str(log),
        sys.executable, str(script), f"sqlite:{tmp_path}/queue.db",
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert await process.wait() == 0
    steps: dict[str, list[str]] = {}
    step = "open"
    for line in log.read_text().splitlines():
        if match := re.search(r'write\(2<.*"step (\w+)', line):
            step = match[1]
        elif match := re.search(r"(?:fsync|fdatasync)\(\d+<([^>]+)>", line):
            steps.setdefault(step, []).append(os.path.basename(match[1]))
        elif match := re.search(r'unlink\(".*/bodies/', line):
            steps.setdefault(step, []).append("unlink")
    assert steps["put"] == ["queue.db-wal"]
    assert [steps.get("claim"), steps.get("giveback")] == [None, None]
    assert steps["settle"] == ["queue.db-wal"]
    # The file, then the folder that names it, then the row; the other way round when it goes.
    assert steps["large"] == ["LARGE", "bodies", "queue.db-wal"]
    assert steps["gone"] == ["queue.db-wal", "unlink"]


SCRIPT = """
import asyncio, os, sys
from backupmx.queue.sqlite import open_queue
from tests.queue.samples import HOP, NOW, entry, settled

def step(name):
    os.write(2, f"step {name}".encode())

async def main():
    queue = await open_queue(sys.argv[1])
    await queue.put(entry())
    step("put")
    await queue.put(entry())
    step("claim")
    claims = await queue.claim(HOP, 1, NOW, 60.0)
    step("giveback")
    await queue.give_back(claims)
    claims = await queue.claim(HOP, 2, NOW, 60.0)
    step("settle")
    await queue.settle(settled(claims[0]), NOW)
    step("large")
    await queue.put(entry(body=b"x" * 400000, id="LARGE"))
    step("claimlarge")
    (claim,) = await queue.claim(HOP, 2, NOW, 60.0)
    step("gone")
    await queue.settle(settled(claim), NOW)
    step("end")
    await queue.close()

asyncio.run(main())
"""


async def test_leases_of_a_dead_relay(tmp_path: Path) -> None:
    """What a relay had claimed when it died is due again when its lease is over, or at the next start."""
    store = f"sqlite:{tmp_path}/queue.db"
    first = await open_queue(store)
    await first.put(entry())
    assert len(await first.claim(HOP, 1, NOW, 300.0)) == 1
    await first.close()
    second = await open_queue(store)
    assert await second.claim(HOP, 1, NOW + 299, 300.0) == []
    await second.sweep()
    (claim,) = await second.claim(HOP, 1, NOW + 299, 300.0)
    await second.settle(settled(claim, State.DELIVERED), NOW)
    assert await second.totals() == []
    await second.close()
