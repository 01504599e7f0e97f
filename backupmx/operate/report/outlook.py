"""outlook: what a worker knows of the primaries, a second or two old; and what it tells when one calls.

    relay --> queue --hop_states, every two seconds--> Outlook.primaries --> who decides by it
    a client connects --called--> Outlook --look_again--> queue --bell--> relay: a probe, at once

A primary that connects to us (it relays, or asks with ETRN) is back, most likely, so
what waits for it need not wait for the next probe.  On the way of a connection
that costs one lookup in a dictionary; the relay is told in a task of its own, once in
ten seconds for a next hop: a primary with a thousand connections is one word.

Trouble
    The queue cannot be read: reported; what was known stays.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backupmx.journal import Journal
from backupmx.queue.entry import HopState, QueueTrouble
from backupmx.route.primaries import Primaries, Primary, Standing

_EVERY = 2.0
_SELDOM = 10.0


class States(Protocol):
    """The queue, as far as this goes."""

    async def hop_states(self) -> Mapping[str, HopState]: ...

    async def look_again(self, next_hops: Sequence[str]) -> None: ...


@dataclass(slots=True)
class Outlook:
    queue: States
    next_hops: Collection[str]
    """Of the map; replaced by a reload."""
    journal: Journal
    clock: Callable[[], float] = time.monotonic
    primaries: Primaries = field(default_factory=Primaries)
    _told: dict[str, float] = field(default_factory=dict)
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    async def look(self) -> None:
        """Once, now."""
        try:
            self.primaries = read(await self.queue.hop_states(), self.next_hops)
        except QueueTrouble as trouble:
            self.journal.queue_trouble(f"state of the primaries: {trouble}")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    def called(self, address: str) -> None:
        """A client connected.  Returns at once."""
        if hops := self.primaries.down_at(address):
            now = self.clock()
            fresh = [hop for hop in hops if now - self._told.get(hop, -_SELDOM) >= _SELDOM]
            if fresh:
                self._told.update(dict.fromkeys(fresh, now))
                task = asyncio.get_running_loop().create_task(self._tell(fresh))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)

    async def _tell(self, hops: Sequence[str]) -> None:
        try:
            await self.queue.look_again(hops)
        except QueueTrouble as trouble:
            self.journal.queue_trouble(f"a primary is back: {trouble}")

    async def close(self) -> None:
        """Before the queue closes."""
        await asyncio.gather(*self._telling)


def read(states: Mapping[str, HopState], next_hops: Collection[str]) -> Primaries:
    """Pure.  Of the map's next hops alone: the hosts of a stranger who gets a notice are no primaries."""
    return Primaries(_primary(states[hop]) if hop in states else Primary(hop) for hop in next_hops)


def _primary(state: HopState) -> Primary:
    standing = Standing.UNKNOWN if state.up is None else Standing.UP if state.up else Standing.DOWN
    return Primary(state.next_hop, standing, state.since, state.error, state.addresses, state.offers)
