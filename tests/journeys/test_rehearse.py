"""Journey: a fire drill goes the whole way to a real Postfix, fails where it should, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to, environment
from tests.journeys.arrivals import all_arrived
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import DOMAINS, Primary
from tests.net.peers import Peer

pytestmark = pytest.mark.neighbours

KILLED = """
import asyncio, os, sys
from pathlib import Path
from backupmx.config import load
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.serve.policy import read_policy
from backupmx.operate.rehearsal.run import Drill, rehearse

config = load(Path(sys.argv[1]))
async def work(queue):
    async for step in rehearse(queue, Drill(config, read_policy(config).routes, "postmaster@example.jp", 60)):
        if step.name == "held":
            os.kill(os.getpid(), 9)
with_queue(config, work)
"""


def test_the_whole_way(serve: Serve, primary: Primary) -> None:
    """In by our port, held, released, and the primary's 250; the report is kept, other mail is not touched."""
    mx = serve(bound_to(DOMAINS, primary.port))
    assert send(mx.port, message("other mail")).code == 250
    (told,) = mx.objects("rehearse", "example.jp")
    assert told["passed"], told
    assert [step["name"] for step in told["steps"]] == ["ready", "accepted", "held", "delivered"]
    assert "250 2.0.0" in told["steps"][3]["text"]
    all_arrived(primary, ["other mail", "backupmx rehearsal"])
    report = Path(told["report"])
    assert report.parent == mx.folder / "state" / "rehearsals"
    assert "rehearsal passed" in report.read_text()
    assert mx.queue() == []
    ledger = mx.cli("ledger")
    assert ledger.returncode == 0, ledger.stdout


def test_the_primary_is_down(serve: Serve, primary: Primary) -> None:
    """Its words, status 1, and no probe left in the queue; mail that waits for it waits on."""
    primary.stop()
    mx = serve(bound_to(DOMAINS, primary.port))
    assert send(mx.port, message("waits")).code == 250
    result = mx.cli("rehearse", "example.jp")
    assert result.returncode == 1
    assert "BAD delivered: " in result.stdout
    assert "Connection refused" in result.stdout
    assert "cleared: the probe is deleted" in result.stdout
    assert [m["sender"] for m in mx.queue()] == ["alice@sender.test"]


async def test_the_primary_refuses(serve: Serve) -> None:
    """A 5xx is told in the primary's words; its control characters do not reach the terminal."""
    async with Peer({"RCPT": "550 5.1.1 \x1b[31mnobody"}) as peer:
        mx = serve(bound_to(DOMAINS, peer.port))
        result = await asyncio.to_thread(mx.cli, "rehearse", "example.jp", "--to", "nobody@example.jp")
        assert result.returncode == 1
        assert "BAD delivered: refused: " in result.stdout
        assert "5.1.1" in result.stdout
        assert "\x1b" not in result.stdout
        assert await asyncio.to_thread(mx.queue) == []


def test_nothing_runs(serve: Serve, primary: Primary) -> None:
    """A stopped appliance, a paused domain, a domain that is not ours: each in its own words."""
    mx = serve(bound_to(DOMAINS, primary.port))
    assert mx.cli("rehearse", "else.test").returncode == 1
    assert mx.cli("rehearse", "example.jp", "--to", "a@example.net").returncode == 2
    mx.cli("pause", "example.jp")
    assert "example.jp is paused: backupmx resume" in mx.cli("rehearse", "example.jp").stdout
    mx.stop()
    stopped = mx.cli("rehearse", "example.jp")
    assert (stopped.returncode, "the appliance does not run" in stopped.stdout) == (1, True)


def test_a_rule_that_throws_it_away(serve: Serve, primary: Primary) -> None:
    """A probe that a rule discards is no success, and the rule is named."""
    mx = serve(bound_to(DOMAINS, primary.port), header_checks="/^Subject: backupmx/ DISCARD\n")
    result = mx.cli("rehearse", "example.jp")
    assert result.returncode == 1
    assert "is in quarantine: header_checks:1" in result.stdout.replace(str(mx.folder) + "/", "")


def test_killed_in_the_middle(serve: Serve, primary: Primary) -> None:
    """kill -9 while the probe is held: it stays held, and the next rehearsal clears it."""
    mx = serve(bound_to(DOMAINS, primary.port))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(mx.config)], env=environment(), timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = mx.queue()
    assert (left["queue_name"], left["recipients"][0]["delay_reason"]) == ("hold", "rehearsal")
    assert send(mx.port, message("meanwhile")).code == 250
    (told,) = mx.objects("rehearse", "example.jp")
    assert told["passed"], told
    all_arrived(primary, ["meanwhile", "backupmx rehearsal"])
    assert mx.queue() == []


def test_interrupted(serve: Serve) -> None:
    """Ctrl-C while it waits for the primary: the probe is deleted on the way out."""

    async def journey() -> None:
        async with Peer({"DOT": "(stall)"}) as peer:
            mx = await asyncio.to_thread(serve, bound_to(DOMAINS, peer.port))
            words = [sys.executable, "-m", "backupmx", "rehearse", "example.jp", "-c", str(mx.config)]
            process = await asyncio.create_subprocess_exec(*words, env=environment())
            await peer.heard("DATA")
            process.send_signal(signal.SIGINT)
            await process.wait()
            await asyncio.to_thread(eventually, lambda: mx.queue() == [])

    asyncio.run(journey())


def test_two_at_once(serve: Serve, primary: Primary) -> None:
    """The second is told so, and does not touch the first one's probe."""
    import fcntl

    mx = serve(bound_to(DOMAINS, primary.port))
    folder = mx.folder / "state" / "rehearsals"
    folder.mkdir()
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        result = mx.cli("rehearse", "example.jp")
    finally:
        os.close(lock)
    assert (result.returncode, "another rehearsal runs" in result.stderr) == (1, True)
    assert json.dumps(mx.queue()) == "[]"
