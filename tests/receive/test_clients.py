"""Real clients against a real door: swaks, smtp-source, curl, openssl, smtplib, Postfix, Exim and OpenSMTPD."""

import asyncio
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trustme

from backupmx.net.tls import ServerTls
from tests.neighbours.postfix import postfix
from tests.neighbours.unbound import required
from tests.neighbours.unpacked import exim, opensmtpd
from tests.receive.doors import Recorder, Taken, running

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


HEAD = b"Subject: as it is\r\nX-Head: \xe3\x81\x82\r\n\r\n"
BODY = (
    b".\r\n..\r\n.dots\r\n...\r\n\r\n\xff\x80\xc3\xa9 eight bits\r\nFrom here\r\n \t \r\n"
    + b"".join([b"x" * 5000 + b"\r\n", b"y" * 998 + b"\r\n", b".z\r\n" * 3000, b"0123456789\r\n" * 30_000])
    + b"\r\n.\r\n\r\nend\r\n"
)
"""Dots everywhere, eight bits, lines longer than any standard has, and more than a few packets."""
STUFFED = (HEAD + BODY).replace(b"\r\n.", b"\r\n..") + b".\r\n"
TO = ("user@example.jp", "other@example.jp", "postmaster@example.jp")
SENDER = "a@b.example"


def with_curl(folder: Path, port: int, tls: bool) -> None:
    (folder / "mail").write_bytes(HEAD + BODY)
    to = [word for address in TO for word in ("--mail-rcpt", address)]
    secured = ["--ssl-reqd", "--insecure"] if tls else []
    url = f"smtp://127.0.0.1:{port}/client.example"
    asyncio.run(run(required("curl"), "-sS", url, "--mail-from", SENDER, *to, "-T", str(folder / "mail"), *secured))


def with_swaks(folder: Path, port: int, tls: bool) -> None:
    (folder / "mail").write_bytes(STUFFED)  # as it is: what swaks takes for an end of data it would cut off
    asyncio.run(run(
        required("swaks"), "--server", "127.0.0.1", "--port", str(port), "--helo", "client.example", "--from", SENDER,
        "--to", ",".join(TO), "--data", f"@{folder}/mail", "--no-data-fixup", "--suppress-data",
        *(["--tls", "--pipeline"] if tls else []),
    ))  # fmt: skip


def with_smtp_source(folder: Path, port: int, tls: bool) -> None:
    if tls:
        pytest.skip("smtp-source knows no TLS")
    (folder / "mail").write_bytes((HEAD + BODY).replace(b"\r\n", b"\n"))
    to = ["-r", "3", "-t", TO[0], "-f", SENDER]
    asyncio.run(run(required("smtp-source"), "-F", str(folder / "mail"), *to, f"127.0.0.1:{port}"))


def with_openssl(folder: Path, port: int, tls: bool) -> None:
    if not tls:
        pytest.skip("openssl s_client knows nothing else")
    lines = [f"MAIL FROM:<{SENDER}> BODY=8BITMIME", *(f"RCPT TO:<{to}>" for to in TO), "DATA"]
    said = "".join(f"{line}\r\n" for line in ["EHLO client.example", *lines]).encode() + STUFFED + b"QUIT\r\n"
    (folder / "dialogue").write_bytes(said)
    command = f"openssl s_client -quiet -starttls smtp -connect 127.0.0.1:{port} <{folder}/dialogue"
    assert required("openssl")
    asyncio.run(run("sh", "-c", command))


def with_smtplib(folder: Path, port: int, tls: bool) -> None:
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=30) as client:
        if tls:
            client.starttls()
        client.sendmail(SENDER, TO, HEAD + BODY, mail_options=["BODY=8BITMIME"])


def by_way_of(start: Callable[[Path, int], AbstractContextManager[int]], folder: Path, port: int, tls: bool) -> None:
    """Submitted to a mail server, which delivers it to us; TLS is its own choice, when we offer it."""
    with start(folder / "server", port) as listens, smtplib.SMTP("127.0.0.1", listens, timeout=30) as client:
        client.sendmail(SENDER, TO, HEAD + BODY, mail_options=["BODY=8BITMIME"])
        until = time.monotonic() + 30
        while time.monotonic() < until and not (folder / "arrived").exists():
            time.sleep(0.02)


@contextmanager
def a_postfix(folder: Path, port: int) -> Iterator[int]:
    settings = {
        "relayhost": f"[127.0.0.1]:{port}", "relay_domains": "example.jp", "relay_transport": "smtp",
        "smtp_tls_security_level": "may", "smtp_line_length_limit": "0",
    }  # fmt: skip
    with postfix(folder, domains=["box.example"], settings=settings) as sender:
        yield sender.port


SENDERS: dict[str, Callable[[Path, int, bool], None]] = {
    "curl": with_curl, "swaks": with_swaks, "smtp-source": with_smtp_source, "openssl": with_openssl,
    "smtplib": with_smtplib, "postfix": partial(by_way_of, a_postfix), "exim": partial(by_way_of, exim),
    "opensmtpd": partial(by_way_of, opensmtpd),
}  # fmt: skip


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "STARTTLS"])
@pytest.mark.parametrize("name", list(SENDERS))
async def test_every_octet_arrives(name: str, tls: bool, tmp_path: Path) -> None:
    """Whatever sends it, in clear or under TLS, by DATA or by BDAT: the body arrives octet by octet, once, for all."""
    chain = tmp_path / "chain.pem"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    (tmp_path / "spool").mkdir()

    async def arrived(taken: Taken) -> None:
        (tmp_path / "arrived").touch()

    recorder = Recorder(before=arrived)
    spool = {"spool_folder": str(tmp_path / "spool"), "spool_above": 100_000}
    async with running(recorder, tls=ServerTls([chain]) if tls else None, **spool) as door:
        await asyncio.to_thread(SENDERS[name], tmp_path, door.port, tls)
        await door.gone()
    (taken,) = recorder.messages
    own = b"\r\n" if name == "smtp-source" else b""  # it ends every file with an empty line
    assert taken.content.partition(b"\r\n\r\n")[2] == BODY + own
    assert b"Subject: as it is\r\n" in taken.content
    assert b"X-Head: \xe3\x81\x82\r\n" in taken.content
    assert taken.envelope.sender == SENDER
    assert len(taken.envelope.addresses) == 3
    assert (taken.client.tls is not None) == tls
    if name == "exim":
        assert " bdat=" in door.lines[-1]


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
