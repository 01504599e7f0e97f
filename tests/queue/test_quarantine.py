"""What a rule discarded is kept, found, released, and forgotten in its time."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backupmx.queue.entry import NewEntry, State
from backupmx.queue.quarantine import Quarantine, Tidied
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, entry


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


async def discarded(queue: SqliteQueue, *ages: float, size: int = 1000) -> list[NewEntry]:
    new = [entry(arrived=NOW - age, state=State.DISCARDED, body=b"\r\n" + b"x" * size) for age in ages]
    for one in new:
        await queue.put(one)
    return new


async def kept(queue: SqliteQueue) -> list[str]:
    return [listed.id for listed in await Quarantine(queue).list()]


async def test_listed_by_arrival(queue: SqliteQueue) -> None:
    """The list is in order of arrival, a page at a time."""
    new = await discarded(queue, 30, 10, 20)
    quarantine = Quarantine(queue)
    (first,) = await quarantine.list(limit=1)
    rest = await quarantine.list(after=first.id)
    assert [first.id, *(listed.id for listed in rest)] == [new[0].id, new[2].id, new[1].id]


async def test_released(queue: SqliteQueue) -> None:
    """Released mail goes on its way, once."""
    (new,) = await discarded(queue, 10)
    assert await Quarantine(queue).release(new.id, now=NOW) == 1
    assert await Quarantine(queue).release(new.id, now=NOW) == 0
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW, 60.0)] == [new.id]


async def test_only_the_quarantined(queue: SqliteQueue) -> None:
    """Release and delete touch nothing that is in the queue."""
    new = entry()
    await queue.put(new)
    quarantine = Quarantine(queue)
    assert (await quarantine.delete(new.id, now=NOW), await quarantine.release(new.id, now=NOW)) == (0, 0)
    assert len(await queue.waiting()) == 1


async def test_forgotten_after_keep(queue: SqliteQueue) -> None:
    """What is older than keep goes, younger mail and the queue stay."""
    old, young = await discarded(queue, 100, 50)
    waiting = entry(arrived=NOW - 1000)
    await queue.put(waiting)
    assert await Quarantine(queue).tidy(NOW, keep=60, max_size=1 << 30) == Tidied((old.id,), ())
    assert (await kept(queue), len(await queue.waiting())) == ([young.id], 1)


@pytest.mark.parametrize("size", [1000, 300_000])
async def test_oldest_out_first(queue: SqliteQueue, size: int) -> None:
    """More than max_size: the oldest make room, and no more of them than must."""
    new = await discarded(queue, 40, 30, 20, 10, size=size)
    octets = new[0].message.size
    tidied = await Quarantine(queue).tidy(NOW, keep=1e6, max_size=2 * octets)
    assert tidied == Tidied((), (new[0].id, new[1].id))
    assert await kept(queue) == [new[2].id, new[3].id]
    assert await Quarantine(queue).tidy(NOW, keep=1e6, max_size=2 * octets) == Tidied((), ())


async def test_nothing_to_keep(queue: SqliteQueue) -> None:
    """A quarantine without room keeps nothing."""
    await discarded(queue, 40, 30)
    await Quarantine(queue).tidy(NOW, keep=1e6, max_size=0)
    assert (await kept(queue), await queue.check()) == ([], [])
