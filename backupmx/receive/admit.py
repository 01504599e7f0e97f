"""Pure.  admit: may this client give us this recipient?  A Reply says no, None says yes.

Refusing here is the only refusal that costs nobody a bounce: the sender's
own server tells the sender.  What is asked, in Postfix's order:

    whose is the domain?   not ours: 554 5.7.1 Relay access denied
    is it routed onwards?  `user%elsewhere@ours`, `elsewhere!user@ours`: the same, or
                           the primary, which trusts us, would be our open relay
    does the person exist? not in relay_recipients: 550 5.1.1

`postmaster` of a domain of ours always exists (RFC 5321 4.5.1), and
`<postmaster>` alone is whom the operator named for it.
"""

from typing import Protocol

from backupmx.mail.address import domain_of, local_of
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply


class Ours(Protocol):
    """The routes, as far as the door needs them."""

    def is_ours(self, address: str) -> bool:
        """The address is in a relay domain."""
        ...


class Exists(Protocol):
    """Who exists (relay_recipient_maps)."""

    def knows(self, address: str) -> bool: ...


class Admission:
    """The policy at connection, MAIL and RCPT.  Replaced as a whole by a reload."""

    def __init__(self, routes: Ours, known: Exists | None = None, *, postmaster: str = "") -> None:
        """`known` None: every address of a relay domain exists, as with an empty relay_recipient_maps."""
        self._routes = routes
        self._known = known
        self._postmaster = postmaster

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
        if self._known is None or self._known.knows(recipient) or local_of(recipient).lower() == "postmaster":
            return None
        text = f"<{recipient}>: Recipient address rejected: User unknown in relay recipient table"
        return Reply(550, "5.1.1", text)

    def resolve(self, recipient: str) -> str:
        """Whom mail to this RCPT goes to: `<postmaster>` alone gets its domain, all others stay."""
        if domain_of(recipient) == "" and recipient.lower() == "postmaster" and self._postmaster:
            return self._postmaster
        return recipient


def _routed(recipient: str) -> bool:
    """Sender-specified routing in the local part (Postfix resolve.c: RESOLVE_FLAG_ROUTED)."""
    local = local_of(recipient)
    return "%" in local or "!" in local or "@" in local
