"""Pure.  primaries: up or down, since when, and at which addresses: what every process may know of them.

    relay.health --> queue (hop states) --> operate.outlook --> Primaries <-- admission, the door, status

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


class Primaries:
    """All of them.  Lookups are a dictionary's."""

    def __init__(self, primaries: Iterable[Primary] = ()) -> None:
        self._by_hop = {primary.next_hop: primary for primary in primaries}
        at: dict[str, list[str]] = {}
        for primary in self._by_hop.values():
            for address in primary.addresses:
                at.setdefault(_plain(address), []).append(primary.next_hop)
        self._at = {address: tuple(hops) for address, hops in at.items()}

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
