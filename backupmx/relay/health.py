"""health: next hops up and down, since when, and when to look again.

Two things tell: real traffic, and probes (a connection opened and closed; none
while mail goes out).  A next hop is down when no host of it took a connection;
what is down costs a probe at growing intervals and no message a try.  What makes
it up again, and when, is updown.py; what all others may know of it,
route/primaries.py.

    attempt --answered, failed--> Health --set_hop_state--> queue --> every process
    feed.probe -------^             ^ ^--hop_states, probe_at 0-- queue <-- flush, a primary that called us
    runner --probe_due, rests-------+

The state is kept in the queue and written only when it changes.  Of what the
queue holds only one word is taken back: "look again now" (probe_at 0), which a
flush leaves there, and a worker whom the primary itself has called.

With the first answer after a failure everything that waits for the next hop is
due, also what a 4xx or a broken connection had put off meanwhile.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from backupmx.journal import Journal
from backupmx.queue.entry import HopState, Queue, QueueTrouble
from backupmx.relay import updown
from backupmx.relay.settings import RelaySettings
from backupmx.route.primaries import Offer

_AT_ONCE = 5000
"""Recipients made due in one transaction."""


class Health:
    def __init__(
        self, queue: Queue, settings: RelaySettings, journal: Journal, clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:  # fmt: skip
        self._queue = queue
        self.settings = settings
        self._journal = journal
        self._clock = clock
        self._chance = chance
        self._states: dict[str, HopState] = {}
        self._seen: dict[str, float] = {}

    async def refresh(self) -> None:
        """What was known before us, and what was asked of us since."""
        for next_hop, stored in (await self._queue.hop_states()).items():
            known = self._states.setdefault(next_hop, stored)
            # What it holds of a time before the failure may not be written over yet: only a down of its own counts.
            if known.up is False and stored.up is False and stored.probe_at == 0 and not known.successes:
                self._states[next_hop] = replace(known, probe_at=0.0)

    def state(self, next_hop: str) -> HopState:
        return self._states.get(next_hop) or updown.unknown(next_hop)

    @property
    def any_down(self) -> bool:
        return any(state.up is False for state in self._states.values())

    def answers(self, next_hop: str) -> bool:
        """It takes mail: known to be up, or down and answering again.  Else: one message at a time."""
        return updown.answers(self.state(next_hop))

    def rests(self, next_hop: str) -> bool:
        """Down, and its next probe is not due."""
        return updown.rests(self.state(next_hop), self._clock())

    def is_silent(self, next_hop: str) -> bool:
        """Down and not answering: no message is tried, a probe is."""
        state = self.state(next_hop)
        return state.up is False and not state.successes

    def probe_at(self, next_hop: str) -> float:
        """When it should be looked at if nothing else tells of it; infinity: never.

        Without an interval only what answers again is looked at until it is up, and what somebody asked for (0).
        """
        state, interval = self.state(next_hop), self.settings.probe_interval
        if state.up is False and (interval or state.successes or not state.probe_at):
            return state.probe_at
        return self._seen.get(next_hop, 0.0) + interval if interval else float("inf")

    def next_probe(self, watched: Iterable[str]) -> float | None:
        """When the next one is to be looked at: of those that are watched, and of those that rest."""
        now = self._clock()
        times = [self.probe_at(next_hop) for next_hop in watched]
        times += [s.probe_at for s in self._states.values() if updown.rests(s, now)]
        return min(times, default=None)

    def seen(self, next_hop: str) -> None:
        """Others tell of it: no probe for an interval."""
        self._seen[next_hop] = self._clock()

    async def forget(self, next_hop: str) -> None:
        """It has no hosts, which is for mail to find out."""
        self.seen(next_hop)
        old = self.state(next_hop)
        new = replace(updown.unknown(next_hop), since=self._clock(), addresses=old.addresses, offers=old.offers)
        self._states[next_hop] = new
        await self._queue.set_hop_state(new)

    async def failed(self, next_hop: str, why: str) -> bool:
        """Nobody there.  False: that was known already."""
        if self.rests(next_hop):
            return False
        now = self._clock()
        new = updown.failed(self.state(next_hop), why, now, self.settings, self._chance())
        self._states[next_hop] = new
        self._journal.hop_down(next_hop, why, new.probe_at - now)
        await self._queue.set_hop_state(new)
        return True

    async def answered(self, next_hop: str) -> bool:
        """A host of it took a connection.  True: for the first time, or after it was silent."""
        old, now = self.state(next_hop), self._clock()
        self._seen[next_hop] = now
        new = updown.answered(old, now, self.settings)
        if new is old:
            return False
        self._states[next_hop] = new
        silent = old.up is False and not old.successes
        if silent:
            self._journal.hop_answers(next_hop, now - old.since)
        if new.up and old.up is False:
            self._journal.hop_up(next_hop, now - old.since)
        await self._queue.set_hop_state(new)
        if silent:
            await self._hasten(next_hop, now)
        return old.up is None or silent

    async def learned(self, next_hop: str, addresses: Collection[str]) -> None:
        """Where its hosts are, as DNS says now.  A worker that cannot read it takes a primary for a stranger."""
        old, found = self.state(next_hop), tuple(sorted(set(addresses)))
        if old.addresses != found and found:
            await self._tell(old, replace(old, addresses=found))

    async def heard(self, next_hop: str, address: str, extensions: Mapping[str, str]) -> None:
        """What a host of it offers, by its EHLO: what no host takes need not be taken at the door either."""
        old, size = self.state(next_hop), extensions.get("SIZE", "")
        limit = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0
        offers = {offer.address: offer for offer in old.offers if offer.address in old.addresses}
        offers[address] = Offer(address, limit, "SMTPUTF8" in extensions)
        found = tuple(offers[each] for each in old.addresses if each in offers)
        if found != old.offers:
            await self._tell(old, replace(old, offers=found))

    async def _tell(self, old: HopState, new: HopState) -> None:
        """A queue in trouble is told at the next occasion."""
        self._states[new.next_hop] = new
        try:
            await self._queue.set_hop_state(new)
        except QueueTrouble as trouble:
            self._journal.queue_trouble(str(trouble))
            now = self.state(new.next_hop)
            self._states[new.next_hop] = replace(now, addresses=old.addresses, offers=old.offers)

    async def _hasten(self, next_hop: str, now: float) -> None:
        """A page at a time: those who put mail meanwhile do not wait for all of them."""
        while await self._queue.hasten(next_hop, now, _AT_ONCE) == _AT_ONCE:
            pass
