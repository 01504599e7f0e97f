"""queue/turns.py: a sender with a thousand messages does not hold up one with one."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.mail.envelope import Client
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.queue.turns import SHARE, Turns
from tests.queue.contract import LEASE
from tests.queue.samples import HOP, NOW, entry


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


def test_share() -> None:
    """A hundred an hour of one address, or from one client, go in order of arrival; the next hour begins anew."""
    turns = Turns()
    assert [turns.behind("a@b.example", "192.0.2.1", 0.0) for _ in range(SHARE + 1)] == [False] * SHARE + [True]
    assert turns.behind("other@b.example", "192.0.2.1", 0.0)
    assert not turns.behind("other@b.example", "192.0.2.2", 0.0)
    assert not turns.behind("a@b.example", "192.0.2.1", 3600.0)


def test_memory() -> None:
    """A flood of forged senders does not grow memory."""
    turns = Turns()
    for n in range(50_000):
        turns.behind(f"{n}@b.example", f"192.0.2.{n}", 0.0)
    assert len(turns._many) <= 10_002


async def fill(queue: SqliteQueue, many: int) -> list[str]:
    ids = []
    for n in range(many):
        one = entry(arrived=NOW - 1000 + n)
        ids.append(one.id)
        await queue.put(one)
    return ids


async def test_one_behind_many(queue: SqliteQueue) -> None:
    """The one message of another sender is in the next claim, though five hundred of a spammer came before it."""
    await fill(queue, 500)
    sample = entry(arrived=NOW - 1)
    other = replace(
        sample, envelope=replace(sample.envelope, sender="friend@else.example"), client=Client("198.51.100.7", 1)
    )
    await queue.put(other)
    first = await queue.claim(HOP, 80, NOW, LEASE)
    second = await queue.claim(HOP, 2 * SHARE, NOW, LEASE)
    assert other.id in {claim.id for claim in (*first, *second)}
    assert len(first) == 80


async def test_by_turns_and_all_of_it(queue: SqliteQueue) -> None:
    """Both rows move, each in order of arrival, and together they are everything, once."""
    ids = await fill(queue, 300)
    claimed: list[str] = []
    while batch := await queue.claim(HOP, 20, NOW, LEASE):
        claimed += [claim.id for claim in batch]
    assert sorted(claimed) == sorted(ids)
    assert claimed[:20] == ids[:10] + ids[SHARE : SHARE + 10]


async def test_due_sees_the_second_row(queue: SqliteQueue) -> None:
    """When only the second row is left, the next hop has something to do, and says how old it is."""
    await fill(queue, SHARE + 5)
    while len(await queue.claim(HOP, 1, NOW, LEASE)) and (await queue.due(NOW))[0].oldest < NOW - 1000 + SHARE:
        pass
    (due,) = await queue.due(NOW)
    assert (due.next_hop, due.oldest) == (HOP, NOW - 1000 + SHARE)
