"""Several processes on one queue file; what each asks of the disk, and what one that died leaves to the next.

What a crash leaves is looked at in tests/crash.
"""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from backupmx.queue.entry import State
from backupmx.queue.sqlite import open_queue
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
