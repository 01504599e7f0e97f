"""quarantine: what a rule discarded and policy kept, and what can neither be delivered nor returned.

The client read 250 and knows nothing; the message lies here, durable like any
other, until somebody releases or deletes it, it lay here for `quarantine.keep`,
or the quarantine is larger than `quarantine.max_size`: then the oldest go first.
It is a state of recipients, not another place: releasing moves no octet.

    put(DISCARDED), settle(UNRETURNED) ─► quarantine ─release─► queue
                                                     └─delete, tidy─► gone
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backupmx.queue.entry import QUARANTINE, QueuedEntry, State
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
        return await self._queue.change(id, "", State.QUEUED, now=now, reason=reason, was=QUARANTINE)

    async def delete(self, id: str, *, now: float) -> int:
        """-> how many recipients; one that was released meanwhile is not among them."""
        return await self._queue.change(id, "", State.DELETED, now=now, was=QUARANTINE)

    async def tidy(self, now: float, *, keep: float, max_size: int) -> Tidied:
        """What is older than `keep` has its end, then the oldest until `max_size` octets are left."""
        expired: list[str] = []
        crowded_out: list[str] = []
        while overdue := await self._queue.overdue(now - keep, max_size):
            gone = await asyncio.gather(*(self._queue.expel(id, now) for id, _ in overdue))
            for (id, since), many in zip(overdue, gone, strict=True):
                if many:
                    (expired if since < now - keep else crowded_out).append(id)
            if not any(gone):
                break  # somebody else was faster with all of them
        return Tidied(tuple(expired), tuple(crowded_out))
