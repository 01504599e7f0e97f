"""Pure.  glance: next hops, alarms, engines, pauses and refused mail as they are now: `status` and the page tell it.

    queue, tally ─► glance ─┬─► cli/status, --json
                            └─► page/sight: page, API, /metrics

Times are seconds since the epoch; None: not known, or not so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backupmx.journal import VERDICTS
from backupmx.operate.desk import WAITING
from backupmx.operate.report.tally import Tally
from backupmx.queue.entry import HopState, Paused, State, Total
from backupmx.queue.refusals import Group


@dataclass(frozen=True, slots=True)
class NextHop:
    """A primary, or where else mail goes."""

    next_hop: str
    state: str
    """up, down, unknown."""
    since: int | None
    error: str
    next_probe: int | None
    answers_again: bool
    queued: int
    deferred: int
    held: int
    refused: int
    """Recipients in each state."""
    oldest: int | None
    """Arrival of the oldest message that waits."""

    @property
    def rank(self) -> tuple[int, str]:
        """What is wrong comes first, hosts of strangers, which nobody probes, come last."""
        return ("down", "up", "unknown").index(self.state), self.next_hop

    @property
    def waiting(self) -> int:
        return sum(map(self.in_state, WAITING))

    def in_state(self, state: State) -> int:
        """Recipients, of one of desk.WAITING."""
        return int(getattr(self, state))


@dataclass(frozen=True, slots=True)
class Alarm:
    key: str
    since: int
    text: str
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    engine: str
    state: str
    since: int
    why: str
    away_for: int
    """So many processes ..."""
    asked_by: int
    """... of so many."""


@dataclass(frozen=True, slots=True)
class Pause:
    domain: str
    since: int
    waiting: int


@dataclass(frozen=True, slots=True)
class RefusedGroup:
    """Recipients that a primary refused after our 250, for one kind of reason."""

    next_hop: str
    kind: str
    recipients: int
    oldest: int
    last_words: str


def next_hops(named: Iterable[str], states: Mapping[str, HopState], totals: Sequence[Total]) -> tuple[NextHop, ...]:
    """Those that are named, by name, then others that mail waits for (notices, FILTER)."""
    waiting = (total.next_hop for total in totals if total.state in WAITING)
    return tuple(next_hop(hop, states.get(hop), totals) for hop in dict.fromkeys([*sorted(named), *waiting]))


def next_hop(hop: str, state: HopState | None, totals: Iterable[Total]) -> NextHop:
    """One as it stands: "unknown" as long as nothing was tried."""
    of = {t.state: t for t in totals if t.next_hop == hop and t.state in WAITING}
    word = "unknown" if state is None or state.up is None else "up" if state.up else "down"
    down = state is not None and word == "down"
    many = {s: of[s].recipients if s in of else 0 for s in WAITING}
    return NextHop(
        hop, word, int(state.since) or None if state else None, state.error if state else "",
        int(state.probe_at) if state and down else None, bool(state and down and state.successes > 0),
        many[State.QUEUED], many[State.DEFERRED], many[State.HELD], many[State.REFUSED],
        int(min((t.oldest for t in of.values()), default=0)) or None,
    )  # fmt: skip


def alarms(tally: Tally) -> tuple[Alarm, ...]:
    """The oldest first."""
    return tuple(Alarm(a.alarm.key, int(a.alarm.since), a.alarm.text, a.processes) for a in tally.alarms)


def engines(tally: Tally) -> tuple[Engine, ...]:
    """By name; one that is away for any process is away."""
    return tuple(
        Engine(e.name, "away" if e.away else "up", int(e.since), e.why, e.away, e.asked_by) for e in tally.engines
    )


def verdicts(tally: Tally) -> dict[str, int]:
    """How many messages had which fate, the most frequent first."""
    counts = sorted(tally.named(VERDICTS), key=lambda count: -count.value)
    return {count.labels["fate"]: count.value for count in counts}


def pauses(paused: Iterable[Paused]) -> tuple[Pause, ...]:
    return tuple(Pause(one.domain, int(one.since), one.recipients) for one in paused)


def refusals(groups: Iterable[Group]) -> tuple[RefusedGroup, ...]:
    return tuple(RefusedGroup(g.next_hop, str(g.kind), g.recipients, int(g.oldest), g.example) for g in groups)


def quarantined(totals: Iterable[Total]) -> int:
    """Recipients."""
    return sum(total.recipients for total in totals if total.state.in_quarantine)
