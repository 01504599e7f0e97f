"""The probe of a rehearsal is held in the moment it comes, and nothing else is."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.queue.drill import DRILL, REASON
from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, entry

PROBE = "<rehearsal.1@mx2.example.net>"


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


async def test_only_the_probe_is_held(queue: SqliteQueue) -> None:
    """By its Message-ID, while a rehearsal runs; a relay finds the other mail and never this."""
    probe, other = replace(entry(), message_id=PROBE), entry()
    await queue.put_once(DRILL, "", PROBE, None)
    await queue.put(probe)
    await queue.put(other)
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW, 60.0)] == [other.id]
    (held,) = await queue.waiting(id=probe.id)
    assert [(r.state, r.reason) for r in held.recipients] == [(State.HELD, REASON)]
    assert await queue.change(probe.id, "", State.QUEUED, now=NOW) == 1
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW, 60.0)] == [probe.id]


async def test_what_a_rule_settled_stays_settled(queue: SqliteQueue) -> None:
    """A probe that a rule discarded is in quarantine: the rehearsal must see that."""
    probe = replace(entry(state=State.DISCARDED), message_id=PROBE)
    await queue.put_once(DRILL, "", PROBE, None)
    await queue.put(probe)
    assert [q.id for q in await queue.quarantined()] == [probe.id]


async def test_nothing_is_held_without_a_rehearsal(queue: SqliteQueue) -> None:
    """When it has ended its Message-ID means nothing any more."""
    await queue.put_once(DRILL, "", PROBE, None)
    await queue.put_once(DRILL, PROBE, "", None)
    await queue.put(replace(entry(), message_id=PROBE))
    assert len(await queue.claim(HOP, 9, NOW, 60.0)) == 1
