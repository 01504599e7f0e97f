"""queue/sqlite.py: a disk of its own, small and really full: the quarantine is spent before mail is put off.

Runs as root, on a tmpfs that only this test's process sees.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLOOD = """
import asyncio, os, sys
from backupmx.queue.entry import State
from backupmx.queue.sqlite import open_queue
from tests.queue.samples import NOW, entry

FLOOR = 16 << 20
free = lambda: (disk := os.statvfs(sys.argv[1])).f_bavail * disk.f_frsize

async def main():
    queue = await open_queue(f"sqlite:{sys.argv[1]}/queue.db", min_free=FLOOR, fresh=0.0, clock=lambda: NOW)
    least = free()
    for n in range(60):
        small, large = b"\\r\\n" + b"x" * 50_000, b"\\r\\n" + b"y" * 500_000
        flood = [entry(arrived=NOW + n, state=State.DISCARDED, body=small) for _ in range(20)]
        flood += [entry(arrived=NOW + n, state=State.DISCARDED, body=large) for _ in range(4)]
        mail = [entry(arrived=NOW + n), entry(arrived=NOW + n, body=large) if n % 10 == 0 else entry(arrived=NOW + n)]
        await asyncio.gather(*(queue.put(one) for one in (*flood, *mail)))
        least = min(least, free())
    kept = await queue.quarantined(limit=10_000)
    print(len(await queue.waiting()), 0 < len(kept) < 60 * 24, kept[-1].arrived == NOW + 59, least >= FLOOR)
    print(await queue.check())
    await queue.close()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_a_flood_of_discards(tmp_path: Path) -> None:
    """Twice as much as the disk holds is discarded by a rule: all other mail is taken, small and large, the floor is
    not touched, the newest discards are still there, and the account balances."""
    mounted = f'mount -t tmpfs -o size=96m none "{tmp_path}" && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    run = subprocess.run(["unshare", "-m", "sh", "-c", mounted, FLOOD], capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.stderr) == ("120 True True True\n[]\n", "")
