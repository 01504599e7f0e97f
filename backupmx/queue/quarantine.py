"""quarantine: what a rule discarded and policy kept.

The client read 250 and knows nothing; the message lies here, durable like any
other, until somebody releases or deletes it, it is older than `quarantine.keep`,
or the quarantine is larger than `quarantine.max_size`: then the oldest go first.
It is a state of recipients, not another place: releasing moves no octet.

    put(DISCARDED) ─► quarantine ─release─► queue
                               └─delete, tidy─► gone
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from backupmx.queue.entry import QueuedEntry, State
from backupmx.queue.sqlite import SqliteQueue


@dataclass(frozen=True, slots=True)
class Tidied:
    """What `tidy` removed."""

    expired: tuple[str, ...]
    """Ids older than keep."""
    crowded_out: tuple[str, ...]
    """Ids that went for want of space."""


class Quarantine:
    def __init__(self, queue: SqliteQueue) -> None:
        self._queue = queue

    async def list(self, *, after: str = "", limit: int = 1000, id: str = "") -> Sequence[QueuedEntry]:
        """In order of arrival, a page at a time; or the one named."""
        return await self._queue.quarantined(after=after, limit=limit, id=id)

    async def release(self, id: str, *, now: float, reason: str = "") -> int:
        """Into the queue, due now.  -> how many recipients; 0: not in quarantine."""
        return await self._each(id, State.QUEUED, now, reason)

    async def delete(self, id: str, *, now: float) -> int:
        return await self._each(id, State.DELETED, now, "")

    async def tidy(self, now: float, *, keep: float, max_size: int) -> Tidied:
        """Remove what is older than `keep`, then the oldest until `max_size` octets are left."""
        expired, total = [], 0
        async for entry in self._all():
            if entry.arrived < now - keep:
                await self.delete(entry.id, now=now)
                expired.append(entry.id)
            else:
                total += entry.size
        crowded_out = []
        async for entry in self._all():
            if total <= max_size:
                break
            await self.delete(entry.id, now=now)
            crowded_out.append(entry.id)
            total -= entry.size
        return Tidied(tuple(expired), tuple(crowded_out))

    async def _all(self) -> AsyncIterator[QueuedEntry]:
        after = ""
        while page := await self.list(after=after):
            for entry in page:
                yield entry
            after = page[-1].id

    async def _each(self, id: str, state: State, now: float, reason: str) -> int:
        """Only what is discarded: another recipient of the message may be waiting like any other."""
        changed = 0
        for entry in await self.list(id=id):
            for address in dict.fromkeys(r.address for r in entry.recipients):
                changed += await self._queue.change(id, address, state, now=now, reason=reason)
        return changed
