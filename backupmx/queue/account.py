"""Pure.  account: what the account of all mail says, as values.

Sheet   one day's mail for one domain: what came in, and where all of it is
Life    one message, with what became or is to become of each recipient
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PRUNED = "pruned"
"""In a sheet: ended, and older than `ledger.keep`."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Recipients of one domain in mail that arrived on one day."""

    day: int
    """Days since the epoch, UTC."""
    domain: str
    own: bool
    """Of notices of our own."""
    came: int
    """How many were accepted."""
    waiting: Mapping[str, int]
    """Of these in the queue and in quarantine, by state."""
    ended: Mapping[str, int]
    """Of these no more there, by state or PRUNED."""

    @property
    def accounted(self) -> int:
        return sum(self.waiting.values()) + sum(self.ended.values())

    @property
    def missing(self) -> int:
        """Below zero: more than came in."""
        return self.came - self.accounted

    def __str__(self) -> str:
        whose = " (our own notices)" if self.own else ""
        verdict = f"{abs(self.missing):,} {'missing' if self.missing > 0 else 'too many'}" if self.missing else "all"
        return f"{date_of(self.day)} {self.domain}{whose}: {self.came:,} in, {self.accounted:,} accounted: {verdict}"


def date_of(day: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=day)


def total(sheets: Iterable[Sheet], field: str) -> dict[str, int]:
    """Sums by state over sheets; `field` is "waiting" or "ended"."""
    sums: dict[str, int] = {}
    for sheet in sheets:
        for state, many in getattr(sheet, field).items():
            sums[state] = sums.get(state, 0) + many
    return sums


@dataclass(frozen=True, slots=True)
class Fate:
    """Where one recipient of a message is, or what became of it."""

    address: str
    state: str
    """State of the queue, or of its end."""
    ended: float | None
    """When, seconds since the epoch; None: it waits."""
    attempts: int
    next_attempt: float
    """When it waits to be tried; else 0."""
    relay: str
    """Who took it: "primary1.example.net[192.0.2.1]:25"; of what waits its next hop."""
    reason: str
    many: int


@dataclass(frozen=True, slots=True)
class Life:
    """One message."""

    id: str
    arrived: float
    sender: str
    size: int
    message_id: str
    own: bool
    fates: tuple[Fate, ...]
    """In the order of its recipients."""
    redirected: tuple[str, ...] = ()
    """Whom the client named, when a rule said REDIRECT."""
