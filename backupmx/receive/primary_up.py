"""Pure.  primary_up: what may be done about a recipient while its primary takes mail itself.

    relay.when_primary_up   accept   take it
                            defer    450 "the primary MX is up, please use it"
                            verify   ask the primary whether the recipient exists; its refusal is ours
    recipients.verify       ask about those whom nobody knows, unless the primary is down

A secondary that takes mail while its primary is up is of use to those alone who want to pass the primary by.
Servers try MX hosts in order (RFC 5321 5.1), so a correct one that meets us has found the primary away a moment
ago, or cannot reach it, and retries; a spam tool that goes for the last MX host does not.

A primary is `up` when it has answered several times in a row, and down at the first failure (route/primaries.py): one
that flaps counts as down, and nobody's mail is put off for it.  Of several next hops of a domain each recipient's own
counts.  A client that is told to use the primary and comes back again and again cannot reach it, and is let in
(recipients/turned_away.py).  Clients of smtp.limit_exceptions and the primaries themselves are never told so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from backupmx.mail.address import domain_of
from backupmx.mail.envelope import Client
from backupmx.route.primaries import Standing


class Patience(Protocol):
    """Who was told to use the primary before: recipients.turned_away.TurnedAway."""

    def puts_off(self, client: Client, sender: str, recipient: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """For one recipient, now."""

    next_hop: str = ""
    can_ask: bool = False
    """Its primary is not down."""
    when_up: str = "accept"
    """relay.when_primary_up for its domain; "accept" unless the primary is up."""


class PrimaryUp:
    """Made anew by a reload."""

    def __init__(
        self,
        mode: str,
        mode_for: Mapping[str, str],
        next_hop: Callable[[str], str],
        state: Callable[[str], Standing],
        *,
        spares: Callable[[str], bool] = lambda address: False,
        patience: Patience | None = None,
    ) -> None:
        """`next_hop`: of a recipient.  `state`: of a next hop.  `spares`: clients, by address, that are never put off.

        `patience` None: everybody is put off every time.
        """
        self._mode = mode
        self._mode_for = mode_for
        self._next_hop = next_hop
        self._state = state
        self._spares = spares
        self._patience = patience

    def mode(self, domain: str) -> str:
        """relay.when_primary_up for a domain."""
        return self._mode_for.get(domain, self._mode)

    def terms(self, recipient: str) -> Terms:
        next_hop = self._next_hop(recipient)
        standing = self._state(next_hop)
        mode = self.mode(domain_of(recipient)) if standing is Standing.UP else "accept"
        return Terms(next_hop, standing is not Standing.DOWN, mode)

    def puts_off(self, client: Client, sender: str, recipient: str) -> bool:
        """Where the mode is `defer` and the primary up: this client is told to use it."""
        if self._spares(client.address):
            return False
        return self._patience is None or self._patience.puts_off(client, sender, recipient)
