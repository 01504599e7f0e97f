"""Pure.  ability: what no host of a primary would take is not taken for it either.

    relay ─EHLO─► queue ─► Primaries ─► Abilities ◄─MAIL, RCPT─ session

A message that is announced as larger than every primary takes is refused at
MAIL, 552 5.3.4; one that is too large for some at RCPT, for theirs; one that was
not announced when it is there, if it is too large for all its recipients.  An
address in UTF-8 for a primary without SMTPUTF8 is refused at RCPT, 550 5.6.7.  All
this would otherwise be our bounce, to somebody who could have been told.

What a host takes is what its last EHLO said, which is looked at every minute
(relay.probe_interval); a host that we have not spoken to may take everything.

Why is nobody refused for BODY=8BITMIME?  A primary without it gets such mail
as it is (net/smtp_commands): Postfix would make it quoted-printable, and
signatures would break; no server of this century strips the bit.

Why not for the word SMTPUTF8 alone?  Clients declare it for mail that needs it
not; whether the headers do nobody knows before DATA (the relay looks then).

Standards: RFC 1870 6.1, RFC 6531 3.5.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backupmx.mail.reply import Reply
from backupmx.route.primaries import Primaries


@dataclass(frozen=True, slots=True)
class Inability:
    """Why a primary would not take it, and which."""

    reply: Reply
    which: str
    """For the log: "primary smtp:[primary1.example.net] SIZE=10240000"."""


class Abilities:
    """Replaced by a reload, with the routes."""

    def __init__(self, next_hop: Callable[[str], str], primaries: Callable[[], Primaries]) -> None:
        self._next_hop = next_hop
        self._primaries = primaries

    def mail(self, size: int) -> Inability | None:
        """At MAIL; `size` as announced, 0: not."""
        limit = self._primaries().size_limit
        if not 0 < limit < size:
            return None
        return Inability(Reply(552, "5.3.4", "Message size exceeds fixed limit"), f"every primary: SIZE={limit}")

    def recipient(self, sender: str, recipient: str, size: int) -> Inability | None:
        """At RCPT."""
        primaries = self._primaries()
        large = 0 < primaries.least_size_limit < size
        foreign = not primaries.smtputf8 and not (sender.isascii() and recipient.isascii())
        if not (large or foreign):
            return None
        primary = primaries.primary(self._next_hop(recipient))
        if 0 < primary.size_limit < size:
            text = f"<{recipient}>: Recipient address rejected: Message size exceeds fixed limit"
            return Inability(Reply(552, "5.3.4", text), f"{primary.next_hop}: SIZE={primary.size_limit}")
        if foreign and not primary.smtputf8:
            text = f"<{recipient}>: Recipient address rejected: SMTPUTF8 is required, but not offered by the primary MX"
            return Inability(Reply(550, "5.6.7", text), f"{primary.next_hop}: no SMTPUTF8")
        return None

    def content(self, recipients: Iterable[str], size: int) -> Inability | None:
        """At the end of a message that has come whole.  What one of its recipients can get is taken."""
        primaries = self._primaries()
        if not 0 < primaries.least_size_limit < size:
            return None
        theirs = sorted({self._next_hop(recipient) for recipient in recipients})
        if not all(0 < primaries.primary(next_hop).size_limit < size for next_hop in theirs):
            return None
        which = ", ".join(f"{next_hop}: SIZE={primaries.primary(next_hop).size_limit}" for next_hop in theirs)
        return Inability(Reply(552, "5.3.4", "Error: message file too big"), which)
