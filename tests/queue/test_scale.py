"""A long outage: the cost of a step does not grow with the backlog."""

import asyncio
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backupmx.queue import orders
from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, OTHER, entry, settled

MANY = 100_000
STATES = ("queued", "deferred", "held", "discarded")


def multiply(path: str) -> None:
    """The one entry that is there, MANY times, its copies in all states."""
    db = sqlite3.connect(path)
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO entry"
        " SELECT i, printf('4k%08dz%06d', i, i), arrived + i, sender, size, message_id, reason, body_type, smtputf8,"
        " ret, envid, client, vouched, checksum, path, start, head, body FROM n, entry WHERE key = 1",
        (MANY,),
    )
    for number, state in enumerate(STATES):
        due = "arrived" if state in ("queued", "deferred") else "NULL"
        db.execute(
            f"INSERT INTO recipient SELECT key, 0, 1, {due}, NULL, ?, 0, arrived, 'user' || key || '@example.jp',"
            " 'example.jp', '', '', '', 0, 1, CAST(arrived / 86400 AS INTEGER) FROM entry"
            " WHERE key > 1 AND key % 4 = ?",
            (state, number),
        )
    db.execute("DELETE FROM account")
    db.execute("INSERT INTO account SELECT came, domain, 0, count(*), 0 FROM recipient GROUP BY 1, 2")
    db.commit()
    db.close()


@pytest.fixture
async def backlog(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    await queue.put(entry("user1@example.jp", arrived=NOW - MANY - 9))
    multiply(queue.path)
    yield queue
    await queue.close()


async def test_memory_stays(backlog: SqliteQueue) -> None:
    """Listing, rerouting and flushing a hundred thousand messages needs the memory of a page."""
    listed, after = 0, ""
    tracemalloc.start()
    while page := await backlog.waiting(after=after):
        listed, after = listed + len(page), page[-1].id
    assert await backlog.reroute(lambda address: OTHER, "v2") == MANY
    begun = await backlog.start_flush(["example.jp"], NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (listed, begun.total, peak < 16 << 20) == (MANY * 3 // 4, MANY // 2, True)


async def test_no_step_reads_it_all(backlog: SqliteQueue) -> None:
    """What the relay asks for each claim is answered from an index, however much waits."""
    reader = sqlite3.connect(backlog.path)
    asked: list[str] = []
    for question in (
        "SELECT entry FROM recipient WHERE hop = 1 AND due <= 9 ORDER BY due, entry",
        "SELECT min(r.due) FROM recipient r WHERE r.hop = 1 AND r.due > 9",
        "UPDATE recipient SET due = 1, lease = 1 WHERE entry IN (SELECT value FROM json_each('[1]')) AND +hop = 1",
        "SELECT e.id, r.entry FROM entry e JOIN recipient r ON r.entry = e.key WHERE e.id IN ('a', 'b')",
        "DELETE FROM recipient WHERE entry IN (SELECT value FROM json_each('[1]'))",
    ):
        plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {question}").fetchall()]
        asked += [f"{question}: {step}" for step in plan if step.startswith("SCAN") and "json_each" not in step]
        asked += [f"{question}: {step}" for step in plan if "TEMP B-TREE" in step]
    kept = "SELECT entry FROM recipient WHERE state IN ('discarded', 'unreturned')"
    (plan,) = reader.execute(f"EXPLAIN QUERY PLAN {kept}").fetchall()
    reader.close()
    assert asked == []
    assert "recipient_quarantined" in plan[3]


async def test_oldest_first_through_it_all(backlog: SqliteQueue) -> None:
    """Claims go through a backlog in order of arrival."""
    claimed: list[float] = []
    for _ in range(3):
        claims = await backlog.claim(HOP, 50, NOW, 60.0)
        claimed += [claim.arrived for claim in claims]
        await asyncio.gather(*(backlog.settle(settled(claim), NOW) for claim in claims))
    assert (claimed == sorted(claimed), len(claimed)) == (True, 150)


async def test_a_flush_is_written_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long flush lets others write in between, and its account is whole."""
    monkeypatch.setattr(orders, "_SLICE", 3)
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    for n in range(10):
        await queue.put(entry("anna@example.jp", "berta@example.jp", arrived=NOW + n))
    for claim in await queue.claim(HOP, 100, NOW + 60, 60.0):
        await queue.settle(settled(claim, State.DEFERRED, next_attempt=NOW + 9000), NOW + 60)
    begun, other = await asyncio.gather(queue.start_flush((), NOW + 70), queue.put(entry(arrived=NOW + 80)))
    assert (begun.total, begun.waiting, other) == (20, 20, None)
    assert len(await queue.claim(HOP, 100, NOW + 70, 60.0)) == 10
    await queue.close()
