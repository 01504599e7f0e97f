"""Answers that are too large for a datagram: over TCP, whole, or trouble."""

import asyncio
import functools
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rrset
import pytest

from backupmx.net.dns import DNSTrouble, Resolver

Large = Callable[[dns.message.Message], bytes | None]
"""A question -> what is said over TCP, its length in front; None: nothing, ever."""


class Small(asyncio.DatagramProtocol):
    """Says that it does not fit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str | object, int]) -> None:
        response = dns.message.make_response(dns.message.from_wire(data))
        response.flags |= dns.flags.TC
        self._transport.sendto(response.to_wire(), peer)  # type: ignore[arg-type]


@asynccontextmanager
async def server(large: Large | None) -> AsyncIterator[str]:
    """-> where it listens.  `large` None: not over TCP."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        assert large is not None
        said = large(dns.message.from_wire(await reader.readexactly(size)))
        if said is None:
            await reader.read()
        writer.write(said or b"")
        writer.close()

    over_tcp = await asyncio.start_server(talk, "127.0.0.1", 0) if large else None  # first: fewer of its ports are free
    port = over_tcp.sockets[0].getsockname()[1] if over_tcp else 0
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Small, local_addr=("127.0.0.1", port))
    port = transport.get_extra_info("sockname")[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        transport.close()
        if over_tcp:
            over_tcp.close()


def framed(octets: bytes) -> bytes:
    return len(octets).to_bytes(2, "big") + octets


def strings(query: dns.message.Message, count: int = 50_000) -> bytes:
    name = query.question[0].name.to_text()
    return framed(query.id.to_bytes(2, "big") + wire(name, count if name != "." else 1)[2:])  # ". NS" is the probe


@functools.cache
def wire(name: str, count: int = 50_000) -> bytes:
    """Made once: it takes so long that our own server, in the same loop, would count as dead."""
    response = dns.message.make_response(dns.message.make_query(name, "TXT"))
    response.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", '"v=spf1 -all" ' + '"" ' * count))
    return response.to_wire(max_size=65535)


def another(query: dns.message.Message) -> bytes:
    query.id ^= 1
    return strings(query, 10)


async def test_a_large_answer_is_parsed_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty thousand strings in one record are an answer, and the event loop does not read them."""
    where = []
    parse = dns.message.from_wire

    def watched(octets: bytes, *args: object, **more: object) -> dns.message.Message:
        if len(octets) > 10_000:
            where.append(threading.current_thread())
        return parse(octets, *args, **more)  # type: ignore[arg-type]

    wire("large.test.")
    monkeypatch.setattr(dns.message, "from_wire", watched)
    async with server(strings) as address:
        resolver = Resolver([address])
        answer = await resolver.lookup("large.test", "TXT")
        await resolver.close()
    assert answer.strings == (b"v=spf1 -all",)
    assert where
    assert threading.main_thread() not in where


@pytest.mark.parametrize(
    "large",
    [
        None, another, lambda _: b"", lambda _: None, lambda _: b"\0\0", lambda _: b"\xff\xff" + b"x" * 100,
        lambda _: framed(b"x" * 60_000), lambda query: strings(query)[:30_000],
    ],
    ids=["refused", "another id", "closed", "silent", "empty", "cut short", "garbage", "cut in the middle"],
)  # fmt: skip
async def test_what_is_no_answer_is_trouble(large: Large | None) -> None:
    """Truncated, and over TCP nothing that can be read: DNSTrouble, within the time that is given."""
    async with server(large) as address:
        resolver = Resolver([address], timeout=0.5)
        with pytest.raises(DNSTrouble):
            await resolver.lookup("large.test", "TXT")
        await resolver.close()
