"""Real clients: swaks, smtp-source and Postfix itself, against a real door."""

import asyncio
import smtplib
from pathlib import Path

import pytest
import trustme

from backupmx.net.tls import ServerTls
from tests.neighbours.postfix import postfix
from tests.neighbours.unbound import required
from tests.receive.doors import running

pytestmark = pytest.mark.neighbours


async def run(*command: str) -> str:
    """What it prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_swaks_over_tls_with_pipelining(tmp_path: Path) -> None:
    """EHLO, STARTTLS, a pipelined transaction with a refused recipient, and an attachment."""
    chain, attached = tmp_path / "chain.pem", tmp_path / "attached.bin"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    attached.write_bytes(bytes(range(256)) * 400)
    async with running(tls=ServerTls([chain])) as door:
        said = await run(
            required("swaks"), "--server", "127.0.0.1", "--port", str(door.port), "--ehlo", "client.example",
            "--from", "<>", "--to", "user@example.jp,nobody@elsewhere.example", "--tls", "--pipeline",
            "--header", "Subject: swaks", "--attach", f"@{attached}",
        )  # fmt: skip
    assert "=== TLS started with cipher TLSv1.3" in said
    assert "554 5.7.1 <nobody@elsewhere.example>: Relay access denied" in said
    (taken,) = door.recorder.messages
    assert taken.envelope.sender == ""
    assert taken.envelope.addresses == ("user@example.jp",)
    assert taken.client.with_protocol == "ESMTPS"
    assert b"Subject: swaks\r\n" in taken.content
    assert len(taken.content) > 100_000


@pytest.mark.parametrize("how", [["-d"], []])
async def test_smtp_source(how: list[str]) -> None:
    """Twenty sessions at once, a connection for each message or kept ones: every message arrives once."""
    async with running() as door:
        await run(
            required("smtp-source"), "-s", "20", "-m", "200", *how, "-l", "4096", "-N", "-r", "2",
            "-M", "client.example", "-f", "a@b.example", "-t", "user@example.jp", f"127.0.0.1:{door.port}",
        )  # fmt: skip
        await door.gone()
    assert len(door.recorder.messages) == 200
    assert len({taken.queue_id for taken in door.recorder.messages}) == 200
    assert {len(taken.envelope.recipients) for taken in door.recorder.messages} == {2}
    assert len({taken.content for taken in door.recorder.messages}) == 200


async def test_postfix_relays_to_us(tmp_path: Path) -> None:
    """A real Postfix hands its mail over, under TLS and pipelined, and every octet of it arrives."""
    chain = tmp_path / "chain.pem"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    bodies = [
        b"plain\r\n", b".\r\n..\r\n.leading dots\r\n", b"x" * 900 + b"\r\n", b"\xff\x80 eight bits\r\n" * 50,
        b"\r\n" * 100,
        b"0123456789abcdef" * 4 + b"\r\n", (b"0123456789abcdef" * 4 + b"\r\n") * 50_000, b".x\r\n" * 5_000,
    ]  # fmt: skip
    async with running(tls=ServerTls([chain]), spool_folder=str(tmp_path)) as door:
        settings = {
            "relayhost": f"[127.0.0.1]:{door.port}", "relay_domains": "example.jp", "relay_transport": "smtp",
            "smtp_tls_security_level": "may", "message_size_limit": "100000000",
        }  # fmt: skip
        with postfix(tmp_path / "sender", domains=["box.example"], settings=settings) as sender:
            await asyncio.to_thread(submit, sender.port, bodies)
            async with asyncio.timeout(60):
                while len(door.recorder.messages) < len(bodies):
                    await door.next_change()
    arrived = {taken.content.partition(b"\r\n\r\n")[2] for taken in door.recorder.messages}
    assert arrived == set(bodies)
    assert {taken.client.with_protocol for taken in door.recorder.messages} == {"ESMTPS"}


def submit(port: int, bodies: list[bytes]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        for n, body in enumerate(bodies):
            message = b"Subject: %d\r\n\r\n" % n + body
            client.sendmail("a@b.example", ["user@example.jp"], message, mail_options=["BODY=8BITMIME"])
