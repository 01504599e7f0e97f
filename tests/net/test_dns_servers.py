"""Servers that die, and come back: nobody waits for them twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import dns.message
import dns.name
import dns.rcode
import pytest

from backupmx.journal import Journal
from backupmx.net import dns_servers
from backupmx.net.dns import DNSTrouble, Resolver
from backupmx.net.dns_servers import AllDead, Servers, Unanswered, nameserver
from tests.neighbours.unbound import free_port


class Moody(asyncio.DatagramProtocol):
    """A DNS server that has a mood: a real one cannot be silent on demand."""

    def __init__(self) -> None:
        self.mood = "answers"
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, peer: tuple[str | object, int]) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text()
        self.asked.append(name)
        if self.mood == "dead" or (self.mood == "deaf to names" and name != "."):
            return
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.from_text(self.mood) if self.mood.isupper() else dns.rcode.NOERROR)
        self._transport.sendto(response.to_wire(), peer)  # type: ignore[arg-type]


@pytest.fixture
async def moody() -> AsyncIterator[Callable[[str], Awaitable[Moody]]]:
    """-> starts a server in a mood."""
    open_ones = []

    async def started(mood: str) -> Moody:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(Moody, local_addr=("127.0.0.1", 0))
        open_ones.append(transport)
        server.mood = mood
        return server

    yield started
    for transport in open_ones:
        transport.close()
    await asyncio.sleep(0)


Start = Callable[[str], Awaitable[Moody]]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_DOUBT_SECONDS", 0.05), ("_PROBE_SECONDS", 0.1)):
        monkeypatch.setattr(dns_servers, name, seconds)


NAME = dns.name.from_text("example.test.")
PATIENT = 20.0


async def probed(servers: Servers) -> None:
    for server in servers.all:
        if server._probing:
            await server._probing


def told(lines: list[bytes]) -> list[str]:
    return [line.decode().partition("]: ")[2].strip() for line in lines]


async def test_a_dead_server_is_given_up_while_it_is_asked(moody: Start) -> None:
    """Nobody waits out the ten seconds; the next questions are not even asked; each change is one line."""
    server, lines, clock = await moody("dead"), list[bytes](), Clock()
    servers = Servers([server.address], Journal(sink=lines.append, stamped=False), clock)
    asking = [asyncio.create_task(servers.ask(NAME, "A", PATIENT)) for _ in range(20)]
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(result) for result in results} == {f"DNS server {server.address} is away"}
    (state,) = servers.states
    assert (state.name, state.up, state.why) == (f"DNS server {server.address}", False, "no answer")
    before = len(server.asked)
    for _ in range(50):
        with pytest.raises(AllDead):
            await servers.ask(NAME, "A", PATIENT)
    assert len(server.asked) == before
    server.mood = "answers"
    clock.now += 6
    with pytest.raises(AllDead):  # this one sends the probe, and waits for nothing
        await servers.ask(NAME, "A", PATIENT)
    await probed(servers)
    await servers.ask(NAME, "A", PATIENT)
    (state,) = servers.states
    assert (state.up, state.why) == (True, "")
    name = state.name
    assert told(lines) == [f"warning: {name} is away: no answer", f"{name} answers again"]


async def test_a_second_server_serves(moody: Start) -> None:
    """A dead first server costs one wait, then nobody goes by it."""
    dead, alive = await moody("dead"), await moody("answers")
    servers = Servers([dead.address, alive.address])
    await servers.ask(NAME, "A", PATIENT)
    before = len(dead.asked)
    for _ in range(10):
        await servers.ask(NAME, "A", PATIENT)
    assert (len(dead.asked), len(alive.asked)) == (before, 11)


async def test_a_port_that_nobody_has_open() -> None:
    """Refused at once: found dead with the first question."""
    servers = Servers([f"127.0.0.1:{free_port()}"])
    with pytest.raises(Unanswered):
        await servers.ask(NAME, "A", PATIENT)
    await probed(servers)
    with pytest.raises(AllDead):
        await servers.ask(NAME, "A", PATIENT)


async def test_a_silent_zone_is_not_a_dead_server(moody: Start) -> None:
    """A stranger's names that get no answer do not cut us off: the probe is answered."""
    server = await moody("deaf to names")
    servers = Servers([server.address])
    for _ in range(3):
        with pytest.raises(Unanswered, match=r"no answer in 0\.3 s"):
            await servers.ask(NAME, "A", 0.3)
    assert servers.all[0].is_up()


@pytest.mark.parametrize("mood", ["SERVFAIL", "REFUSED"])
async def test_what_answers_is_not_dead(moody: Start, mood: str) -> None:
    """SERVFAIL or REFUSED for everything, the probe too: trouble for the name, but somebody is there."""
    server = await moody(mood)
    servers = Servers([server.address])
    for _ in range(5):
        with pytest.raises(Unanswered):
            await servers.ask(NAME, "A", 0.3)
    await probed(servers)
    assert servers.all[0].is_up()


async def test_while_all_are_dead_the_resolver_says_so_at_once(moody: Start) -> None:
    """Names that were never asked before are trouble at once, and are not remembered as such."""
    server, clock = await moody("dead"), Clock()
    resolver = Resolver([server.address], clock=clock)
    with pytest.raises(DNSTrouble):
        await resolver.lookup("one.test", "A")
    started = time.monotonic()
    for n in range(200):
        with pytest.raises(DNSTrouble, match="no DNS server answers"):
            await resolver.lookup(f"n{n}.test", "A")
    assert time.monotonic() - started < PATIENT / 2  # not two hundred waits
    assert resolver.known("n1.test", "A") is None
    await resolver.close()


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
    ],
)
def test_server_addresses(text: str, server: tuple[str, int]) -> None:
    """Servers are written IP, IP:PORT or [IPv6]:PORT."""
    parsed = nameserver(text)
    assert server == (parsed.address, parsed.port)


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:99999", "192.0.2.1:x", "[::1", "[x]:53"])
def test_bad_server_addresses(text: str) -> None:
    """Anything else is refused with its own words."""
    with pytest.raises(ValueError, match="not IP"):
        Servers([text])
