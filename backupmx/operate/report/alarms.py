"""Pure.  alarms: what is wrong enough to wake somebody, and whether he knows.

    troubles(...)    what is wrong now, by [alarms]
    news(...)        what of it is new to a reader, what is over, and what he knows then

A trouble is told once when it begins and once when it has been over for `alarms.calm`: what
comes and goes meanwhile is one trouble.  Each way of telling has its own memory, and what could
not be told is not remembered, so it is told the next time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from backupmx.config.alarms import Alarms
from backupmx.operate.measures import ago, moment, size
from backupmx.operate.report.tally import Tally
from backupmx.queue.entry import HopState, State, Total

_TRIED = (State.QUEUED, State.DEFERRED)


@dataclass(frozen=True, slots=True)
class Trouble:
    key: str
    """What it is about: "down smtp:[primary1]:25"."""
    since: float
    text: str


@dataclass(frozen=True, slots=True)
class Known:
    """A trouble that somebody was told of."""

    since: float
    text: str
    gone: float = 0.0
    """Since when it is over; 0: it is not."""


@dataclass(frozen=True, slots=True)
class News:
    """What one message tells."""

    began: tuple[Trouble, ...] = ()
    ended: tuple[Trouble, ...] = ()

    @property
    def something(self) -> bool:
        return bool(self.began or self.ended)

    def lines(self, now: float) -> Iterator[str]:
        for one in self.began:
            yield f"BEGINS  {one.text} (since {moment(one.since)})"
        for one in self.ended:
            yield f"OVER    {one.text} (lasted {ago(max(0.0, now - one.since))})"

    def subject(self) -> str:
        first = (*self.began, *self.ended)[0]
        more = len(self.began) + len(self.ended) - 1
        return f"{'' if self.began else 'over: '}{first.text[:120]}{f', and {more} more' if more else ''}"


@dataclass(frozen=True, slots=True)
class Sight:
    """What is so now."""

    now: float
    hops: Mapping[str, HopState]
    """Of the map's next hops."""
    totals: Sequence[Total]
    tally: Tally
    disk_free: int
    certificates: Mapping[str, float]
    """File -> when it ends."""
    lists: Mapping[str, float | None]
    """Name -> when it was fetched; None: never."""
    max_age: float
    """recipients.max_age"""


def troubles(settings: Alarms, sight: Sight) -> list[Trouble]:
    """In the order of how grave they are."""
    return [
        *_disk(settings, sight), *_alarms(sight), *_down(settings, sight), *_old(settings, sight),
        *_away(settings, sight), *_certificates(settings, sight), *_lists(settings, sight),
    ]  # fmt: skip


def _disk(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    if sight.disk_free < settings.disk_free:
        yield Trouble("disk", sight.now, f"the queue's disk is nearly full: {size(sight.disk_free)} are free")


def _alarms(sight: Sight) -> Iterator[Trouble]:
    """What the log raised; an engine's own has its threshold in `_away`."""
    for one in sight.tally.alarms:
        if not one.alarm.key.startswith("engine "):
            yield Trouble(f"alarm {one.alarm.key}", one.alarm.since, one.alarm.text)


def _down(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    for hop, state in sight.hops.items():
        if settings.primary_down and state.up is False and sight.now - state.since >= settings.primary_down:
            yield Trouble(f"down {hop}", state.since, f"{hop} is down: {state.error}")


def _old(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    oldest: dict[str, float] = {}
    for total in sight.totals:
        if total.state in _TRIED:
            oldest[total.next_hop] = min(total.oldest, oldest.get(total.next_hop, total.oldest))
    for hop, arrived in oldest.items():
        if settings.queue_age and sight.now - arrived >= settings.queue_age:
            yield Trouble(f"queue {hop}", arrived, f"mail for {hop} waits for longer than {ago(settings.queue_age)}")


def _away(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    for engine in sight.tally.engines:
        if settings.engine_away and engine.away and sight.now - engine.since >= settings.engine_away:
            yield Trouble(f"engine {engine.name}", engine.since, f"{engine.name} is away: {engine.why}")


def _certificates(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    for file, ends in sight.certificates.items():
        if settings.certificate and ends - sight.now < settings.certificate:
            yield Trouble(f"certificate {file}", ends - settings.certificate, f"{file}: ends {moment(ends)}")


def _lists(settings: Alarms, sight: Sight) -> Iterator[Trouble]:
    for name, synced in sight.lists.items():
        if settings.lists and sight.max_age and synced is not None and sight.now - synced > sight.max_age:
            text = f"recipients.source {name}: not fetched since {moment(synced)}; who is in no list is put off"
            yield Trouble(f"list {name}", synced + sight.max_age, text)


def news(
    known: Mapping[str, Known], found: Iterable[Trouble], calm: float, now: float
) -> tuple[News, dict[str, Known]]:
    """-> (what to tell, what is known when it has been told)"""
    by_key = {one.key: one for one in found}
    after = {key: replace(was, gone=0.0) if key in by_key else replace(was, gone=was.gone or now)
             for key, was in known.items()}  # fmt: skip
    over = [key for key, is_ in after.items() if is_.gone and now - is_.gone >= calm]
    ended = tuple(Trouble(key, after[key].since, after.pop(key).text) for key in over)
    began = tuple(one for key, one in by_key.items() if key not in known)
    after.update({one.key: Known(one.since, one.text) for one in began})
    return News(began, ended), after
