"""The relay with Debian's Postfix as its primary: what it says, takes and refuses is the real thing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.neighbours.postfix import postfix
from tests.relay.scene import scene

pytestmark = pytest.mark.neighbours


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110  another program's mailbox has no event
            await asyncio.sleep(0.05)


async def test_as_it_was_sent(tmp_path: Path) -> None:
    """Mail arrives as it was sent, every byte, and only once; an unknown user's is kept with Postfix's words."""
    body = b".dot\r\n..dots\r\nFrom the beginning\r\n" + "日本語\r\n".encode() + b"long " * 180 + b"\r\n"
    with postfix(tmp_path, reject=["nobody@example.jp"]) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            id = await s.put("u@example.jp", "nobody@example.jp", body=body)
            await s.settled()
            waiting = await s.recipients()
            assert {a: str(r.state) for a, r in waiting.items()} == {"nobody@example.jp": "refused"}
            assert (
                "said: 550 5.1.1 <nobody@example.jp>: Recipient address rejected" in waiting["nobody@example.jp"].reason
            )
            await until(lambda: len(primary.contents()) == 1)
            assert s.events(id, "status=sent (250 2.0.0 Ok: queued as ") == 1
        (content,) = primary.contents()
        assert content.endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))


async def test_down_and_up(tmp_path: Path) -> None:
    """The primary is down, mail waits at the cost of one probe; it is back, everything arrives once."""
    with postfix(tmp_path, started=False) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            ids = [await s.put("u@example.jp") for _ in range(100)]
            await s.settled()
            assert sum(r.attempts for entry in await s.queue.waiting() for r in entry.recipients) == 1
            primary.start()
            s.pass_time(31)
            await s.settled()
            assert await s.queue.waiting() == []
        await until(lambda: len(primary.contents()) >= 100)
        assert sorted(str(message["X-Id"]) for message in primary.arrived()) == sorted(ids)
        assert len({line for line in primary.log().splitlines() if ": connect from" in line}) <= 25


async def test_tls(tmp_path: Path) -> None:
    """STARTTLS with Postfix, whoever its certificate is for."""
    certificate = trustme.CA().issue_cert("somebody.else.example")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    with postfix(tmp_path, tls=chain) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            await s.put("u@example.jp", body=b"x" * 70 + b"\r\n" * 20_000)
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 1)
        assert "with ESMTPS id" in str(primary.arrived()[0]["Received"])


async def test_broken_certificate(tmp_path: Path) -> None:
    """A Postfix that offers STARTTLS and cannot do it (454) still gets the mail."""
    chain = tmp_path / "chain.pem"
    chain.write_text("no certificate at all\n")
    with postfix(tmp_path, tls=chain) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            await s.put("u@example.jp")
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 1)


async def test_too_large_for_it(tmp_path: Path) -> None:
    """A message over the primary's limit is not even sent; it is kept, and the reason says why."""
    with postfix(tmp_path, settings={"message_size_limit": "100000"}) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            await s.put("u@example.jp", body=b"x" * 78 + b"\r\n" * 100_000)
            await s.settled()
            (recipient,) = (await s.recipients()).values()
            assert (str(recipient.state), "exceeds size limit 100000" in recipient.reason) == ("refused", True)
        assert "4.2.0" not in primary.log()


async def test_command_by_command(tmp_path: Path) -> None:
    """Without PIPELINING, and with three recipients a message, everybody still has it."""
    settings = {"smtpd_discard_ehlo_keywords": "pipelining, dsn", "smtpd_recipient_limit": "3"}
    with postfix(tmp_path, settings=settings) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            await s.put(*(f"u{n}@example.jp" for n in range(8)))
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 8)
        assert {str(m["Delivered-To"]) for m in primary.arrived()} == {f"u{n}@example.jp" for n in range(8)}
