"""hosts: the hosts of a next hop in the order they are tried.

    [host], address     its own addresses, no MX
    domain              MX hosts by preference, equal ones shuffled; without
                        any MX the domain's own addresses (RFC 5321 5.1)
    several, a list     one after the other
    /socket             itself

Names are asked in DNS.  A [host] that DNS does not have, or when DNS does not
answer, is looked for in the system's own tables too (/etc/hosts): a primary on
a private network often stands only there.  Postfix does that on request
(smtp_host_lookup = dns, native).

Trouble
    NoHosts    nowhere to connect to.  `permanent` only where DNS says so of a
               domain that is the recipient's own: null MX (RFC 7505), no such
               domain.  The caller softens even that for domains that are ours.
    We find ourselves in an MX list (RFC 5321 5.1): our preference and worse
               ones are dropped.  When nothing is left the mail waits and
               `loops` is set: DNS or transport.map is wrong, and bouncing a
               client's mail for that would be its loss (Postfix bounces).
    An MX host without an address: the next one; none has any: the mail waits
               (Postfix bounces unless smtp_defer_if_no_mx_address_found).

How do we know ourselves?  An address is ours when a socket can be bound to it;
only port 25 counts, as with Postfix.  An address behind NAT is not seen so:
`own` can be given.
"""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

from backupmx.mail.reply import Reply
from backupmx.net.dns import Answer, DNSTrouble
from backupmx.route.next_hop import Destination
from backupmx.route.transport_map import fold

_NATIVE_SECONDS = 10.0
_MOST_ADDRESSES = 5
# Of one destination (Postfix: smtp_mx_address_limit).
_MOST_NAMES = 10
# MX records beyond these are not looked up.


class Resolver(Protocol):
    async def lookup(self, name: str, rdtype: str) -> Answer: ...


class NoHosts(Exception):
    """There is nowhere to connect to."""

    def __init__(self, reply: Reply, *, loops: bool = False) -> None:
        super().__init__(reply.text)
        self.reply = reply
        """Our own words, with the code that fits."""
        self.permanent = reply.permanent
        self.loops = loops


@dataclass(frozen=True, slots=True)
class Host:
    """One place to connect to."""

    name: str
    """primary1.example.net; for a socket file the path."""
    address: str
    """192.0.2.1, 2001:db8::1; "" for a socket file."""
    port: int
    destination: Destination | None = field(default=None, compare=False, repr=False)
    """The place in the next hop that led here."""

    def __str__(self) -> str:
        """As Postfix logs it: primary1.example.net[192.0.2.1]:25."""
        return f"{self.name}[{self.address}]:{self.port}" if self.address else self.name


def bindable(address: str) -> bool:
    """This address is one of this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


async def find(
    destinations: Sequence[Destination],
    resolver: Resolver,
    *,
    own: Callable[[str], bool] = bindable,
    shuffle: Callable[[list[Host]], None] = random.shuffle,
) -> list[Host]:
    """All hosts of a next hop, best first.  Raises NoHosts when there is none."""
    hosts: list[Host] = []
    why: tuple[Reply, bool] | None = None  # not the trouble itself: its traceback knows this frame, and who waits
    for destination in destinations:
        try:
            found = _shortlist(await _hosts(destination, resolver, own, shuffle))
            hosts += [replace(host, destination=destination) for host in found]
        except NoHosts as none:
            # A temporary reason outlives a permanent one: the other place may have been right.
            why = (none.reply, none.loops) if why is None or why[0].permanent else why
    if not hosts:
        assert why is not None
        raise NoHosts(why[0], loops=why[1])
    return list(dict.fromkeys(hosts))


async def _hosts(
    destination: Destination, resolver: Resolver, own: Callable[[str], bool], shuffle: Callable[[list[Host]], None]
) -> list[Host]:
    if destination.path:
        return [Host(destination.path, "", 0)]
    if not destination.mx:
        hosts = await _host(destination, resolver)
        if all(_is_self(host, own) for host in hosts):
            raise _loop(destination)
        shuffle(hosts)
        return _alternating(hosts)
    return await _by_mx(destination, resolver, own, shuffle)


async def _by_mx(
    destination: Destination, resolver: Resolver, own: Callable[[str], bool], shuffle: Callable[[list[Host]], None]
) -> list[Host]:
    domain = destination.host
    try:
        answer = await resolver.lookup(fold(domain), "MX")
    except DNSTrouble as trouble:
        raise NoHosts(Reply(451, "4.4.3", f"Host or domain name not found: {trouble}")) from None
    if not answer.exists:
        raise NoHosts(Reply(550, "5.4.4", f"Host or domain name not found: no such domain {domain}"))
    exchanges = sorted(_exchange(record) for record in answer.records)
    if not exchanges:
        return await _without_mx(destination, resolver, own)
    if [name for _, name in exchanges] == [""]:
        raise NoHosts(Reply(556, "5.1.10", f"Domain {domain} does not accept mail (null MX)"))
    ranked: list[tuple[int, Host]] = []
    missing: list[str] = []
    for preference, name in exchanges[:_MOST_NAMES]:
        found = await _addresses(name, resolver)
        missing += [] if found else [name]
        ranked += [(preference, Host(name, address, destination.port)) for address in found]
    return _best_first(ranked, missing, destination, own, shuffle)


def _best_first(
    ranked: list[tuple[int, Host]],
    missing: list[str],
    destination: Destination,
    own: Callable[[str], bool],
    shuffle: Callable[[list[Host]], None],
) -> list[Host]:
    """RFC 5321 5.1: ourselves and everything that is not better than us is no way."""
    ours = min((preference for preference, host in ranked if _is_self(host, own)), default=None)
    better = [(preference, host) for preference, host in ranked if ours is None or preference < ours]
    if not better and missing:
        raise NoHosts(Reply(451, "4.4.4", f"no address for MX host {missing[0]} of {destination.host}"))
    if not better:
        raise _loop(destination)
    hosts: list[Host] = []
    for _, group in groupby(better, key=lambda pair: pair[0]):
        equal = [host for _, host in group]
        shuffle(equal)
        hosts += _alternating(equal)
    return hosts


async def _without_mx(destination: Destination, resolver: Resolver, own: Callable[[str], bool]) -> list[Host]:
    found = await _addresses(destination.host, resolver)
    if not found:
        raise NoHosts(Reply(550, "5.4.4", f"Host or domain name not found: {destination.host} has neither MX nor A"))
    hosts = [Host(destination.host, address, destination.port) for address in found]
    if any(_is_self(host, own) for host in hosts):
        raise _loop(destination)
    return hosts


async def _host(destination: Destination, resolver: Resolver) -> list[Host]:
    name = destination.host
    trouble = "no such host"
    try:
        found = await _addresses(name, resolver)
    except NoHosts as none:
        found, trouble = (), none.reply.text
    found = found or await _native(name)
    if not found:
        # The operator named this host; a typing error must not bounce a client's mail.
        raise NoHosts(Reply(451, "4.4.4", f"{name}: {trouble}"))
    return [Host(name, address, destination.port) for address in found]


async def _addresses(name: str, resolver: Resolver) -> tuple[str, ...]:
    """Numbers are themselves.  Raises NoHosts (temporary) only when DNS tells of no address at all."""
    try:
        return (str(ipaddress.ip_address(name.partition("%")[0])) + "".join(name.partition("%")[1:]),)
    except ValueError:
        pass  # a name, then
    answers = await asyncio.gather(
        *(resolver.lookup(fold(name), rdtype) for rdtype in ("A", "AAAA")), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, DNSTrouble):
            raise answer
    found = tuple(record for answer in answers if isinstance(answer, Answer) for record in answer.records)
    troubles = [str(answer) for answer in answers if isinstance(answer, DNSTrouble)]
    if troubles and not found:
        raise NoHosts(Reply(451, "4.4.3", f"Host or domain name not found: {troubles[0]}"))
    return found


async def _native(name: str) -> tuple[str, ...]:
    """/etc/hosts and what else the system asks."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_NATIVE_SECONDS):
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return ()
    return tuple(dict.fromkeys(str(info[4][0]) for info in found))


def _exchange(record: str) -> tuple[int, str]:
    preference, _, name = record.partition(" ")
    return int(preference), name.strip().rstrip(".").lower()


def _alternating(hosts: list[Host]) -> list[Host]:
    """IPv6 and IPv4 by turns, so that one broken family costs one try and not all of them."""
    first = [host for host in hosts if (":" in host.address) == (":" in hosts[0].address)]
    second = [host for host in hosts if host not in first]
    paired = [host for pair in zip(first, second, strict=False) for host in pair]
    return paired + first[len(second) :] + second[len(first) :]


def _shortlist(hosts: list[Host]) -> list[Host]:
    """The first five; both families among them where both are known (Postfix: smtp_balance_inet_protocols)."""
    few, rest = hosts[:_MOST_ADDRESSES], hosts[_MOST_ADDRESSES:]
    other = [host for host in rest if (":" in host.address) != (":" in hosts[0].address)]
    if other and not any((":" in host.address) != (":" in hosts[0].address) for host in few):
        few[-2:] = other[:2]
    return few


def _is_self(host: Host, own: Callable[[str], bool]) -> bool:
    return host.port == 25 and own(host.address)


def _loop(destination: Destination) -> NoHosts:
    return NoHosts(Reply(451, "4.4.6", f"mail for {destination.host} loops back to myself"), loops=True)
