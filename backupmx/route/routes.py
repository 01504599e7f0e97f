"""Pure.  routes: what is ours, and where it goes.

The one object that admission, the queue and the relay ask.  It never changes:
SIGHUP makes a new one, and its `signature` tells the queue whether next hops
must be asked anew.

    receive.admit --is_ours, is_routed--> Routes <--next_hop-- queue.put, queue.reroute, relay

Addresses of other domains (senders who get a notice) have a route too: the
map's, if one of its lines names them, else their MX hosts.

Why are addresses like user%other.example@example.jp refused?  The primary may
trust us, and take the part behind the percent sign for an address to relay to:
a backup MX is how open relays were made (Postfix: resolve.c, "prevent backup
MX hosts from relaying third-party destinations through primary MX hosts").
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property

from backupmx.mail import address as addresses
from backupmx.route.transport_map import Route, TransportMap, fold


class Routes:
    def __init__(self, map: TransportMap, relay_domains: Sequence[str] = (), postmaster: str = "") -> None:
        """`relay_domains`: empty means those of the map.  `.example.jp` means its subdomains.

        `postmaster`: who it is; "": that of the first relay domain.
        """
        self._postmaster = postmaster
        self.map = map
        self.relay_domains = tuple(fold(d) for d in relay_domains) or map.relay_domains()
        self._exact = frozenset(d for d in self.relay_domains if not d.startswith("."))
        self._parents = frozenset(d for d in self.relay_domains if d.startswith("."))

    def is_ours(self, address: str) -> bool:
        """We take mail for this address's domain."""
        domain = fold(addresses.domain_of(address))
        if domain in self._exact:
            return True
        while self._parents and (domain := domain.partition(".")[2]):
            if "." + domain in self._parents:
                return True
        return False

    @staticmethod
    def is_routed(address: str) -> bool:
        """The local part names another place (% ! @) or looks like an option (-): never relayed."""
        local = addresses.local_of(address).strip('"')
        return local.startswith("-") or any(character in local for character in "%!@")

    def route(self, address: str) -> Route:
        return self.map.lookup(address)

    def next_hop(self, address: str) -> str:
        """As the queue stores it: "smtp:[primary1.example.net]"."""
        return str(self.map.lookup(address))

    @cached_property
    def next_hops(self) -> frozenset[str]:
        """Those the map names: our primaries.  Others are the MX hosts of strangers."""
        return self.map.next_hops()

    @property
    def postmaster(self) -> str:
        """Who reads RCPT TO:<postmaster> (RFC 5321 4.5.1); "" without an exact relay domain."""
        if self._postmaster:
            return self._postmaster
        exact = [d for d in self.relay_domains if not d.startswith(".")]
        return f"postmaster@{exact[0]}" if exact else ""

    @cached_property
    def signature(self) -> str:
        """Changes when the map or the relay domains do."""
        text = "\n".join((self.map.text, self.map.delimiter, *self.relay_domains))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
