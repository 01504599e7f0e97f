"""The power fails at any moment: what was promised is there, what was settled is gone.

A queue lives its life under strace, in one process and in two; then the disk is
looked at as it may be after a power cut at many of its moments (disk.py).
"""

import random
import shutil
from pathlib import Path

import pytest

from backupmx.queue.sqlite import open_queue
from tests.queue.disk import Disk, Event, traced

LIFE = """
import asyncio, os, random, sys, time
from backupmx.mail.message import Spool
from backupmx.queue import schema
# Often, so that there is a moment in it.
schema._PRAGMAS = tuple(p for p in schema._PRAGMAS if "checkpoint" not in p) + ("wal_autocheckpoint=60",)
from backupmx.queue.entry import State
from backupmx.queue.sqlite import open_queue
from tests.queue.samples import HOP, entry, settled

done = []

def say(what, id):
    os.write(1, f"{what} {id}\\n".encode())

async def put(queue, number):
    for round in range(12):
        size = 270_000 if (number, round % 6) in ((0, 0), (1, 3)) else 2000
        body = b"\\r\\n" + bytes([65 + number]) * size
        spool = None
        if number == 1 and size > 2000:
            spool = Spool(os.path.join(queue.body_folder, f"spool{round}"), 9)
            with open(spool.path, "wb") as file:
                file.write(b"Header: x" + body)
        new = entry("a@example.jp", "b@example.jp", arrived=time.time(), body=body, spool=spool)
        await queue.put(new)
        say("put", new.id)

async def deliver(queue, claim):
    chance = random.random()
    if chance < 0.2:
        return await queue.give_back([claim])
    if chance < 0.4:
        return await queue.settle(settled(claim, State.DEFERRED, next_attempt=9e9), time.time())
    say("settling", claim.id)
    await queue.settle(settled(claim), time.time())
    say("settled", claim.id)
    done.append(claim.id)

async def relay(queue):
    while len(done) < 40:
        claims = await queue.claim(HOP, 3, time.time(), 60.0)
        if not claims:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(deliver(queue, claim) for claim in claims))

async def main(roles):
    queue = await open_queue(sys.argv[1])
    tasks = [relay(queue)] if "relay" in roles else []
    if "put" in roles:
        tasks += [put(queue, number) for number in range(8)]
    await asyncio.gather(*tasks)
    await queue.close()

roles = sys.argv[2:]
if "both" in roles:
    import subprocess
    for child in [subprocess.Popen([sys.executable, sys.argv[0], sys.argv[1], role]) for role in ("put", "relay")]:
        assert child.wait() == 0
else:
    asyncio.run(main(roles))
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")
@pytest.mark.parametrize("roles", [("put", "relay"), ("both",)], ids=["one process", "two processes"])
async def test_power_cut(tmp_path: Path, roles: tuple[str, ...]) -> None:
    """At whatever moment the power fails, and whatever the disk did unasked: nothing promised is lost, nothing half."""
    (tmp_path / "life.py").write_text(LIFE)
    (tmp_path / "live").mkdir()
    events = traced(tmp_path / "log", str(tmp_path / "life.py"), f"sqlite:{tmp_path}/live/queue.db", *roles)
    syncs = [at for at, event in enumerate(events) if event.call in ("fsync", "fdatasync")]
    moments = sorted({*random.sample(range(syncs[10], len(events)), 25), *random.sample(syncs[10:], 12)})
    disk, told = Disk(f"{tmp_path}/live"), Told()
    for at, event in enumerate(events):
        disk.play(event)
        told.hear(event)
        if at in moments:
            for luck in (0.0, 0.5, 1.0):
                left = tmp_path / f"{at}-{luck}"
                disk.power_cut(left, luck)
                await told.compare(left)
                shutil.rmtree(left)
    assert (len(told.put), len(told.settled) >= 40) == (96, True)


class Told:
    """What the program said it had done."""

    def __init__(self) -> None:
        self.put: set[str] = set()
        self.settling: set[str] = set()
        self.settled: set[str] = set()

    def hear(self, event: Event) -> None:
        if event.call == "said":
            what, id = event.said.split()
            getattr(self, what).add(id)

    async def compare(self, folder: Path) -> None:
        queue = await open_queue(f"sqlite:{folder}/queue.db")
        await queue.sweep()
        found = {entry.id: len(entry.recipients) for entry in await queue.waiting()}
        assert self.put - self.settling - set(found) == set()
        assert self.settled & set(found) == set()
        assert set(found.values()) <= {2}
        assert await queue.check() == []
        await queue.close()
