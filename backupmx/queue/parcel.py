"""Pure.  parcel: a queued message outside the queue: ID.eml beside ID.json.

    parcel    what ID.json says: envelope, recipients, where it came from
    entry_of  parcel and content -> an entry that `put` takes

The content is the message as it would be relayed, byte for byte.  What a queue
needs to send is checked again on the way in: the files may have been edited, and an
address with a line end in it would be a command to the primary.

A recipient comes back in the state it had; a deferred one is due at once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from backupmx.mail.address import Malformed, check
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Buffer, Message, canonical
from backupmx.queue.entry import NewEntry, NewRecipient, State

FORMAT = "backupmx queue 1"

_ID = re.compile(r"[0-9A-Za-z]{6,32}")
_WORD = re.compile(r"[!-~]*")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*|", re.IGNORECASE)
_WORDS = {"body": ("", "7BIT", "8BITMIME"), "ret": ("", "FULL", "HDRS")}


class Unusable(ValueError):
    """This cannot be queued.  The text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Consignee:
    """One recipient."""

    address: str
    state: State = State.QUEUED
    next_hop: str = ""
    """Asked again of the routes, but for `fixed`."""
    reason: str = ""
    attempts: int = 0
    next_attempt: float = 0.0
    notify: str = ""
    orcpt: str = ""
    fixed: bool = False
    many: int = 1


@dataclass(frozen=True, slots=True)
class Parcel:
    """All of a message but its content.  The names are those of ID.json."""

    queue_id: str
    arrival_time: float
    """Seconds since the epoch."""
    sender: str
    recipients: tuple[Consignee, ...]
    message_id: str = ""
    reason: str = ""
    """Why it was held or discarded."""
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    vouched: bool = False
    client: Client | None = None
    """None: our own notice."""
    redirected_from: tuple[str, ...] = ()
    """Whom the client named, where a rule put another in their place: `trace` is asked by these."""
    sha256: str = ""
    """Of the content."""
    damaged: str = ""
    """What was wrong with it in the queue already; it comes back held."""
    format: str = FORMAT


def content(raw: bytes) -> Message:
    """Any bytes -> a message with CRLF line ends; of a canonical message not an octet changes."""
    raw = canonical(raw)
    if raw and not raw.endswith(b"\r\n"):
        raw += b"\r\n"
    if raw.startswith(b"\r\n"):
        return Message((), (raw,))
    head, blank, _ = raw.partition(b"\r\n\r\n")
    body: tuple[Buffer, ...] = (memoryview(raw)[len(head) + 2 :],) if blank else ()
    return Message((head.removesuffix(b"\r\n").replace(b"\r\n", b"\n"),), body)


def entry_of(parcel: Parcel, message: Message, id: str, next_hop: Callable[[str], str], signature: str) -> NewEntry:
    """Raises Unusable."""
    _check(parcel)
    recipients = tuple(_recipient(one, parcel, next_hop) for one in parcel.recipients)
    named = tuple(Recipient(one.address, one.notify, one.orcpt) for one in parcel.recipients)
    envelope = Envelope(
        parcel.sender, (*named, *map(Recipient, parcel.redirected_from)), parcel.body, parcel.smtputf8, parcel.ret,
        parcel.envid,
    )  # fmt: skip
    return NewEntry(
        id, parcel.arrival_time, envelope, recipients, message, parcel.client, parcel.message_id, parcel.reason,
        signature, parcel.vouched,
    )  # fmt: skip


def _recipient(one: Consignee, parcel: Parcel, next_hop: Callable[[str], str]) -> NewRecipient:
    hop = one.next_hop if one.fixed and one.next_hop else next_hop(one.address)
    state = State.QUEUED if one.state is State.DEFERRED else one.state
    reason = one.reason
    if parcel.damaged and not state.in_quarantine:
        state, reason = State.HELD, f"damaged: {parcel.damaged}"
    return NewRecipient(one.address, hop, one.notify, one.orcpt, state, reason, one.fixed, one.many)


def _check(parcel: Parcel) -> None:
    if parcel.format != FORMAT:
        raise Unusable(f"format is {parcel.format!r}; this version knows {FORMAT!r}")
    if not parcel.recipients:
        raise Unusable("no recipient is left to deliver to")
    if not 0 <= parcel.arrival_time < 1e11:
        raise Unusable("arrival_time is not seconds since the epoch")
    for name, words in _WORDS.items():
        if (word := getattr(parcel, name)) not in words:
            raise Unusable(f"{name} is {word!r}, not one of {', '.join(filter(None, words))}")
    if not _WORD.fullmatch(parcel.envid):
        raise Unusable(f"envid {parcel.envid!r} is not printable ASCII without blanks (RFC 3461 xtext)")
    if (client := parcel.client) and not "".join((client.address, client.name, client.helo)).isprintable():
        raise Unusable("client has characters that do not print")
    if parcel.sender:
        _address("sender", parcel.sender)
    for address in parcel.redirected_from:
        _address("redirected_from", address)
    seen = set()
    for one in parcel.recipients:
        _address("recipient", one.address)
        if one.address in seen:
            raise Unusable(f"recipient {one.address!r} is named twice")
        seen.add(one.address)
        if one.state.ends:
            raise Unusable(f"recipient {one.address!r} is {one.state}: it has its end")
        if not _NOTIFY.fullmatch(one.notify) or not _WORD.fullmatch(one.orcpt):
            raise Unusable(f"recipient {one.address!r}: notify or orcpt is not what RFC 3461 allows")
        if one.many < 1:
            raise Unusable(f"recipient {one.address!r}: many is {one.many}")


def _address(what: str, address: str) -> None:
    try:
        good = check(address) == address
    except (Malformed, UnicodeEncodeError) as error:
        raise Unusable(f"{what} {address!r}: {error}") from None
    if not good:
        raise Unusable(f"{what} {address!r} is not an address as SMTP has it")


def usable_id(id: str) -> bool:
    """It may name a file, and read like one of ours."""
    return bool(_ID.fullmatch(id))
