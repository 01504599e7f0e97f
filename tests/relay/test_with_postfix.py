"""The relay with Debian's Postfix as its primary: what it says, takes and refuses is the real thing."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from backupmx.mail.envelope import Client
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


A = Client("192.0.2.7", 40000, "mail.client.example", "helo.client.example", "ESMTP")
B = Client("2001:db8::7", 40001, "unknown", "[IPv6:2001:db8::7]", "ESMTP")


async def test_xforward(tmp_path: Path) -> None:
    """A primary that trusts us with XFORWARD logs the real client and our queue id; for our own mail, ourselves."""
    settings = {"smtpd_authorized_xforward_hosts": "127.0.0.0/8", "inet_protocols": "all"}
    with postfix(tmp_path, settings=settings) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}", most_connections=1) as s:
            ids = [await s.put("u@example.jp", client=client) for client in (A, None, B)]
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 3)
        lines = [line for line in primary.log().splitlines() if ": client=" in line]
        assert sum(f"orig_queue_id={ids[0]}, orig_client=mail.client.example[192.0.2.7]" in line for line in lines) == 1
        assert sum(f"orig_queue_id={ids[2]}, orig_client=unknown[2001:db8::7]" in line for line in lines) == 1
        assert sum("orig_" not in line for line in lines) == 1


async def test_xforward_without_ipv6(tmp_path: Path) -> None:
    """A primary without IPv6 refuses an IPv6 address; it still logs our queue id."""
    with postfix(tmp_path, settings={"smtpd_authorized_xforward_hosts": "127.0.0.0/8"}) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            id = await s.put("u@example.jp", client=B)
            await s.settled()
            assert await s.states() == {}
        assert f"orig_queue_id={id}" in primary.log()


async def test_xclient(tmp_path: Path) -> None:
    """A primary that trusts us with XCLIENT sees each message's own client, and refuses whom it does not want."""
    settings = {
        "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
        "inet_protocols": "all",
        "smtpd_client_restrictions": "check_client_access inline:{192.0.2.66=reject}",
    }
    bad = Client("192.0.2.66", 1, "unknown", "bad.example", "ESMTP")
    with postfix(tmp_path, settings=settings) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}", most_connections=1) as s:
            for client in (A, B, bad, None, A):
                await s.put("u@example.jp" if client is not bad else "bad@example.jp", client=client)
            await s.settled()
            assert {a: str(r.state) for a, r in (await s.recipients()).items()} == {"bad@example.jp": "refused"}
        await until(lambda: len(primary.contents()) == 4)
        received = [str(message["Received"]) for message in primary.arrived()]
        assert sum("from helo.client.example (mail.client.example [192.0.2.7])" in line for line in received) == 2
        assert sum("(unknown [IPv6:2001:db8::7])" in line for line in received) == 1
        assert sum("from mx2.example.net (unknown [127.0.0.1])" in line for line in received) == 1


async def test_xclient_under_tls(tmp_path: Path) -> None:
    """XCLIENT after STARTTLS: the session stays encrypted."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(trustme.CA().issue_cert("primary.test").private_key_and_cert_chain_pem.bytes())
    settings = {"smtpd_authorized_xclient_hosts": "127.0.0.0/8"}
    with postfix(tmp_path, settings=settings, tls=chain) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}", most_connections=1) as s:
            for client in (A, B, A):
                await s.put("u@example.jp", client=client)
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 3)
        assert all("with ESMTPS id" in str(message["Received"]) for message in primary.arrived())


async def test_chunking(tmp_path: Path) -> None:
    """A large message goes by BDAT and arrives as it was sent, lines with dots and all."""
    body = b"".join(b"%d line\r\n.\r\n..\r\n" % n for n in range(50_000))
    with postfix(tmp_path) as primary:
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s:
            for _ in range(3):
                await s.put("u@example.jp", body=body)
            await s.put("u@example.jp", body=b"small\r\n")
            await s.settled()
            assert await s.states() == {}
        await until(lambda: len(primary.contents()) == 4)
        assert sum(content.endswith(b"\n\n" + body.replace(b"\r\n", b"\n")) for content in primary.contents()) == 3
        assert "bdat=" in primary.log()
