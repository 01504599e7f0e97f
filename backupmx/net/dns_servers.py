"""dns_servers: the DNS servers we ask, in turn; those that are dead are left alone.

    asked ──silent for 2 s, or refused, and silent to a probe of 1 s──► left alone
      ▲                                                                   │ a probe each 5 s, while somebody asks
      └────────────────────────────── it answers ─────────────────────────┘

A question goes to the first server, and to the next when that one has no
answer in its share of the time.  One that is left alone is not asked: with a
second server nobody waits for the first, with none left `AllDead` comes at
once.  Questions that wait in a server when it is given up are let go.  The
journal has one line for each change.

The probe is ". NS", which every resolver has at hand, and any answer will do.
Why a probe?  A stranger's zone can be as silent as a dead server, and whoever
sends such names must not cut us off from the DNS.

What comes over TCP is parsed in a thread: 64 KB of a stranger's records are a
fifth of a second of Python, and the event loop has others to serve.

Trouble
    Unanswered   silence, SERVFAIL or REFUSED from all of them; NXDOMAIN is an
      AllDead    answer, and dnspython's exception for it goes up as it is
    ValueError   an address that is none
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.query
import dns.resolver

from backupmx.journal import Journal, silent

_DOUBT_SECONDS = 2.0
_PROBE_SECONDS = 1.0
_PAUSE_SECONDS = 5.0
_RESEND_SECONDS = 2.0
"""A datagram that was lost is sent again after this long."""


class Unanswered(Exception):
    """In a few words why."""


class AllDead(Unanswered):
    """Nobody was asked."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What one process knows of a server: for an operator."""

    name: str
    """"DNS server 192.0.2.53"."""
    up: bool
    """Not known to be away."""
    since: float
    """Seconds since the epoch."""
    why: str = ""


class Servers:
    """All of them.  Belong to the event loop they are first used on."""

    def __init__(
        self, addresses: Sequence[str], journal: Journal | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`addresses`: "IP", "IP:PORT" or "[IPv6]:PORT"; none: the system's.  Raises ValueError."""
        journal = journal or silent()
        nameservers = [nameserver(address) for address in addresses] or _of_the_system()
        self.all = tuple(_Server(each, journal, clock) for each in nameservers)

    @property
    def states(self) -> tuple[ServerState, ...]:
        return tuple(server.state for server in self.all)

    async def ask(self, name: dns.name.Name, rdtype: str, seconds: float) -> dns.resolver.Answer:
        """Raises Unanswered, dns.resolver.NXDOMAIN."""
        if not (up := [server for server in self.all if server.is_up()]):
            raise AllDead("no DNS server answers")
        until = time.monotonic() + seconds
        why = ""
        for turn, server in enumerate(up):
            share = (until - time.monotonic()) / (len(up) - turn)
            if share <= 0:
                break
            try:
                return await server.ask(name, rdtype, share)
            except Unanswered as trouble:
                why = str(trouble)
        raise Unanswered(why or f"no answer in {seconds:g} s")

    async def close(self) -> None:
        """Probes still on their way are given up."""
        for server in self.all:
            await server.close()


class _Server:
    """One of them."""

    def __init__(self, where: dns.nameserver.Nameserver, journal: Journal, clock: Callable[[], float]) -> None:
        self.name = f"DNS server {where.answer_nameserver()}" + (
            f":{where.answer_port()}" if where.answer_port() != 53 else ""
        )
        self._stub = _stub(where)
        self._journal, self._clock = journal, clock
        self.state = ServerState(self.name, True, time.time())
        self._probe_at = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Timeout] = set()

    def is_up(self) -> bool:
        """Whether it may be asked.  One that may not is probed when it is time; nobody waits for that."""
        if not self.state.up and self._clock() >= self._probe_at:
            self._probe("")
        return self.state.up

    async def ask(self, name: dns.name.Name, rdtype: str, seconds: float) -> dns.resolver.Answer:
        """Raises Unanswered, dns.resolver.NXDOMAIN."""
        try:
            async with asyncio.timeout(None) as limit:
                doubt = asyncio.get_running_loop().call_later(_DOUBT_SECONDS, self._probe, "no answer")
                self._waiting.add(limit)
                try:
                    return await self._resolved(name, rdtype, seconds)
                finally:
                    doubt.cancel()
                    self._waiting.discard(limit)
        except TimeoutError:
            raise Unanswered(f"{self.name} is away") from None
        except dns.resolver.LifetimeTimeout:
            raise Unanswered(f"no answer in {seconds:.2g} s") from None
        except dns.resolver.NoNameservers as none:
            if reason := _unreachable(none):
                self._probe(reason)
            raise Unanswered(_words(none)) from None

    async def close(self) -> None:
        if self._probing:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    async def _resolved(self, name: dns.name.Name, rdtype: str, seconds: float) -> dns.resolver.Answer:
        return await self._stub.resolve(name, rdtype, raise_on_no_answer=False, search=False, lifetime=seconds)

    def _probe(self, why: str) -> None:
        """Several who are in doubt ask once."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.get_running_loop().create_task(self._probed(why))

    async def _probed(self, why: str) -> None:
        self._probe_at = self._clock() + _PAUSE_SECONDS
        answers = await self._answers()
        if answers == self.state.up:
            return
        self.state = ServerState(self.name, answers, time.time(), "" if answers else why)
        if answers:
            self._journal.engine_up(self.name)
            return
        self._journal.engine_down(self.name, why)
        for limit in self._waiting:
            limit.reschedule(asyncio.get_running_loop().time())

    async def _answers(self) -> bool:
        try:
            await self._resolved(dns.name.root, "NS", _PROBE_SECONDS)
        except dns.resolver.NoNameservers as none:
            return not _unreachable(none)  # SERVFAIL and REFUSED are answers
        except dns.resolver.NXDOMAIN:
            return True
        except (dns.exception.DNSException, OSError):
            return False
        return True


class _Nameserver(dns.nameserver.Do53Nameserver):
    """dnspython's, but for large answers."""

    async def async_query(
        self, request: dns.message.QueryMessage, timeout: float, source: str | None, source_port: int,
        max_size: bool, backend: Any, one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:  # fmt: skip
        """`max_size`: over TCP."""
        if not max_size:
            return await super().async_query(
                request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing
            )
        try:
            async with asyncio.timeout(timeout):
                octets = await self._over_tcp(request.to_wire())
        except TimeoutError:
            raise dns.exception.Timeout(timeout=timeout) from None  # type: ignore[no-untyped-call]
        response = await asyncio.to_thread(dns.message.from_wire, octets)
        if not request.is_response(response):
            raise dns.query.BadResponse
        return response

    async def _over_tcp(self, question: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(len(question).to_bytes(2, "big") + question)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.transport.abort()


def nameserver(address: str) -> dns.nameserver.Nameserver:
    """"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353".  Raises ValueError."""  # fmt: skip
    host, port = address, "53"
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or "53" if bracket else ""
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address}: not IP, IP:PORT or [IPv6]:PORT")
    try:
        return _Nameserver(str(ipaddress.ip_address(host)), int(port))
    except ValueError:
        raise ValueError(f"{address}: not IP, IP:PORT or [IPv6]:PORT") from None


def _of_the_system() -> list[dns.nameserver.Nameserver]:
    stub = dns.asyncresolver.Resolver(configure=False)
    try:
        stub.read_resolv_conf("/etc/resolv.conf")
    except (dns.resolver.NoResolverConfiguration, OSError):
        return [nameserver("127.0.0.1")]  # resolv.conf(5): what an absent file means
    return [nameserver(str(address)) for address in stub.nameservers]


def _stub(where: dns.nameserver.Nameserver) -> dns.asyncresolver.Resolver:
    stub = dns.asyncresolver.Resolver(configure=False)
    stub.nameservers = [where]
    stub.cache = None
    stub.timeout = _RESEND_SECONDS
    stub.flags = dns.flags.RD | dns.flags.AD
    stub.use_edns(0, 0, 1232)  # DNS flag day 2020: larger answers come over TCP, not in fragments
    return stub


def _unreachable(none: dns.resolver.NoNameservers) -> str:
    """Why nothing came from there at all; "" when something did."""
    reasons = [error for _, _, _, error, _ in none.kwargs["errors"]]
    if reasons and all(isinstance(reason, OSError) for reason in reasons):
        return str(reasons[-1].strerror or reasons[-1])
    return ""


def _words(none: dns.resolver.NoNameservers) -> str:
    return " ".join(str(none).split())
