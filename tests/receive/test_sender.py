"""reject_unknown_sender_domain: who could not be told that a mail failed."""

import asyncio
from collections.abc import Awaitable

import pytest

from backupmx.net.dns import Answer, DNSTrouble
from backupmx.receive.sender import Senders
from tests.receive.doors import running

NOT_FOUND = "450 4.1.8 <u@{}>: Sender address rejected: Domain not found"
NULL_MX = "550 5.7.27 <u@{0}>: Sender address rejected: Domain {0} does not accept mail (nullMX)"
DENIED = "554 5.7.1 <u@other.example>: Relay access denied"

ZONE: dict[tuple[str, str], tuple[str, ...] | None] = {
    ("null.example", "MX"): ("0 .",),
    ("two.example", "MX"): ("10 .", "20 mx.two.example."),
    ("mx.example", "MX"): ("10 mx.mx.example.",),
    ("a.example", "A"): ("192.0.2.1",),
    ("v6.example", "AAAA"): ("2001:db8::1",),
    ("sf.example", "MX"): None, ("sf.example", "A"): None, ("sf.example", "AAAA"): None,
    ("mxsf-a.example", "MX"): None, ("mxsf-a.example", "A"): ("192.0.2.1",),
    ("mxsf.example", "MX"): None,
}  # fmt: skip
NAMES = {name for name, _ in ZONE}


class Zone:
    """A resolver that has nothing remembered unless told; None in the zone is a server that fails."""

    def __init__(self, *, cached: bool = False) -> None:
        self.cached = cached
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
        return self.answer(name, rdtype) if self.cached else None

    async def lookup(self, name: str, rdtype: str) -> Answer:
        self.asked.append(f"{name} {rdtype}")
        await self.open.wait()
        answer = self.answer(name, rdtype)
        if isinstance(answer, DNSTrouble):
            raise answer
        return answer

    def reverse(self, ip: str) -> Awaitable[str]:
        raise NotImplementedError

    @staticmethod
    def answer(name: str, rdtype: str) -> Answer | DNSTrouble:
        records = ZONE.get((name, rdtype), ())
        return DNSTrouble("SERVFAIL") if records is None else Answer(records, exists=name in NAMES)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("sender", "ours", "others"),
    [
        ("u@none.example", NOT_FOUND, NOT_FOUND),
        ("u@null.example", NULL_MX, NULL_MX),
        ("u@two.example", NULL_MX, NULL_MX),
        ("u@sf.example", NOT_FOUND, DENIED),
        ("u@mxsf.example", NOT_FOUND, DENIED),
        ("u@mxsf-a.example", "250 2.1.5 Ok", DENIED),
        ("u@mx.example", "250 2.1.5 Ok", DENIED),
        ("u@a.example", "250 2.1.5 Ok", DENIED),
        ("u@v6.example", "250 2.1.5 Ok", DENIED),
        ("", "250 2.1.5 Ok", DENIED),
        ("u@[192.0.2.1]", "250 2.1.5 Ok", DENIED),
        ("u@example.jp", "250 2.1.5 Ok", DENIED),
    ],
)
async def test_replies(sender: str, ours: str, others: str, cached: bool) -> None:
    """The replies of Postfix 3.7 to these zones, whether the answer is remembered or has to be asked for."""
    async with running(senders=Senders(Zone(cached=cached))) as door:
        talk = await door.connect()
        assert await talk.say("EHLO x", f"MAIL FROM:<{sender}>") == "250 2.1.0 Ok"
        domain = sender.rpartition("@")[2]
        assert await talk.say("RCPT TO:<u@example.jp>") == ours.format(domain)
        assert await talk.say("RCPT TO:<u@other.example>") == others.format(domain)
        await talk.close()


async def test_asked_once_and_while_the_client_goes_on() -> None:
    """MAIL is answered before the DNS is; recipients that came meanwhile are answered in order."""
    zone = Zone()
    zone.open.clear()
    async with running(senders=Senders(zone)) as door:
        talk = await door.connect()
        assert await talk.say("EHLO x", "MAIL FROM:<u@none.example>") == "250 2.1.0 Ok"
        talk.writer.write(b"RCPT TO:<a@example.jp>\r\nRCPT TO:<b@example.jp>\r\nNOOP\r\n")
        zone.open.set()
        assert [await talk.reply() for _ in range(3)] == [NOT_FOUND.format("none.example")] * 2 + ["250 2.0.0 Ok"]
        assert zone.asked == ["none.example MX"]
        await talk.close()


async def test_next_sender_is_judged_anew() -> None:
    """What was found out about a sender does not stay for the next one, not even when it comes late."""
    zone = Zone()
    zone.open.clear()
    async with running(senders=Senders(zone)) as door:
        talk = await door.connect()
        await talk.say("EHLO x", "MAIL FROM:<u@none.example>", "RSET", "MAIL FROM:<>")
        zone.open.set()
        assert await talk.say("RCPT TO:<u@example.jp>") == "250 2.1.5 Ok"
        await talk.close()


async def test_refusal_in_the_log() -> None:
    """The line says who was refused, for which recipient, and why."""
    async with running(senders=Senders(Zone())) as door:
        talk = await door.connect()
        await talk.say("EHLO x", "MAIL FROM:<u@none.example>", "RCPT TO:<u@example.jp>")
        await talk.close()
    assert door.lines[1] == (
        f"NOQUEUE: reject: RCPT from unknown[127.0.0.1]: {NOT_FOUND.format('none.example')};"
        " from=<u@none.example> to=<u@example.jp> proto=ESMTP helo=<x>"
    )
