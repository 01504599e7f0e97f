"""A primary that closes, says 421, hangs or talks nonsense at every point of the dialogue, seen from the queue.

What is asked each time: everything arrives once the primary behaves again, nothing
twice but where the reply to the final dot was lost, the next message goes over a
new connection, and a host that took no connection at all is down.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from backupmx.net.smtp import Timeouts
from backupmx.queue.entry import QueueFull, Settlement
from backupmx.relay import attempt
from tests.net.peers import CLOSE, STALL, Peer
from tests.relay.scene import scene

QUICK = Timeouts(connect=2, greeting=0.3, tls=0.3, hello=0.3, mail=0.3, rcpt=0.3, data=0.3, block=0.3, dot=0.3)
WAYS = ["421 4.3.2 going down", CLOSE, STALL, "gibberish", "250-never\r\n" * 600, "2" * 5000, "\x00\x80\xff\x1b[31m"]
NAMES = ["421", "close", "stall", "gibberish", "endless", "long line", "binary"]


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("peer.example").configure_cert(context)
    return context


def at_first(how: str, *, after: int = 0) -> Callable[[str], str]:
    """It fails once, after so many good answers."""
    seen = [0]

    def answer(line: str) -> str:
        seen[0] += 1
        return how if seen[0] == after + 1 else "354 go on" if line == "DATA" else "250 2.0.0 Ok"

    return answer


async def healed(peer: Peer, tmp_path: Path, *, messages: int = 2, **more: Any) -> tuple[list[bytes], int, int]:
    """Two messages to a primary that fails once -> (what it took, hops down, recipients deferred)."""
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", timeouts=QUICK, **more) as s:
        for n in range(messages):
            await s.put("u@example.jp", "v@example.jp", body=b"%d\r\n" % n)
        await s.settled()
        for _ in range(12):
            if not await s.states():
                break
            assert set((await s.states()).values()) <= {"deferred", "queued"}
            s.pass_time(3700)
            await s.settled()
        assert await s.states() == {}
        return [t.content[-3:] for t in peer.taken], s.journal.counters["hop_down"], s.journal.counters["deferred"]


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
@pytest.mark.parametrize("verb", ["GREETING", "EHLO"])
async def test_before_mail(verb: str, how: str, tmp_path: Path) -> None:
    """Trouble in the greeting or at EHLO: the next hop is down, one message pays, everything arrives once."""
    answers = {verb: [how, "220 hello" if verb == "GREETING" else "250 hello"]}
    async with Peer(answers) as peer:
        taken, down, deferred = await healed(peer, tmp_path)
    assert sorted(taken) == [b"0\r\n", b"1\r\n"]
    assert (down, deferred) == (1, 2)


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
async def test_at_starttls(how: str, tmp_path: Path, tls: ssl.SSLContext) -> None:
    """Trouble at STARTTLS: in clear, within the same try; nothing is deferred."""
    async with Peer({"STARTTLS": how}, tls=tls) as peer:
        taken, down, deferred = await healed(peer, tmp_path)
    assert sorted(taken) == [b"0\r\n", b"1\r\n"]
    assert (down, deferred) == (0, 0)


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
async def test_after_tls(how: str, tmp_path: Path, tls: ssl.SSLContext) -> None:
    """Trouble at the EHLO after the handshake: likewise."""
    async with Peer({"EHLO": ["250 x", how, "250 x"]}, tls=tls) as peer:
        taken, down, deferred = await healed(peer, tmp_path)
    assert sorted(taken) == [b"0\r\n", b"1\r\n"]
    assert (down, deferred) == (0, 0)


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
@pytest.mark.parametrize(("verb", "after"), [("MAIL", 0), ("RCPT", 0), ("RCPT", 1), ("DATA", 0)])
@pytest.mark.parametrize("extensions", [("PIPELINING",), ()], ids=["pipelined", "in step"])
async def test_in_the_envelope(extensions: tuple[str, ...], verb: str, after: int, how: str, tmp_path: Path) -> None:
    """Trouble at MAIL, either RCPT or DATA: certainly not taken; it arrives once, over another connection."""
    async with Peer({verb: at_first(how, after=after)}, extensions=extensions) as peer:
        taken, _, _ = await healed(peer, tmp_path)
    assert sorted(taken) == [b"0\r\n", b"1\r\n"]
    assert peer.connections > 1


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
async def test_after_the_dot(how: str, tmp_path: Path) -> None:
    """The reply to the dot is lost: only this may come twice.  421 is a reply: it was not taken."""
    async with Peer({"DOT": at_first(how)}) as peer:
        taken, _, deferred = await healed(peer, tmp_path)
    assert set(taken) == {b"0\r\n", b"1\r\n"}
    assert len(taken) == 2 + how.startswith("2")  # what looks like the beginning of a 2xx this peer had taken
    assert deferred >= 2


@pytest.mark.parametrize("how", WAYS, ids=NAMES)
async def test_between_messages(how: str, tmp_path: Path) -> None:
    """A kept connection that is at its end costs the next message nothing but a new one."""
    async with Peer({"MAIL": at_first(how, after=1)}) as peer:
        taken, down, deferred = await healed(peer, tmp_path, first_connections=1, most_connections=1)
    assert sorted(taken) == [b"0\r\n", b"1\r\n"]
    assert (down, deferred) == (0, 0)


@pytest.mark.parametrize("answer", ["250 2.0.0 Ok", "220 x", "251 x", "299 x"])
async def test_yes_to_everything(answer: str, tmp_path: Path) -> None:
    """2xx to DATA is no 354: nothing is sent, and nothing is taken for delivered."""
    async with (
        Peer({"DATA": answer}) as peer,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", timeouts=QUICK) as s,
    ):
        await s.put("u@example.jp")
        await s.settled()
        (recipient,) = (await s.recipients()).values()
        assert (str(recipient.state), "unexpected reply" in recipient.reason) == ("deferred", True)


@pytest.mark.parametrize("greeting", ["554 5.7.1 not you", "521 no mail here", "250 hello", "354 go on", "999 x"])
async def test_greeting_of_refusal(greeting: str, tmp_path: Path) -> None:
    """Whatever the greeting is but 220, the mail waits (Postfix: smtp_skip_5xx_greeting)."""
    async with (
        Peer({"GREETING": greeting}) as peer,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", timeouts=QUICK) as s,
    ):
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {"u@example.jp": "deferred"}
        assert s.journal.counters["hop_down"] == 1


async def test_a_queue_that_takes_no_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full for as long as it likes makes no duplicates: what the primary took is remembered until it
    is written, and meanwhile no more is begun than one hand holds."""
    monkeypatch.setattr(attempt, "_AFTER_TROUBLE", 0.01)
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", lease=0.2) as s:
        really, full = s.queue.settle, [True]

        async def settle(settlement: Settlement, now: float) -> bool:
            if full[0]:
                raise QueueFull("no space left on device")
            return await really(settlement, now)

        monkeypatch.setattr(s.queue, "settle", settle)
        for n in range(400):
            await s.put(f"u{n}@example.jp")
        for _ in range(20):
            s.pass_time(300)
            await asyncio.sleep(0.05)
        held = len(peer.taken)
        assert 0 < held <= 16 * 20
        full[0] = False
        s.relay.wake()
        await s.settled()
        assert await s.states() == {}
        assert len(peer.taken) == 400
        assert await s.queue.check() == []
