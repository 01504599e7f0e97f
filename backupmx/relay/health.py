"""health: next hops up and down, since when, and when to look again.

A next hop is down when no host of it took a connection, and up again at the
first one that does.  While it is down only one message at a time is tried, at
growing intervals: its probe.  The state is kept in the queue, where admission
and the command line read it, and written only when it changes; a flush
forgets it (probe_at 0), which `refresh` finds.

    attempt --up, down--> Health --set_hop_state--> queue <--flush-- operator
    runner  --resting-->    ^-------hop_states-------'
"""

from collections.abc import Callable
from dataclasses import replace

from backupmx.journal import Journal
from backupmx.queue.entry import HopState, Queue
from backupmx.relay import schedule
from backupmx.relay.settings import RelaySettings


class Health:
    def __init__(
        self, queue: Queue, settings: RelaySettings, journal: Journal, clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:  # fmt: skip
        self._queue = queue
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self._chance = chance
        self._states: dict[str, HopState] = {}

    async def refresh(self) -> None:
        """What was known before us, and what a flush forgot since.

        Of what we know ourselves the queue may hold yesterday's word: a flush is all we take from it.
        """
        for next_hop, stored in (await self._queue.hop_states()).items():
            known = self._states.setdefault(next_hop, stored)
            if known.up is False and not stored.up and stored.probe_at == 0:
                self._states[next_hop] = replace(known, probe_at=0.0)

    def state(self, next_hop: str) -> HopState:
        return self._states.get(next_hop) or HopState(next_hop, None, 0.0, "", 0.0, 0)

    @property
    def any_down(self) -> bool:
        return any(state.up is False for state in self._states.values())

    def is_up(self, next_hop: str) -> bool:
        """Known to take mail: it may have many connections at once.  Else: one probe."""
        return self.state(next_hop).up is True

    def resting(self, next_hop: str) -> bool:
        """Down, and its next probe is not due."""
        state = self.state(next_hop)
        return state.up is False and state.probe_at > self._clock()

    def next_probe(self) -> float | None:
        """When the next one that rests may be tried."""
        now = self._clock()
        return min((s.probe_at for s in self._states.values() if s.up is False and s.probe_at > now), default=None)

    async def went_down(self, next_hop: str, why: str) -> bool:
        """Nobody there.  False: that was known already, this was not the probe."""
        if self.resting(next_hop):
            return False
        old, now = self.state(next_hop), self._clock()
        failures = old.failures + 1 if old.up is False else 1
        wait = schedule.probe_wait(
            failures, probe_min=self._settings.probe_min, probe_max=self._settings.probe_max, chance=self._chance()
        )
        since = old.since if old.up is False else now
        new = HopState(next_hop, False, since, why, now + wait, failures)
        self._states[next_hop] = new
        self._journal.hop_down(next_hop, why, wait)
        await self._queue.set_hop_state(new)
        return True

    async def came_up(self, next_hop: str) -> None:
        """A host of it took a connection."""
        old, now = self.state(next_hop), self._clock()
        if old.up is True:
            return
        new = replace(old, up=True, since=now, error="", probe_at=0.0, failures=0)
        self._states[next_hop] = new
        if old.up is False:
            self._journal.hop_up(next_hop, now - old.since)
        await self._queue.set_hop_state(new)
