"""Pure, but for `return_to_sender`.  bounce: the notice a sender gets (RFC 3464, RFC 6522).

    text/plain                  for a person: who was not reached, and why
    message/delivery-status     for a program: one group for each recipient
    text/rfc822-headers         the message's own header, so that it is known

A notice comes from the null sender, so it can never answer another one; whether
a sender may be told at all: returns.py.  NOTIFY=NEVER, or NOTIFY without FAILURE, is
honoured; so are ENVID and ORCPT, and RET=FULL up to 50,000 octets (Postfix:
bounce_size_limit).  Who asked for NOTIFY=SUCCESS, and whose next hop knows no DSN,
is told "relayed" (RFC 3461 5.2.2); where it does, the next hop tells.  Who is told of
a delay: delay.py.

Why only headers else?  A notice with somebody's whole spam in it is spam.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.queue.entry import (
    Claim,
    ClaimedRecipient,
    NewEntry,
    NewRecipient,
    OperatedQueue,
    Outcome,
    Settlement,
    State,
    new_id,
)
from backupmx.relay import returns
from backupmx.relay.returns import FAILED

_FULL_LIMIT = 50_000
_RETURNED = "returned to its sender by the postmaster"

Told = tuple[ClaimedRecipient, Outcome, str]
"""A recipient of the notice's first part, and the Action: failed, delayed or relayed."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What came of an operator's wish."""

    many: int
    """Recipients; 0: no such mail, or `why`."""
    why: str = ""
    """Why its sender may not be told; the mail is as it was."""


def asked(claim: Claim, outcomes: Sequence[Outcome], relayed: Sequence[bool]) -> list[Told]:
    """What the sender asked to be told of these outcomes, whether or not he may be: returns.py.

    `relayed`: delivered to a next hop that will not tell of success itself.  Nothing of our own mail.
    """
    told: list[Told] = []
    if claim.client is None:
        return told
    for recipient, outcome, silent in zip(claim.recipients, outcomes, relayed, strict=True):
        wanted = recipient.notify.upper().split(",") if recipient.notify else ["FAILURE"]
        if outcome.state in FAILED and "FAILURE" in wanted:
            told.append((recipient, outcome, "failed"))
        elif outcome.state is State.DELIVERED and silent and "SUCCESS" in wanted:
            told.append((recipient, outcome, "relayed"))
    return told


def notice(
    claim: Claim, told: Sequence[Told], hostname: str, next_hop: Callable[[str], str], now: float, *, until: float = 0.0
) -> NewEntry:
    """The message that tells its sender.  `until`: when what is delayed will be given up."""
    id = new_id(now)
    message, utf8, eight = _message(id, claim, told, hostname, now, until)
    envelope = Envelope("", (Recipient(claim.sender),), "8BITMIME" if eight else "", smtputf8=utf8)
    recipients = (NewRecipient(claim.sender, next_hop(claim.sender)),)
    return NewEntry(id, now, envelope, recipients, message, message_id=f"<{id}@{hostname}>")


async def return_to_sender(
    queue: OperatedQueue, id: str, address: str, next_hop: Callable[[str], str], hostname: str, now: float,
    *, bounce_to: str, states: frozenset[State],
) -> Returned:  # fmt: skip
    """An operator gives mail in one of these states back: its recipients bounce, the sender is told.

    `bounce_to`: as the setting; "all" when he insists.  No rate: he asked for each of them.
    """
    claims = await queue.take(id, address, was=states)
    if not claims:
        return Returned(0)
    if why := returns.silence(claims[0].sender, claims[0].vouched, bounce_to):
        await queue.give_back(claims)
        return Returned(0, why)
    for claim in claims:
        outcomes = tuple(Outcome(r.address, State.BOUNCED, _RETURNED, "5.0.0") for r in claim.recipients)
        told = asked(claim, outcomes, [False] * len(outcomes))
        one = notice(claim, told, hostname, next_hop, now) if told else None
        await asyncio.shield(queue.settle(Settlement(claim.id, outcomes, one), now))
    return Returned(sum(len(claim.recipients) for claim in claims))


_WORDS = {
    "failed": (
        "Undelivered Mail Returned to Sender",
        "I'm sorry to have to inform you that your message could not",
        "be delivered to these recipients:",
    ),
    "delayed": (
        "Delayed Mail (still being retried)",
        "This is only a warning; you need not send your message again.",
        "It has not been delivered yet, and will be tried until {until}, for:",
    ),
    "relayed": (
        "Successful Mail Delivery Report",
        "Your message was relayed to a mail server that does not send",
        "delivery confirmations, for:",
    ),
}
"""By Action, the gravest first: the subject, and what a person reads."""


def _message(
    id: str, claim: Claim, told: Sequence[Told], hostname: str, now: float, until: float
) -> tuple[Message, bool, bool]:
    """-> (message, it needs SMTPUTF8, it has 8-bit octets)"""
    gravest = next(action for action in _WORDS if any(action == one for *_, one in told))
    subject, *opening = (words.format(until=formatdate(until, localtime=True)) for words in _WORDS[gravest])
    utf8 = not all(a.isascii() for a in (claim.sender, *(r.address for r, *_ in told)))
    original, kind = _original(claim, gravest == "failed")
    boundary = f"{id}/{hostname}"[:70].encode()  # RFC 2046 5.1.1
    status_kind = b"message/global-delivery-status" if utf8 else b"message/delivery-status"
    parts = [
        (b"Notification", b"text/plain; charset=utf-8", _for_people(claim, told, hostname, opening)),
        (b"Delivery report", status_kind, _status(claim, told, hostname, utf8, until)),
        (b"Message" if kind.endswith((b"rfc822", b"global")) else b"Message headers", kind, original),
    ]
    body = b""
    for description, type, content in parts:
        head = b"Content-Description: " + description + b"\r\nContent-Type: " + type
        transfer = b"" if content.isascii() else b"\r\nContent-Transfer-Encoding: 8bit"
        body += b"--" + boundary + b"\r\n" + head + transfer + b"\r\n\r\n" + content + b"\r\n"
    body += b"--" + boundary + b"--\r\n"
    headers = (
        f"Date: {formatdate(now, localtime=True)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{hostname}>",
        f"Subject: {subject}",
        f"To: {claim.sender}",
        "Auto-Submitted: auto-replied",
        f"Message-ID: <{id}@{hostname}>",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\n\tboundary="{boundary.decode()}"',
        *(() if body.isascii() else ("Content-Transfer-Encoding: 8bit",)),
    )
    return Message(tuple(h.encode() for h in headers), (b"\r\n" + body,)), utf8, not body.isascii()


def _for_people(claim: Claim, told: Sequence[Told], hostname: str, opening: Sequence[str]) -> bytes:
    lines = [f"This is the mail system at host {hostname}.", "", *opening]
    for recipient, outcome, action in told:
        lines += ["", f"<{recipient.address}>: {'(relayed) ' if action == 'relayed' else ''}{outcome.reason}"]
    lines += ["", f"The message was accepted here under the name {claim.id}.  Who writes to the postmaster"]
    lines += ["about it should include this report."]
    return _text(lines)


def _status(claim: Claim, told: Sequence[Told], hostname: str, utf8: bool, until: float) -> bytes:
    """RFC 3464 is ASCII, RFC 6533 is not."""
    envid = [f"Original-Envelope-Id: {_xtext(claim.envid)}"] if claim.envid else []
    sender_kind = "rfc822" if claim.sender.isascii() else "utf-8"
    lines = [
        *envid, f"Reporting-MTA: dns; {hostname}", f"X-backupmx-Queue-ID: {claim.id}",
        f"X-backupmx-Sender: {sender_kind}; {claim.sender}",
        f"Arrival-Date: {formatdate(claim.arrived, localtime=True)}",
    ]  # fmt: skip
    for recipient, outcome, action in told:
        lines += ["", *_group(recipient, outcome, action)]
        if action == "delayed":
            lines.append(f"Will-Retry-Until: {formatdate(until, localtime=True)}")
    return _text(lines, "utf-8" if utf8 else "ascii")


def _group(recipient: ClaimedRecipient, outcome: Outcome, action: str) -> list[str]:
    """RFC 3464 2.3, one recipient."""
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    host, _, words = outcome.reason.partition(" said: ")
    lines = [f"Final-Recipient: {kind}; {recipient.address}"]
    if recipient.orcpt:
        orcpt_kind, _, orcpt = recipient.orcpt.partition(";")
        lines.append(f"Original-Recipient: {orcpt_kind}; {_xtext(orcpt)}")
    # What is too old ends with its last 4.x.x, as with Postfix: a list that reads it does not strike the reader off.
    lines += [f"Action: {action}", f"Status: {outcome.status}"]
    if outcome.relay != "none" and "[" in outcome.relay:
        lines.append(f"Remote-MTA: dns; {outcome.relay.partition('[')[0]}")
    if action == "relayed":
        lines.append(f"Diagnostic-Code: smtp; {outcome.reason}")
    elif host.startswith("host ") and words:
        lines.append(f"Diagnostic-Code: smtp; {words}")
    else:
        lines.append(f"Diagnostic-Code: X-backupmx; {outcome.reason}")
    return lines


def _original(claim: Claim, failed: bool) -> tuple[bytes, bytes]:
    """-> (what is returned of the message, its media type)"""
    utf8 = b"" if claim.message.head.isascii() else b"message/global"
    if claim.ret.upper() == "FULL" and claim.size <= _FULL_LIMIT and failed:
        return b"".join(claim.message.chunks()), utf8 or b"message/rfc822"
    return claim.message.head, (utf8 and b"message/global-headers") or b"text/rfc822-headers"


def _xtext(text: str) -> str:
    """RFC 3461 4: +41 is A.  What would not print stays as it came."""
    first, *rest = text.split("+")
    for piece in rest:
        try:
            character = chr(int(piece[:2], 16))
        except ValueError:
            return text
        if not character.isprintable():
            return text
        first += character + piece[2:]
    return first


def _text(lines: Sequence[str], encoding: str = "utf-8") -> bytes:
    """Lines with CRLF, none too long for SMTP.  What a peer said and cannot be printed or encoded becomes "?"."""
    clean = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    return b"".join(_cut(line.encode(encoding, "replace")) + b"\r\n" for line in clean)


def _cut(line: bytes) -> bytes:
    """RFC 5321 4.5.3.1.6: 998 octets, and no character cut in two."""
    return line if len(line) <= 998 else line[:998].decode("utf-8", "ignore").encode()
