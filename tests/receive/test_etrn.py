"""ETRN: a primary that is back asks for its mail."""

from typing import Any

import pytest

from backupmx.queue.entry import QueueTrouble
from tests.receive.doors import running


class Flush:
    def __init__(self, trouble: Exception | None = None) -> None:
        self.domains: list[str] = []
        self.trouble = trouble

    async def __call__(self, domain: str) -> int:
        if self.trouble:
            raise self.trouble
        self.domains.append(domain)
        return 3


ALLOWED: dict[str, Any] = {"etrn_from": ("127.0.0.1",)}


async def test_a_flush() -> None:
    """What waits for the domain is due now, and the log says who asked."""
    flush = Flush()
    async with running(flush=flush, **ALLOWED) as door:
        talk = await door.connect()
        assert "250-ETRN" in (await talk.say("EHLO primary")).split("\n")
        for domain in ("example.jp", "@Example.JP", "#sub.example.jp", "example.jp."):
            assert await talk.say(f"ETRN {domain}") == "250 2.0.0 Queuing started"
        await talk.close()
    assert flush.domains == ["example.jp", "example.jp", "sub.example.jp", "example.jp"]
    assert "flush of example.jp: 3 waiting, asked by unknown[127.0.0.1]" in door.lines


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("ETRN", "500 5.5.4 Syntax: ETRN domain"),
        ("ETRN a b", "500 5.5.4 Syntax: ETRN domain"),
        ("ETRN ex!ample", "501 5.5.4 Error: invalid parameter syntax"),
        ("ETRN <example.jp>", "501 5.5.4 Error: invalid parameter syntax"),
        ("ETRN " + "a." * 127 + "!", "501 5.5.4 Error: invalid parameter syntax"),
        ("ETRN other.example", "459 4.7.1 <other.example>: service unavailable"),
        ("ETRN [192.0.2.1]", "459 4.7.1 <[192.0.2.1]>: service unavailable"),
    ],
)
async def test_refused(command: str, reply: str) -> None:
    """Postfix's words, with the enhanced codes it leaves out there."""
    flush = Flush()
    async with running(flush=flush, **ALLOWED) as door:
        talk = await door.connect()
        assert await talk.say("ETRN example.jp") == "503 5.5.1 Error: send HELO/EHLO first"
        assert await talk.say("EHLO x", command) == reply
        assert await talk.say("MAIL FROM:<>", "ETRN example.jp") == "503 5.5.1 Error: MAIL transaction in progress"
        await talk.close()
    assert flush.domains == []


async def test_not_for_everybody() -> None:
    """Who is neither listed nor a primary is not offered it and does not get it; a primary always does."""
    flush = Flush()
    async with running(flush=flush) as door:
        talk = await door.connect()
        assert "ETRN" not in await talk.say("EHLO x")
        reply = "554 5.7.1 <example.jp>: Etrn command rejected: Access denied"
        assert await talk.say("ETRN example.jp") == reply
        door.door.service.is_primary = lambda address: address == "127.0.0.1"
        assert "250-ETRN" in (await talk.say("EHLO x")).split("\n")
        assert await talk.say("ETRN example.jp") == "250 2.0.0 Queuing started"
        await talk.close()
    assert (
        f"NOQUEUE: reject: ETRN from unknown[127.0.0.1]: {reply}; from=<> proto=ESMTP helo=<x> [smtp.etrn_from]"
        in door.lines
    )


async def test_a_queue_in_trouble() -> None:
    """The primary may ask again."""
    async with running(flush=Flush(QueueTrouble("disk")), **ALLOWED) as door:
        talk = await door.connect()
        assert await talk.say("EHLO x", "ETRN example.jp") == "458 4.3.0 Unable to queue messages"
        assert await talk.say("NOOP") == "250 2.0.0 Ok"
        await talk.close()
