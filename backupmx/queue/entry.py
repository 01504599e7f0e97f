"""Pure.  entry: the states of queued mail, the promise, and the Queue protocol.

An entry is one message, written once, and one record for each recipient with
a state of its own.  `put()` returns only when all of it survives a power cut;
until then the client has no 250 from us (RFC 5321 6.1).

    receive.intake --put--> queue --claim--> relay.attempt --settle--> queue

    put ─► QUEUED ─claim─► (leased) ─settle─► DELIVERED   gone with its outcome
             ▲                 │             ├─► DEFERRED   claimed again when due
             │                 │             ├─► REFUSED    the primary's 5xx: kept, told
             └── lease ran out ┘             └─► BOUNCED, EXPIRED
    put ─► HELD (a rule, an operator) ─release─► QUEUED
    put ─► DISCARDED (a rule; quarantine) ─release─► QUEUED, or ended after `keep`
    settle ─► UNRETURNED (it would bounce, its sender is not proven) as DISCARDED

A claim is not a state: it is a lease, the time until which one attempt owns a
recipient.  A relay that dies leaves leases that run out, so nothing is ever
"active" for good; a claim need not survive a crash and costs no fsync.

A recipient's `next_hop` is text, "smtp:[primary1.example.net]", asked of the
routes when the entry is put and asked again when transport.map changes: the
queue can then be claimed, paused and counted by next hop without reading it.

Trouble
    QueueFull       below the disk floor: 452 4.3.1, the sender will retry.
    QueueTrouble    disk or database failed: 451 4.3.0, log, keep serving.
    A damaged body (its checksum differs) is set aside by `claim`, reported,
    never delivered, never deleted.

Why not one file for each recipient?  A message to 40 people would be written
40 times.  Why no state "active" on disk?  qmgr's active queue is memory too;
what is on disk must be true after a crash.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Message
from backupmx.mail.reply import Reply
from backupmx.queue.account import Life, Sheet
from backupmx.route.primaries import Offer


class QueueTrouble(Exception):
    """The disk or the database failed.  Nothing was promised: 451."""

    reply = Reply(451, "4.3.0", "Local error in processing, try again later")


class QueueFull(QueueTrouble):
    """Less than `queue.min_free` would be left: 452."""

    reply = Reply(452, "4.3.1", "Insufficient system storage")


class State(StrEnum):
    """Of one recipient.  The first six wait in the queue; the others are ends."""

    QUEUED = "queued"  # never tried, or released
    DEFERRED = "deferred"  # tried; due again at next_attempt
    HELD = "held"  # by a rule or an operator
    REFUSED = "refused"  # the primary said 5xx after our 250
    DISCARDED = "discarded"  # by a rule: quarantine
    UNRETURNED = "unreturned"  # refused for good or too old, and its sender is not proven: quarantine, no notice
    DELIVERED = "delivered"  # the next hop said 250
    BOUNCED = "bounced"  # returned to the sender, or nobody to return it to
    EXPIRED = "expired"  # older than queue.lifetime
    DELETED = "deleted"  # by an operator

    @property
    def ends(self) -> bool:
        return self in _ENDS

    @property
    def in_quarantine(self) -> bool:
        return self in QUARANTINE


_ENDS = (State.DELIVERED, State.BOUNCED, State.EXPIRED, State.DELETED)

QUARANTINE = frozenset({State.DISCARDED, State.UNRETURNED})

UNROUTED = "(not routed yet)"
"""The next hop of mail that was put by routes other than the queue's: `reroute` gives it its own."""

VIRUS = "virus found: "
"""In an entry's reason: an engine called it a virus.  Releasing it wants --force."""


@dataclass(frozen=True, slots=True)
class NewRecipient:
    address: str
    next_hop: str
    notify: str = ""
    orcpt: str = ""
    state: State = State.QUEUED
    """QUEUED, HELD or DISCARDED; REFUSED for one that a milter did not want while it took others."""
    reason: str = ""
    """When REFUSED: who said what."""
    fixed: bool = False
    """A rule chose the next hop (FILTER), not transport.map: `reroute` leaves it alone."""
    many: int = 1
    """So many of the client's recipients it stands for: REDIRECT puts one in place of all."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """What `put` makes durable."""

    id: str
    arrived: float
    """Seconds since the epoch."""
    envelope: Envelope
    """Its recipients are the client's own; `recipients` is what becomes of them (BCC, REDIRECT)."""
    recipients: tuple[NewRecipient, ...]
    message: Message
    """If `message.spool` is set the body already lies in the body folder and is only adopted."""
    client: Client | None = None
    """None for mail of our own (a bounce)."""
    message_id: str = ""
    reason: str = ""
    """Why held or discarded: "header_checks:2: X-Spam-Flag: YES"."""
    routes: str = ""
    """Signature of the routes that chose the next hops; when the queue's are others by now, they are chosen again."""
    vouched: bool = False
    """SPF or DKIM stands for the domain of MAIL FROM: a notice goes to somebody who wrote."""


@dataclass(frozen=True, slots=True)
class ClaimedRecipient:
    address: str
    notify: str
    orcpt: str
    attempts: int
    """Tries before this one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry's recipients for one next hop, leased to one attempt."""

    id: str
    arrived: float
    next_hop: str
    sender: str
    recipients: tuple[ClaimedRecipient, ...]
    message: Message
    """One `headers` item may hold the whole header block: relay only writes `chunks()`."""
    size: int
    """Octets of the message on the wire."""
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    client: Client | None = None
    vouched: bool = False
    """As `NewEntry.vouched`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient in one attempt."""

    address: str
    state: State
    """DELIVERED, DEFERRED, REFUSED, BOUNCED, EXPIRED, UNRETURNED; HELD for one set aside."""
    reason: str
    """The peer's reply or our own words: "host primary1[192.0.2.1] said: 450 4.2.1 busy"."""
    status: str
    """RFC 3463 code for log and DSN: "2.0.0", "4.4.1"."""
    relay: str = "none"
    """primary1.example.net[192.0.2.1]:25"""
    next_attempt: float = 0.0
    """When DEFERRED is due again, seconds since the epoch; of UNRETURNED, when it became so."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """All outcomes of one claim, and the notice they cause: one transaction."""

    id: str
    outcomes: tuple[Outcome, ...]
    notice: NewEntry | None = None
    """A DSN to the sender, put in the same transaction that ends the recipients."""


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient as an operator sees it."""

    address: str
    next_hop: str
    state: State
    reason: str
    attempts: int
    next_attempt: float
    leased: bool
    """An attempt has it right now."""
    paused: bool = False
    """Its domain is: not tried until `resume`."""
    fixed: bool = False
    many: int = 1
    """As in `NewRecipient`."""


@dataclass(frozen=True, slots=True)
class QueuedEntry:
    """One entry as an operator sees it."""

    id: str
    arrived: float
    sender: str
    size: int
    message_id: str
    reason: str
    recipients: tuple[QueuedRecipient, ...]
    vouched: bool = False
    """As `NewEntry.vouched`."""


@dataclass(frozen=True, slots=True)
class HopState:
    """What the relay last knew of a next hop; shared with every process through the queue."""

    next_hop: str
    up: bool | None
    """None: unknown."""
    since: float
    """When it became so."""
    error: str
    """Its last error, "" when up."""
    probe_at: float
    """Not tried before this time while down; 0 when it may be tried now."""
    failures: int
    """Probes in a row that found it down."""
    successes: int = 0
    """In a row, since the last failure."""
    addresses: tuple[str, ...] = ()
    """The IP addresses it last resolved to."""
    offers: tuple[Offer, ...] = ()
    """What those of them that we spoke to take."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which a next hop was down."""

    next_hop: str
    began: float
    ended: float | None
    """None: it lasts."""
    error: str
    """What is the matter, while it lasts."""


@dataclass(frozen=True, slots=True)
class Due:
    """A next hop that has something to do now."""

    next_hop: str
    oldest: float
    """Arrival of the message that has been due longest."""


@dataclass(frozen=True, slots=True)
class Total:
    """Recipients of one next hop in one state."""

    next_hop: str
    state: State
    recipients: int
    oldest: float
    """Arrival of the oldest message among them."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A domain that is accepted and not relayed."""

    domain: str
    since: float
    recipients: int
    """How many are queued or deferred."""


@dataclass(frozen=True, slots=True)
class FlushProgress:
    """The account of one flush: `total` is the sum of the others."""

    flush: int
    total: int
    """Recipients that waited when it began."""
    waiting: int
    """Without a try since."""
    delivered: int
    deferred: int
    """Tried, and waiting again."""
    refused: int
    """Refused, returned or given up after a try."""
    withdrawn: int
    """Held or deleted by an operator before their try."""

    @property
    def done(self) -> bool:
        return self.waiting == 0


class Queue(Protocol):
    """The one way in and out.  Times are seconds since the epoch, passed in.

    Every method may raise QueueTrouble.  `put` and `settle` return after the
    commit survives a power cut; the caller shields them from cancellation.
    """

    async def put(self, entry: NewEntry) -> None: ...

    async def due(self, now: float) -> Sequence[Due]:
        """Next hops with recipients that are queued or deferred, due and not leased."""
        ...

    async def next_due(self, now: float) -> float | None:
        """When, after `now`, the next deferred recipient or lease becomes due; None: nothing will by itself."""
        ...

    async def claim(self, next_hop: str, limit: int, now: float, lease: float) -> Sequence[Claim]:
        """At most `limit` entries for a next hop, leased until `now + lease`.

        What has been due longest goes first; what became due together goes by arrival.  Cancelled, it may
        leave leases that run out.
        """
        ...

    async def record(self, entry: NewEntry) -> None:
        """Accepted, and dropped by a rule: durable in the account of all mail, and nowhere else."""
        ...

    async def settle(self, settlement: Settlement, now: float) -> bool:
        """-> the message is gone: its last recipient has an end."""
        ...

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Claims whose attempt did not take place: their lease ends, no try is counted."""
        ...

    async def reroute(self, route: Callable[[str], str], signature: str) -> int:
        """Ask every waiting recipient's next hop anew; if `signature` is that of the last time, only those that
        were put by other routes since (they are due for UNROUTED)."""
        ...

    async def hop_states(self) -> Mapping[str, HopState]: ...

    async def set_hop_state(self, state: HopState) -> None: ...

    async def hasten(self, next_hop: str, now: float, limit: int) -> int:
        """It is back: deferred mail for it is due now, at most `limit` recipients.  -> how many"""
        ...

    async def bring_forward(self, beyond: float, now: float) -> int:
        """The clock was set back: mail and probes that are due after `beyond` are due now.  -> how many recipients"""
        ...

    async def look_again(self, next_hops: Sequence[str]) -> None:
        """Those of them that are down may be tried now; the relay hears of it."""
        ...

    async def waiting(self, *, after: str = "", limit: int = 1000, id: str = "") -> Sequence[QueuedEntry]:
        """Entries in order of id (that is, of arrival), a page at a time; or the one named."""
        ...

    async def change(self, id: str, address: str, state: State, *, now: float, reason: str = "") -> int:
        """An operator's word: hold, release (QUEUED, due now), delete.  address "": all.  -> how many"""
        ...

    async def flush(self, domains: Sequence[str], now: float) -> int:
        """Make queued and deferred mail of these recipient domains (none: all) due now and forget that
        their next hops are down; not mail of paused domains.  -> how many recipients wait"""
        ...

    async def close(self) -> None: ...


class OperatedQueue(Queue, Protocol):
    """What the command line, the supervisor and the sender of notices want beyond that."""

    async def take(
        self, id: str, address: str = "", *, lease: float = 300.0, was: frozenset[State] | None = None
    ) -> Sequence[Claim]:
        """Lease these recipients whatever their state, or in one of those, to settle them; a claim for each next hop.

        What an attempt has right now is not among them.
        """
        ...

    async def quarantined(self, *, after: str = "", limit: int = 1000, id: str = "") -> Sequence[QueuedEntry]:
        """Like `waiting`, of what a rule discarded: the two lists share nothing."""
        ...

    async def expel(self, id: str, now: float) -> int:
        """What of a message is in quarantine ends: discarded, or bounced without a notice.  -> how many"""
        ...

    async def overdue(self, before: float, max_size: int, limit: int = 1000) -> Sequence[tuple[str, float]]:
        """(id, arrived) of what is in quarantine since `before` or is too much, oldest first."""
        ...

    async def start_flush(self, domains: Sequence[str], now: float) -> FlushProgress:
        """`flush`, with the number that `progress` wants."""
        ...

    async def progress(self, flush: int) -> FlushProgress | None:
        """What became of the recipients that waited when this flush began; None: forgotten (after a day)."""
        ...

    async def pause(self, domain: str, now: float) -> int:
        """Accept but do not relay, until `resume`.  -> how many recipients wait"""
        ...

    async def resume(self, domain: str) -> bool:
        """-> whether it was paused"""
        ...

    async def paused(self) -> Sequence[Paused]: ...

    async def totals(self) -> Sequence[Total]:
        """How many recipients wait, by next hop and state, and since when."""
        ...

    async def message(self, id: str) -> tuple[Message, str] | None:
        """A message as it would be relayed, and what is wrong with it ("": nothing)."""
        ...

    async def check(self) -> Sequence[str]:
        """Everything that is not as it should be, a sentence each."""
        ...

    async def account(self, domain: str = "", day: int | None = None) -> Sequence[Sheet]:
        """The account of all mail, a sheet for each domain and day (since the epoch); of one domain, one day."""
        ...

    async def trace(self, word: str, limit: int = 1000) -> Sequence[Life]:
        """Messages by queue id, Message-ID, sender or recipient, waiting and ended, oldest first; at most `limit`."""
        ...

    async def prune(self, before: float) -> None:
        """Of what ended before this time only the number is kept, and that as long as its day has others."""
        ...

    async def end_leases(self) -> None:
        """When whoever claimed is gone: what a relay had when it died is due again at once."""
        ...

    async def sweep(self) -> Sequence[str]:
        """Before any worker runs: end all leases, remove files that no entry names.  -> these"""
        ...

    async def sweep_after(self, mark: str) -> Sequence[str]:
        """A process is dead: of the files whose names end in its mark those go that no entry names.  -> these"""
        ...


_CONSONANTS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
"""Postfix's alphabet for long queue ids: 52 characters, no vowels, so that no id spells a word."""


def new_id(now: float | None = None) -> str:
    """A queue id in the shape of Postfix's long ones (postconf enable_long_queue_ids).

    Six digits of seconds and four of microseconds to the base 52, `z`, and six
    random ones: ids sort by time, two processes never agree, log readers of
    Postfix know the shape.  17 characters.
    """
    now = time.time() if now is None else now
    rest, low = divmod(int(now), len(_PAIRS))
    top, high = divmod(rest, len(_PAIRS))
    first, second = divmod(int(now % 1 * 1e6), len(_PAIRS))
    rest, c = divmod(int.from_bytes(secrets.token_bytes(6), "big"), len(_RANDOM_PAIRS))
    rest, b = divmod(rest, len(_RANDOM_PAIRS))
    a = rest % len(_RANDOM_PAIRS)
    return (
        f"{_PAIRS[top]}{_PAIRS[high]}{_PAIRS[low]}{_PAIRS[first]}{_PAIRS[second]}"
        f"z{_RANDOM_PAIRS[a]}{_RANDOM_PAIRS[b]}{_RANDOM_PAIRS[c]}"
    )


def id_prefix(time: float) -> str:
    """What is less than every id of mail that came since then, and greater than every older one."""
    rest, low = divmod(int(time), len(_PAIRS))
    top, high = divmod(rest, len(_PAIRS))
    return f"{_PAIRS[top]}{_PAIRS[high]}{_PAIRS[low]}"


# Two digits at once: an id is made for every message.  Random digits have no z, which Postfix puts before the inode.
_PAIRS = [a + b for a in _CONSONANTS for b in _CONSONANTS]
_RANDOM_PAIRS = [a + b for a in _CONSONANTS[:-1] for b in _CONSONANTS[:-1]]
