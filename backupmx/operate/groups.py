"""groups: what primaries refused, a group at a time: which recipients are meant, and one deed done to all of them.

A group is named by its next hop, or its host alone, and a kind of reason.  The command line
(queue retry, return, delete --refused) and the page do the same here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from backupmx.queue.entry import QueuedEntry, QueuedRecipient, State
from backupmx.queue.refusals import Group, Kind, is_named, kind_of
from backupmx.queue.sqlite import SqliteQueue

Act = Callable[[SqliteQueue, QueuedEntry], Awaitable[int]]
"""What is done with the refused recipients of one message.  -> how many it was done to"""

ANY = "*"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the groups."""

    next_hop: str
    kind: str | None

    def takes(self, next_hop: str, kind: Kind) -> bool:
        named = self.next_hop == ANY or is_named(next_hop, self.next_hop)
        return named and self.kind in (None, kind)

    def has(self, recipient: QueuedRecipient) -> bool:
        return recipient.state is State.REFUSED and self.takes(recipient.next_hop, kind_of(recipient.reason))

    def of(self, entry: QueuedEntry) -> QueuedEntry:
        """With these recipients alone."""
        return replace(entry, recipients=tuple(r for r in entry.recipients if self.has(r)))


async def groups(queue: SqliteQueue, choice: Choice) -> list[Group]:
    return [group for group in await queue.refusals() if choice.takes(group.next_hop, group.kind)]


async def entries(queue: SqliteQueue, choice: Choice) -> AsyncIterator[QueuedEntry]:
    """Messages with the recipients that are chosen, oldest first."""
    after = ""
    while page := await queue.refused(after=after, limit=_PAGE):
        for entry in page:
            if (only := choice.of(entry)).recipients:
                yield only
        after = page[-1].id


async def act_on_all(queue: SqliteQueue, choice: Choice, act: Act) -> int:
    """A page together: its commits gather."""
    done = 0
    page: list[QueuedEntry] = []
    async for entry in entries(queue, choice):
        page.append(entry)
        if len(page) == _PAGE:
            done += sum(await asyncio.gather(*(act(queue, one) for one in page)))
            page.clear()
    return done + sum(await asyncio.gather(*(act(queue, one) for one in page)))


def changing(state: State, reason: str, now: float) -> Act:
    """Retry, delete: the words stay to be read with what is tried again."""

    async def act(queue: SqliteQueue, entry: QueuedEntry) -> int:
        refused = frozenset({State.REFUSED})
        return sum(
            [
                await queue.change(entry.id, r.address, state, now=now, reason=reason, was=refused)
                for r in entry.recipients
            ]
        )

    return act
