"""admit: may this client give us this recipient?  A Reply says no, None says yes.

Refusing here is the only refusal that costs nobody a bounce: the sender's
own server tells the sender.  What is asked, in Postfix's order:

    whose is the domain?   not ours: 554 5.7.1 Relay access denied
    is it routed onwards?  `user%elsewhere@ours`, `elsewhere!user@ours`: the same, or
                           the primary, which trusts us, would be our open relay
    does the person exist? by what recipients/ knows: taken, 550 5.1.1, asked of the
                           primary, or put off with 450 when nobody can tell now
    is the primary up?     then, where it is wished so, 450: use it (primary_up.py)

`postmaster` of a domain of ours always exists (RFC 5321 4.5.1), and
`<postmaster>` alone is whom the operator named for it.

Who is told that somebody does not exist need not ask the primary for it: 550 goes
before 450.  Only where the primary has to be asked does a client wait: `recipient`
gives an awaitable then.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from backupmx.mail.address import domain_of, local_of
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.receive.primary_up import PrimaryUp, Terms
from backupmx.recipients.standing import Decision, Ruling
from backupmx.recipients.store import StoreTrouble
from backupmx.recipients.verify import Word

_NOBODY_ASKS = Terms()


class Ours(Protocol):
    """The routes, as far as the door needs them."""

    def is_ours(self, address: str) -> bool:
        """The address is in a relay domain."""
        ...


class Exists(Protocol):
    """Who exists: recipients.who.Recipients."""

    def rule(self, address: str, *, can_ask: bool = False, last_word: bool = False) -> Ruling:
        """Raises StoreTrouble."""
        ...


class Asks(Protocol):
    """Who asks primaries: recipients.verify.Verify."""

    async def ask(self, address: str, next_hop: str) -> Word: ...

    def refresh(self, address: str, next_hop: str) -> None: ...


class Admission:
    """The policy at connection, MAIL and RCPT.  Replaced as a whole by a reload."""

    def __init__(
        self,
        routes: Ours,
        known: Exists | None = None,
        *,
        postmaster: str = "",
        troubled: Callable[[str], None] = lambda why: None,
        primary: PrimaryUp | None = None,
        asks: Asks | None = None,
    ) -> None:
        """`known` None: every address of a relay domain exists, as with an empty relay_recipient_maps.

        `troubled` hears of lists that cannot be read.  `primary` None: nobody looks whether it is up.
        `asks` None: it is not asked.
        """
        self._routes = routes
        self._known = known
        self._primary = primary
        self._asks = asks
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

    def recipient(self, client: Client, sender: str, recipient: str) -> Reply | Awaitable[Reply | None] | None:
        """At RCPT, with `resolve`d recipients."""
        if recipient == self._postmaster:
            return None  # wherever the operator reads it
        if not self._routes.is_ours(recipient) or _routed(recipient):
            return Reply(554, "5.7.1", f"<{recipient}>: Relay access denied")
        primary = self._primary
        terms = primary.terms(recipient) if primary is not None else _NOBODY_ASKS
        if self._known is None or local_of(recipient).lower() == "postmaster":
            decision, refresh = Decision.ACCEPT, False
        else:
            try:
                ruling = self._rule(self._known, recipient, terms)
            except StoreTrouble as trouble:
                return self._cannot_tell(recipient, trouble)
            decision, refresh = ruling.decision, ruling.refresh
        if decision is Decision.REJECT:
            return _refusal(decision, recipient)
        if primary is not None and terms.when_up == "defer" and primary.puts_off(client, sender, recipient):
            return Reply(
                450, "4.7.1", f"<{recipient}>: Recipient address rejected: the primary MX is up, please use it"
            )
        if decision is Decision.ASK:
            return self._asked(recipient, terms)
        if refresh and self._asks is not None:
            self._asks.refresh(recipient, terms.next_hop)
        return _refusal(decision, recipient)

    def _rule(self, known: Exists, recipient: str, terms: Terms) -> Ruling:
        """Raises StoreTrouble."""
        can_ask = self._asks is not None and terms.can_ask
        return known.rule(recipient, can_ask=can_ask, last_word=terms.when_up == "verify")

    async def _asked(self, recipient: str, terms: Terms) -> Reply | None:
        """The primary's answer; without one what was known before decides."""
        assert self._asks is not None
        assert self._known is not None
        word = await self._asks.ask(recipient, terms.next_hop)
        if word is not Word.SILENT:
            text = f"<{recipient}>: Recipient address rejected: User unknown to the primary MX"
            return Reply(550, "5.1.1", text) if word is Word.UNKNOWN else None
        try:
            ruling = self._known.rule(recipient, last_word=terms.when_up == "verify")
        except StoreTrouble as trouble:
            return self._cannot_tell(recipient, trouble)
        return _refusal(ruling.decision, recipient)

    def _cannot_tell(self, recipient: str, trouble: StoreTrouble) -> Reply:
        self._troubled(str(trouble))
        return Reply(451, "4.3.0", f"<{recipient}>: Temporary lookup failure")

    def resolve(self, recipient: str) -> str:
        """Whom mail to this RCPT goes to: `<postmaster>` alone gets its domain, all others stay."""
        if domain_of(recipient) == "" and recipient.lower() == "postmaster" and self._postmaster:
            return self._postmaster
        return recipient


def _refusal(decision: Decision, recipient: str) -> Reply | None:
    if decision is Decision.ACCEPT:
        return None
    if decision is Decision.REJECT:
        text = f"<{recipient}>: Recipient address rejected: User unknown in relay recipient table"
        return Reply(550, "5.1.1", text)
    text = f"<{recipient}>: Recipient address rejected: cannot be verified now, try again later"
    return Reply(450, "4.1.1", text)


def _routed(recipient: str) -> bool:
    """Sender-specified routing in the local part (Postfix resolve.c: RESOLVE_FLAG_ROUTED)."""
    local = local_of(recipient)
    return "%" in local or "!" in local or "@" in local
