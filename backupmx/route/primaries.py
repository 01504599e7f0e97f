"""Pure.  primaries: up or down, since when, and at which addresses: what every process may know of them.

    relay.health --> queue (hop states) --> operate.report.outlook --> Primaries <-- admission, the door, status

The relay finds out, the queue keeps it, and whoever decides by it reads this
value, a second or two old.  It never changes: a newer one takes its place.

    unknown   nobody has asked yet
    down      no host of it takes a connection; or it did so lately and has not
              answered for long enough since (`relay.up_after`)
    up        it takes mail

So who tells clients "the primary is up, please use it" does so of a primary
that has proved it, while one that fails is down at the first failure: a
mistake on that side costs nobody any mail.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Offer:
    """What one host takes, as its last reply to EHLO said."""

    address: str
    size: int = 0
    """Octets of a message (RFC 1870); 0: no limit."""
    smtputf8: bool = True


@dataclass(frozen=True, slots=True)
class Primary:
    """One next hop that the map names."""

    next_hop: str
    standing: Standing = Standing.UNKNOWN
    since: float = 0.0
    """When it became so, seconds since the epoch; 0: never looked at."""
    error: str = ""
    """What was the matter with it when last looked at; "" when up."""
    addresses: tuple[str, ...] = ()
    """Its hosts, "192.0.2.1", as last found in DNS."""
    offers: tuple[Offer, ...] = ()
    """Of those that we have spoken to."""

    @property
    def size_limit(self) -> int:
        """Octets that none of its hosts takes more than; 0: no limit, or none that we know of."""
        sizes = [offer.size for offer in self.offers]
        return max(sizes) if sizes and all(sizes) else 0

    @property
    def smtputf8(self) -> bool:
        """A host of it takes such mail, or we know of none."""
        return not self.offers or any(offer.smtputf8 for offer in self.offers)


class Primaries:
    """All of them.  Lookups are a dictionary's."""

    def __init__(self, primaries: Iterable[Primary] = ()) -> None:
        self._by_hop = {primary.next_hop: primary for primary in primaries}
        at: dict[str, list[str]] = {}
        for primary in self._by_hop.values():
            for address in primary.addresses:
                at.setdefault(_plain(address), []).append(primary.next_hop)
        self._at = {address: tuple(hops) for address, hops in at.items()}
        limits = [primary.size_limit for primary in self]
        self.size_limit = max(limits) if limits and all(limits) else 0
        """Octets that no primary at all takes more than; 0: there is none."""
        self.least_size_limit = min((limit for limit in limits if limit), default=0)
        """That of the one that takes the least."""
        self.smtputf8 = all(primary.smtputf8 for primary in self)
        """Every primary takes addresses in UTF-8."""

    def __iter__(self) -> Iterator[Primary]:
        return iter(self._by_hop.values())

    def primary(self, next_hop: str) -> Primary:
        """What is known; of one that nobody has looked at, that."""
        return self._by_hop.get(next_hop) or Primary(next_hop)

    def state(self, next_hop: str) -> Standing:
        return self.primary(next_hop).standing

    def is_primary_address(self, address: str) -> bool:
        """This client is a primary: the address, in the form a socket gives it, is one of theirs."""
        return address in self._at

    def down_at(self, address: str) -> tuple[str, ...]:
        """Next hops at this address that are not known to be up: one that calls us is back, most likely."""
        hops = self._at.get(address)
        return tuple(h for h in hops if self.state(h) is not Standing.UP) if hops else ()


def _plain(address: str) -> str:
    """As a socket writes it: no zeros, lower case."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
