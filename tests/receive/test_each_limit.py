"""Each limit: what a client beyond it reads, and which line of the log names the limit."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme

from backupmx.net.tls import ServerTls
from tests.receive.doors import Running, Talk, running

HELLO = b"EHLO client.example\r\n"
MAIL = HELLO + b"MAIL FROM:<a@b.example>\r\n"
RCPT = MAIL + b"RCPT TO:<user@example.jp>\r\n"
ERRORS = {"error_delay": 0, "hard_error_limit": 2}

TABLE: dict[str, tuple[dict[str, Any], bytes, str, str]] = {
    "a message announced": (
        {"message_size_limit": 1000}, HELLO + b"MAIL FROM:<a@b.example> SIZE=1001\r\n",
        "552 5.3.4 Message size exceeds fixed limit", "smtp.message_size_limit=1000"),
    "a message sent": (
        {"message_size_limit": 1000}, RCPT + b"DATA\r\n" + b"x" * 1001 + b"\r\n.\r\n",
        "552 5.3.4 Error: message file too big", "smtp.message_size_limit=1000"),
    "a chunk": (
        {"message_size_limit": 1000}, RCPT + b"BDAT 1001 LAST\r\n" + b"x" * 1001,
        "552 5.3.4 Chunk exceeds message size limit", "smtp.message_size_limit=1000"),
    "a message for which there is no room": (
        {"min_free": 1 << 60, "spool_above": 10}, HELLO + b"MAIL FROM:<a@b.example> SIZE=1001\r\n",
        "452 4.3.1 Insufficient system storage", "queue.min_free=1152921504606846976"),
    "recipients": (
        {"recipient_limit": 1}, RCPT + b"RCPT TO:<two@example.jp>\r\n",
        "452 4.5.3 Error: too many recipients", "smtp.recipient_limit=1"),
    "a command": (
        {"line_length_limit": 600}, HELLO + b"NOOP " + b"x" * 600 + b"\r\n",
        "500 5.5.2 Error: line too long", "line_length_limit=600"),
    "errors": (
        ERRORS, b"FOO\r\n" * 3,
        "421 4.7.0 mx2.example.net Error: too many errors", "hard_error_limit=2"),
    "junk": (
        ERRORS | {"junk_command_limit": 2}, b"NOOP\r\n" * 5,
        "421 4.7.0 mx2.example.net Error: too many errors", "hard_error_limit=2 junk_command_limit=2"),
    "a line that ends in LF alone": (
        {"reject_bare_newline": True}, b"NOOP\n",
        "550 5.5.2 mx2.example.net Error: bare <LF> received", "smtp.forbid_bare_newline=reject"),
    "silence": (
        {"timeout": 0.05}, b"", "421 4.4.2 mx2.example.net Error: timeout exceeded", "smtp.timeout=0.05s"),
    "connections": (
        {"connection_limit": 1}, b"", "421 4.7.0 mx2.example.net Error: too many connections", "smtp.connection_limit"),
    "connections of a client": (
        {"client_connection_limit": 1}, b"",
        "421 4.7.0 mx2.example.net Error: too many connections from unknown[127.0.0.1]",
        "smtp.client_connection_limit"),
    "connections of a client a minute": (
        {"client_connection_rate_limit": 1}, b"",
        "421 4.7.0 mx2.example.net Error: too many connections from unknown[127.0.0.1]",
        "smtp.client_connection_rate_limit"),
    "messages of a client a minute": (
        {"client_message_rate_limit": 1}, MAIL + b"RSET\r\nMAIL FROM:<a@b.example>\r\n",
        "450 4.7.1 Error: too much mail from 127.0.0.1", "smtp.client_message_rate_limit"),
    "recipients of a client a minute": (
        {"client_recipient_rate_limit": 1}, RCPT + b"RCPT TO:<user@example.jp>\r\n",
        "450 4.7.1 Error: too many recipients from 127.0.0.1", "smtp.client_recipient_rate_limit"),
}  # fmt: skip
"""The limit, beyond which what is said; the last reply to it, and what the log names."""


@pytest.mark.parametrize("limit", TABLE)
async def test_each_limit(limit: str, tmp_path: Path) -> None:
    """Who is beyond a limit reads which one it was, with a code that says whether to come again; the log names the
    setting that would let him."""
    settings, said, expected, named = TABLE[limit]
    async with running(limit_exceptions=(), **{"spool_folder": str(tmp_path)} | settings) as door:
        first = await door.connect() if limit.startswith("connections") else None
        talk = Talk(*await asyncio.open_connection("127.0.0.1", door.port))
        talk.writer.write(said)
        if limit != "silence":
            talk.writer.write_eof()
        async with asyncio.timeout(10):
            replies = (await talk.reader.read()).decode().splitlines()
        await talk.close()
        if first is not None:
            await first.close()
        await door.gone()
    assert replies[-1] == expected
    assert [line for line in door.lines if f"[{named}]" in line], door.lines


async def test_a_handshake_without_end(tmp_path: Path) -> None:
    """A client that said STARTTLS and then nothing is dropped in its time; the log names it."""
    chain = tmp_path / "chain.pem"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    async with running(tls=ServerTls([chain]), handshake_timeout=0.1) as door:
        talk = await door.connect()
        assert (await talk.say("EHLO x", "STARTTLS")).startswith("220 ")
        assert await talk.closed()
        await talk.close()
        await door.gone()
    assert _named(door, "handshake_timeout=0.1s")


def _named(door: Running, setting: str) -> bool:
    return any(line.endswith(f"[{setting}]") for line in door.lines)


@pytest.mark.parametrize("slow", [b"DATA\r\n", b"BDAT 1000 LAST\r\n"])
async def test_an_octet_a_moment(slow: bytes) -> None:
    """Who sends its content octet by octet to hold a connection has smtp.timeout in all, not for each."""
    async with running(limit_exceptions=(), timeout=0.3) as door:
        talk = await door.connect()
        talk.writer.write(RCPT + slow)
        said = b""
        async with asyncio.timeout(10):
            reading = asyncio.ensure_future(talk.reader.read())
            while not reading.done():
                talk.writer.write(b"x")
                await asyncio.sleep(0.02)
            said = await reading
        await talk.close()
        await door.gone()
    assert said.endswith(b"421 4.4.2 mx2.example.net Error: timeout exceeded\r\n")
    assert _named(door, "smtp.timeout=0.3s")
