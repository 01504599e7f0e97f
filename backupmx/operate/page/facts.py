"""Pure.  facts: what the page shows and the API answers, as values.

The API's schema is made of these classes (openapi.py), and of those that `status` tells too
(report/glance.py).  Times are seconds since the epoch,
sizes octets; None: not known, or not so.
"""

from dataclasses import dataclass

from backupmx.operate.report.glance import Alarm, Engine, NextHop, Pause, RefusedGroup


@dataclass(frozen=True, slots=True)
class RecipientList:
    name: str
    addresses: int
    synced: int | None
    error: str
    stale: bool
    """Too old to say no."""


@dataclass(frozen=True, slots=True)
class PastOutage:
    next_hop: str
    began: int
    ended: int | None
    error: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that matched."""

    table: str
    line: int
    rule: str
    hits: int
    last: int | None


@dataclass(frozen=True, slots=True)
class VerdictHour:
    """Messages that had one fate in one hour."""

    hour: int
    """When it began."""
    fate: str
    messages: int


@dataclass(frozen=True, slots=True)
class Status:
    hostname: str
    version: str
    now: int
    running: bool
    alarms: tuple[Alarm, ...]
    next_hops: tuple[NextHop, ...]
    paused: tuple[Pause, ...]
    refusals: tuple[RefusedGroup, ...]
    engines: tuple[Engine, ...]
    lists: tuple[RecipientList, ...]
    outages: tuple[PastOutage, ...]
    """Of a week."""
    quarantined: int
    """Recipients."""
    verdicts: dict[str, int]
    verdict_hours: tuple[VerdictHour, ...]
    """Of two weeks."""
    rules: tuple[Rule, ...]
    counting_since: int | None
    disk_free: int
    """Octets on the queue's disk ..."""
    min_free: int
    """... and with less than this new mail is put off."""
    remarks: tuple[str, ...]
    trouble: str
    """Why part of this could not be read."""

    @property
    def well(self) -> bool:
        """Nothing here wants anybody."""
        down = any(hop.state == "down" or hop.refused for hop in self.next_hops)
        away = any(engine.state != "up" for engine in self.engines)
        return self.running and not (self.alarms or down or away or self.trouble) and self.disk_free >= self.min_free


@dataclass(frozen=True, slots=True)
class Recipient:
    address: str
    next_hop: str
    state: str
    delay_reason: str
    attempts: int
    next_attempt: int
    refusal: str
    """The kind of a primary's refusal; "": none."""


@dataclass(frozen=True, slots=True)
class Message:
    """As `queue list --json` has it."""

    queue_name: str
    queue_id: str
    arrival_time: int
    message_size: int
    sender: str
    message_id: str
    reason: str
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    messages: tuple[Message, ...]
    next: str
    """What `after` says for more; "": there is no more."""


@dataclass(frozen=True, slots=True)
class End:
    """What became of one recipient."""

    address: str
    state: str
    waiting: bool
    ended: int | None
    attempts: int
    relay: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    queue_id: str
    arrival_time: int
    message_size: int
    message_id: str
    sender: str
    recipients: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One message, wherever it is."""

    message: Message | None
    """What of it waits."""
    quarantined: Message | None
    headers: tuple[str, ...]
    """The header block as it would be relayed, a line each; strangers wrote it."""
    damage: str
    life: Trace | None


@dataclass(frozen=True, slots=True)
class Own:
    """One recipient's mail, as the domain's owner sees it."""

    arrival_time: int
    message_size: int
    address: str
    state: str
    delay_reason: str
    next_attempt: int


@dataclass(frozen=True, slots=True)
class Mine:
    domain: str
    now: int
    primaries: tuple[NextHop, ...]
    """Where its mail goes; the counts are the domain's own."""
    paused: bool
    mail: tuple[Own, ...]
    more: bool
    """There is more than is shown ..."""
    capped: bool
    """... and more than was counted."""


@dataclass(frozen=True, slots=True)
class Changed:
    changed: int
    """Recipients."""


@dataclass(frozen=True, slots=True)
class Waiting:
    waiting: int
    """Recipients."""


@dataclass(frozen=True, slots=True)
class Trouble:
    error: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What one set of rules does to a message."""

    verdict: str = ""
    """ "discard: 250 2.0.0 Ok: queued (header_checks:2)" """
    lines: tuple[str, ...] = ()
    """One for each header that a rule touched."""
    diff: tuple[str, ...] = ()
    """The header block before and after: "-" gone, "+" new."""
    warnings: tuple[str, ...] = ()
    """Rules that cannot be used."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Of the rule workbench."""

    yours: Judged = Judged()
    today: Judged = Judged()
    differs: bool = False
    """The message is judged otherwise."""
    trouble: str = ""
    """Why there is no answer."""
