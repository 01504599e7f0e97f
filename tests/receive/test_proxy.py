"""PROXY: who is behind the proxy in front of us."""

import asyncio
import ipaddress
import ssl
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from backupmx.net.tls import ServerTls
from backupmx.receive.proxy import NoHeader, Origin, header
from tests.receive.doors import Running, Talk, running

TRUSTED: Mapping[str, Any] = {"proxy_protocol_from": ("127.0.0.0/8",)}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_2(client: str, port: int, *, command: int = 0x21, family: int = 0, tlvs: bytes = b"") -> bytes:
    address = ipaddress.ip_address(client)
    body = address.packed * 2 + struct.pack("!HH", port, 25) + tlvs
    kind = family or (0x11 if address.version == 4 else 0x21)
    return SIGNATURE + bytes([command, kind]) + struct.pack("!H", len(body)) + body


GOOD: list[tuple[bytes, Origin | None]] = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n", ("192.0.2.1", 56324)),
    (b"PROXY TCP6 2001:DB8::1 2001:db8::2 0 25\r\n", ("2001:db8::1", 0)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 25\r\n", ("192.0.2.1", 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (version_2("192.0.2.1", 4711), ("192.0.2.1", 4711)),
    (version_2("2001:db8::1", 4711), ("2001:db8::1", 4711)),
    (version_2("192.0.2.1", 4711, tlvs=b"\x04\x00\x03abc" * 100), ("192.0.2.1", 4711)),
    (version_2("192.0.2.1", 4711, command=0x20), None),
    (SIGNATURE + b"\x20\x00\x00\x00", None),
    (SIGNATURE + b"\x21\x00\x00\x00", None),
]
BAD = [
    b"EHLO x\r\n", b"proxy tcp4 192.0.2.1 198.51.100.1 1 25\r\n", b"PROXY\r\n", b"PROXY \r\n", b"PROXY TCP4\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25 \r\n",
    b"PROXY TCP4  192.0.2.1 198.51.100.1 1 25\r\n", b"PROXY TCP4 192.0.2.1 198.51.100.1 70000 25\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.1 01 25\r\n", b"PROXY TCP4 192.0.2.256 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", b"PROXY TCP6 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.1 2001:db8::2 1 25\r\n", b"PROXY UDP4 192.0.2.1 198.51.100.1 1 25\r\n",
    b"PROXY TCP4 192.0.2.1\0 198.51.100.1 1 25\r\n", b"PROXY UNKNOWN" + b"x" * 200,
    version_2("192.0.2.1", 1, command=0x11), version_2("192.0.2.1", 1, command=0x22),
    version_2("192.0.2.1", 1, family=0x12), version_2("192.0.2.1", 1, family=0x31),
    version_2("192.0.2.1", 1, family=0x21),
    SIGNATURE + b"\x21\x11\x00\x04abcd", SIGNATURE + b"\x21\x11\xff\xff",
]  # fmt: skip


@pytest.mark.parametrize(("data", "origin"), GOOD, ids=range(len(GOOD)))
def test_whole_and_byte_by_byte(data: bytes, origin: Origin | None) -> None:
    """A header is read when its last octet is there, and what follows is not its own."""
    assert (origin, len(data)) == header(data)
    assert (origin, len(data)) == header(data + b"EHLO x\r\n")
    assert {None} == {header(data[:end]) for end in range(len(data))}


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_none_of_these(data: bytes) -> None:
    """Anything else is no header."""
    with pytest.raises(NoHeader):
        header(data)


@given(
    st.one_of(st.binary(max_size=60), st.sampled_from(GOOD).map(lambda pair: pair[0])),
    st.binary(max_size=4),
    st.integers(0, 60),
)
def test_any_bytes(data: bytes, noise: bytes, at: int) -> None:
    """Any bytes are a header, the beginning of one, or none."""
    try:
        found = header(data[:at] + noise + data[at + len(noise) :])
    except NoHeader:
        return
    assert found is None or found[0] is None or ipaddress.ip_address(found[0][0])


async def introduced(door: Running, header: bytes) -> Talk:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(header)
    return Talk(reader, writer)


@pytest.mark.parametrize("cut", [0, 1, 30])
async def test_a_client_behind_the_proxy(cut: int) -> None:
    """Mail is that client's: in the log, in Received, for every limit; nothing is said before the header is there."""
    data = version_2("192.0.2.1", 4711, tlvs=b"\x04\x00\x03abc")
    async with running(limit_exceptions=(), client_connection_limit=1, **TRUSTED) as door:
        talk = await introduced(door, data[:cut])
        await asyncio.sleep(0)
        talk.writer.write(data[cut:] + b"EHLO early\r\n")
        assert await talk.reply() == "220 mx2.example.net ESMTP backupmx"
        assert (await talk.reply()).startswith("250-mx2")
        second = await introduced(door, b"PROXY TCP4 192.0.2.1 198.51.100.1 4712 25\r\n")
        assert (await second.reply()).startswith(
            "421 4.7.0 mx2.example.net Error: too many connections from unknown[192.0"
        )
        await second.close()
        third = await introduced(door, b"PROXY TCP4 192.0.2.2 198.51.100.1 4712 25\r\n")
        assert (await third.reply()).startswith("220 ")
        await third.close()
        await talk.begin()
        assert (await talk.say("x\r\n.")).startswith("250 ")
        await talk.close()
        await door.gone()
    client = door.recorder.messages[0].client
    assert (client.address, client.port) == ("192.0.2.1", 4711)
    assert door.lines[:2] == ["PROXY from 127.0.0.1: client=192.0.2.1", "connect from unknown[192.0.2.1]"]


async def test_the_proxy_itself() -> None:
    """Its health checks are its own."""
    async with running(**TRUSTED) as door:
        talk = await introduced(door, b"PROXY UNKNOWN\r\nQUIT\r\n")
        assert (await talk.reply()).startswith("220 ")
        assert await talk.reply() == "221 2.0.0 Bye"
        await talk.close()
    assert door.lines[0] == "connect from unknown[127.0.0.1]"


@pytest.mark.parametrize("data", [b"EHLO x\r\n", b"PROXY TCP4 nobody\r\n", SIGNATURE + b"\x21\x11\xff\xff"])
async def test_a_proxy_that_does_not_introduce_anybody(data: bytes) -> None:
    """Dropped without a word, and logged with the setting that asks for a header."""
    async with running(**TRUSTED) as door:
        talk = await introduced(door, data)
        assert await talk.closed()
        await talk.close()
        await door.gone()
    assert door.lines[0].startswith("warning: dropped a connection from 127.0.0.1: ")
    assert door.lines[0].endswith(" [smtp.proxy_protocol_from]")


async def test_a_silent_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header has its time; a connection that is closed before it is a health check; stopping does not wait for it."""
    monkeypatch.setattr("backupmx.receive.proxy.PATIENCE", 0.05)
    async with running(timeout=0.2, **TRUSTED) as door:
        talk = await introduced(door, b"PROXY ")
        assert await talk.closed()
        await talk.close()
        await (await introduced(door, b"")).close()
        await door.gone()
        assert len(door.lines) == 1
        monkeypatch.setattr("backupmx.receive.proxy.PATIENCE", 1000.0)
        talk = await introduced(door, b"PROXY ")
        async with asyncio.timeout(5):
            await door.door.stop(3)
        assert await talk.closed()
        await talk.close()


@pytest.mark.parametrize("trusted", [(), ("192.0.2.7",)])
async def test_a_stranger_who_says_proxy(trusted: tuple[str, ...]) -> None:
    """From others it is a bad command, and they are who they are."""
    async with running(proxy_protocol_from=trusted) as door:
        talk = await door.connect()
        assert await talk.say("PROXY TCP4 192.0.2.1 198.51.100.1 1 25") == "500 5.5.2 Error: command not recognized"
        await talk.begin()
        await talk.say(".")
        await talk.close()
    assert door.recorder.messages[0].client.address == "127.0.0.1"


async def test_tls_behind_the_proxy(tmp_path: Path) -> None:
    """STARTTLS goes through, and the client stays the one the proxy named."""
    authority, file, trust = trustme.CA(), tmp_path / "chain.pem", ssl.create_default_context()
    authority.issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(file))
    authority.configure_trust(trust)
    async with running(tls=ServerTls([file]), **TRUSTED) as door:
        talk = await introduced(door, version_2("2001:db8::1", 4711))
        await talk.reply()
        await talk.say("EHLO x", "STARTTLS")
        await talk.secure(trust)
        await talk.begin()
        assert (await talk.say("x\r\n.")).startswith("250 ")
        await talk.close()
    client = door.recorder.messages[0].client
    assert (client.address, client.with_protocol) == ("2001:db8::1", "ESMTPS")
