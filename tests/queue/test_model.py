"""Whatever operators and attempts do in whatever order: mail is waiting, leased, or gone with its outcome.

The queue is compared after each step with a dictionary that does the same; so is the account of all mail.
"""

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.queue.account import total
from backupmx.queue.entry import Claim, Settlement, State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue import samples
from tests.queue.samples import HOP, NOW, outcome

LEASE = 100.0
KEPT = (State.QUEUED, State.DEFERRED)
step = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 3), st.sampled_from([State.QUEUED, State.HELD, State.DISCARDED])),
    st.tuples(st.just("claim"), st.integers(1, 3), st.none()),
    st.tuples(
        st.just("settle"),
        st.integers(0, 9),
        st.sampled_from([State.DELIVERED, State.DEFERRED, State.REFUSED, State.BOUNCED, State.HELD, State.UNRETURNED]),
    ),
    st.tuples(st.just("give_back"), st.integers(0, 9), st.none()),
    st.tuples(st.just("take"), st.integers(0, 9), st.none()),
    st.tuples(st.just("change"), st.integers(0, 9), st.sampled_from([State.QUEUED, State.HELD, State.DELETED])),
    st.tuples(st.just("flush"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 200]), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
)


@dataclass
class One:
    """A recipient, as simply as it can be said."""

    state: State
    due: float | None
    attempts: int = 0
    next_attempt: float = 0.0
    lease: float | None = None


class Model:
    """A queue without a disk, and the real one beside it."""

    def __init__(self, folder: str) -> None:
        self.folder, self.now = folder, NOW
        self.all: dict[str, dict[str, One]] = {}
        self.came, self.ended = 0, Counter[str]()
        self.claims: list[Claim] = []
        self.queue: SqliteQueue

    async def open(self) -> None:
        self.queue = await open_queue(f"sqlite:{self.folder}/queue.db", clock=lambda: self.now)

    async def put(self, many: int, state: State) -> None:
        new = samples.entry(*(f"{n}@example.jp" for n in range(many)), arrived=self.now, state=state)
        await self.queue.put(new)
        due = self.now if state is State.QUEUED else None
        self.all[new.id] = {a: One(state, due, 0, self.now) for a in new.envelope.addresses}
        self.came += many

    async def claim(self, limit: int, _: None) -> None:
        due = sorted({(min(d), id) for id, those in self.all.items() if (d := self._due(those))})
        claims = await self.queue.claim(HOP, limit, self.now, LEASE)
        # Which of several that became due together goes first is arrival; ids of one moment have no order.
        assert [min(self._due(self.all[c.id])) for c in claims] == [when for when, _ in due][:limit]
        for claim in claims:
            mine = {a for a, one in self.all[claim.id].items() if one.due is not None and one.due <= self.now}
            assert {r.address: r.attempts for r in claim.recipients} == {
                a: self.all[claim.id][a].attempts for a in mine
            }
            for address in mine:
                one = self.all[claim.id][address]
                one.lease = one.due = self.now + LEASE
        self.claims += claims

    def _due(self, those: dict[str, One]) -> list[float]:
        return [one.due for one in those.values() if one.due is not None and one.due <= self.now]

    async def settle(self, which: int, end: State) -> None:
        if not self.claims:
            return
        claim = self.claims.pop(which % len(self.claims))
        said = tuple(outcome(r.address, end, next_attempt=self.now + 50) for r in claim.recipients)
        await self.queue.settle(Settlement(claim.id, said), self.now)
        for recipient in claim.recipients:
            self._end(self.all.get(claim.id, {}), recipient.address, end)

    def _end(self, those: dict[str, One], address: str, end: State) -> None:
        if (one := those.get(address)) is None:
            return
        if end.ends:
            del those[address]
            self.ended[end] += 1
            return
        one.attempts += 1
        if one.lease is None and one.state not in KEPT:
            return
        one.state, one.lease, one.next_attempt = end, None, self.now + 50
        one.due = one.next_attempt if end is State.DEFERRED else None

    async def give_back(self, which: int, _: None) -> None:
        if not self.claims:
            return
        claim = self.claims.pop(which % len(self.claims))
        await self.queue.give_back([claim])
        for recipient in claim.recipients:
            one = self.all.get(claim.id, {}).get(recipient.address)
            if one is not None and one.lease is not None:
                one.lease, one.due = None, None if one.due is None else one.next_attempt

    async def take(self, which: int, _: None) -> None:
        if not self.all:
            return
        id = sorted(self.all)[which % len(self.all)]
        free = {a for a, one in self.all[id].items() if one.lease is None or one.lease <= self.now}
        taken = await self.queue.take(id, lease=LEASE)
        assert {r.address for claim in taken for r in claim.recipients} == free
        for address in free:
            one = self.all[id][address]
            one.lease = self.now + LEASE
            one.due = None if one.due is None else one.lease
        self.claims += taken

    async def change(self, which: int, state: State) -> None:
        if not self.all:
            return
        id = sorted(self.all)[which % len(self.all)]
        assert await self.queue.change(id, "", state, now=self.now) == len(self.all[id])
        if state is State.DELETED:
            self.ended[state] += len(self.all[id])
            self.all[id].clear()
        for one in self.all[id].values():
            one.state, one.lease, one.next_attempt = state, None, 0.0
            one.due = 0.0 if state is State.QUEUED else None

    async def flush(self, _: None, __: None) -> None:
        waiting = [one for those in self.all.values() for one in those.values() if one.due is not None]
        assert await self.queue.flush([], self.now) == len(waiting)
        for one in waiting:
            if one.next_attempt > self.now:
                one.next_attempt = self.now
                one.due = one.due if one.lease is not None and one.lease > self.now else self.now

    async def wait(self, seconds: int, _: None) -> None:
        self.now += seconds

    async def restart(self, _: None, __: None) -> None:
        """Leases of the last life end; who still has a claim in hand may settle it, as after a lost lease."""
        await self.queue.close()
        await self.open()
        await self.queue.sweep()
        for those in self.all.values():
            for one in those.values():
                if one.lease is not None:
                    one.lease, one.due = None, None if one.due is None else one.next_attempt

    async def compare(self) -> None:
        self.all = {id: those for id, those in self.all.items() if those}
        listed = [*await self.queue.waiting(), *await self.queue.quarantined()]
        found = {
            (e.id, r.address): (r.state, r.attempts, r.next_attempt, r.leased) for e in listed for r in e.recipients
        }
        assert found == {
            (id, a): (one.state, one.attempts, one.next_attempt, one.lease is not None and one.lease > self.now)
            for id, those in self.all.items()
            for a, one in those.items()
        }
        dues = [one.due for those in self.all.values() for one in those.values() if one.due is not None]
        assert await self.queue.next_due(self.now) == min((due for due in dues if due > self.now), default=None)
        assert [d.next_hop for d in await self.queue.due(self.now)] == [HOP] * any(due <= self.now for due in dues)
        sheets = await self.queue.account()
        waiting = Counter(one.state for those in self.all.values() for one in those.values())
        assert (sum(s.came for s in sheets), [s.missing for s in sheets if s.missing]) == (self.came, [])
        assert (total(sheets, "waiting"), total(sheets, "ended")) == (waiting, self.ended)


@settings(max_examples=60, deadline=None)
@given(st.lists(step, min_size=5, max_size=40))
def test_any_life(steps: list[tuple[str, object, object]]) -> None:
    """After any sequence of events each recipient is in the state that the events lead to, and none is lost."""

    async def live(folder: str) -> None:
        model = Model(folder)
        await model.open()
        try:
            for what, first, second in steps:
                await getattr(model, what)(first, second)
                await model.compare()
            assert await model.queue.check() == []
        finally:
            await model.queue.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(folder))
