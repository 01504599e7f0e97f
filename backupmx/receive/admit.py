"""admit: may this client give us this recipient?  A Reply says no, None says yes.

Refusing here is the only refusal that costs nobody a bounce: the sender's
own server tells the sender.  What is asked, in Postfix's order:

    whose is the domain?   not ours: 554 5.7.1 Relay access denied
    is it routed onwards?  `user%elsewhere@ours`, `elsewhere!user@ours`: the same, or
                           the primary, which trusts us, would be our open relay
    does the person exist? by what recipients/ knows: taken, 550 5.1.1, or put off with
                           450 when nobody can tell now

`postmaster` of a domain of ours always exists (RFC 5321 4.5.1), and
`<postmaster>` alone is whom the operator named for it.
"""

from collections.abc import Callable
from typing import Protocol

from backupmx.mail.address import domain_of, local_of
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.recipients.standing import Decision
from backupmx.recipients.store import StoreTrouble


class Ours(Protocol):
    """The routes, as far as the door needs them."""

    def is_ours(self, address: str) -> bool:
        """The address is in a relay domain."""
        ...


class Exists(Protocol):
    """Who exists: recipients.who.Recipients."""

    def decide(self, address: str) -> Decision:
        """Raises StoreTrouble."""
        ...


class Admission:
    """The policy at connection, MAIL and RCPT.  Replaced as a whole by a reload."""

    def __init__(
        self,
        routes: Ours,
        known: Exists | None = None,
        *,
        postmaster: str = "",
        troubled: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`known` None: every address of a relay domain exists, as with an empty relay_recipient_maps.

        `troubled` hears of lists that cannot be read.
        """
        self._routes = routes
        self._known = known
        self._postmaster = postmaster
        self._troubled = troubled

    def connect(self, client: Client) -> Reply | None:
        """Before the greeting."""
        return None

    def is_ours(self, address: str) -> bool:
        """Of a relay domain."""
        return self._routes.is_ours(address)

    def sender(self, client: Client, sender: str) -> Reply | None:
        """At MAIL; the null sender is "" and never refused: bounces must come through."""
        return None

    def recipient(self, client: Client, sender: str, recipient: str) -> Reply | None:
        """At RCPT, with `resolve`d recipients."""
        if not self._routes.is_ours(recipient) or _routed(recipient):
            return Reply(554, "5.7.1", f"<{recipient}>: Relay access denied")
        if self._known is None or local_of(recipient).lower() == "postmaster":
            return None
        return self._unknown(self._known, recipient)

    def _unknown(self, known: Exists, recipient: str) -> Reply | None:
        try:
            decision = known.decide(recipient)
        except StoreTrouble as trouble:
            self._troubled(str(trouble))
            return Reply(451, "4.3.0", f"<{recipient}>: Temporary lookup failure")
        if decision is Decision.ACCEPT:
            return None
        if decision is Decision.REJECT:
            text = f"<{recipient}>: Recipient address rejected: User unknown in relay recipient table"
            return Reply(550, "5.1.1", text)
        text = f"<{recipient}>: Recipient address rejected: cannot be verified now, try again later"
        return Reply(450, "4.1.1", text)

    def resolve(self, recipient: str) -> str:
        """Whom mail to this RCPT goes to: `<postmaster>` alone gets its domain, all others stay."""
        if domain_of(recipient) == "" and recipient.lower() == "postmaster" and self._postmaster:
            return self._postmaster
        return recipient


def _routed(recipient: str) -> bool:
    """Sender-specified routing in the local part (Postfix resolve.c: RESOLVE_FLAG_ROUTED)."""
    local = local_of(recipient)
    return "%" in local or "!" in local or "@" in local
