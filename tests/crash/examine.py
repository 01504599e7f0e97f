"""examine: a queue after a crash is opened as at any start; is everything so that was said?

1  it opens; what no message names is swept
2  `queue check` finds nothing, and the ledger balances
3  each recipient is as it was told: waiting, held, in quarantine, or gone with an end that was asked for
4  each message is what was put, octet for octet
5  everything that is due can be claimed and goes to the primary; what it has already is counted: a duplicate
6  new mail is taken
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backupmx.queue.entry import QueuedEntry, QueueTrouble, State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.crash.story import content, letter, size_of
from tests.crash.told import Recipient, Told
from tests.queue.samples import HEADERS, HOP, NOW, OTHER, settled, wire

_EVER = 9.5e9


@dataclass(frozen=True, slots=True)
class Examined:
    wrongs: tuple[str, ...]
    """What must not be, a sentence each."""
    duplicates: int = 0
    """Recipients the primary had already: its 250 was lost."""
    aside: int = 0
    """Recipients held because their body could not be read."""
    kept: int = 0
    """Messages refused with 451 that the queue has all the same."""


def examine(folder: Path, told: Told) -> Examined:
    return asyncio.run(_examine(folder, told))


async def _examine(folder: Path, told: Told) -> Examined:
    try:
        queue = await open_queue(f"sqlite:{folder}/queue.db", clock=lambda: NOW)
    except QueueTrouble as trouble:
        return Examined((f"does not start: {trouble}",))
    try:
        return await _compared(queue, told)
    except QueueTrouble as trouble:
        return Examined((f"does not work: {trouble}",))
    finally:
        await queue.close()


async def _compared(queue: SqliteQueue, told: Told) -> Examined:
    await queue.sweep()
    entries = [*await queue.waiting(), *await queue.quarantined()]
    states = {(entry.id, r.address): r.state for entry in entries for r in entry.recipients}
    aside = {(e.id, r.address) for e in entries for r in e.recipients if r.reason.startswith("damaged: body file")}
    wrongs = [*await queue.check(), *told.wrongs(states, aside), *await _ends(queue, told)]
    wrongs += await _contents(queue, entries)
    wrongs += await _files(queue, entries)
    delivered = await _drained(queue)
    waiting = {r for r, state in states.items() if state in (State.QUEUED, State.DEFERRED)}
    wrongs += [f"{id} to {address} waits and cannot be claimed" for id, address in waiting - delivered]
    wrongs += await _taken(queue)
    kept = {id for id, _ in states} & told.unsure
    return Examined(tuple(wrongs), sum(map(told.again, delivered)), len(aside), len(kept))


async def _ends(queue: SqliteQueue, told: Told) -> list[str]:
    """What has its end stands in the ledger with it."""
    expected = {recipient: {"discarded"} for recipient in told.dropped}
    for recipient, fate in told.fates.items():
        if fate.sure is not None and fate.sure.ends and not fate.maybe:
            tidied = {"discarded"} if fate.sure is State.DELETED else set()
            expected[recipient] = {str(fate.sure), *tidied}
    wrongs = []
    for (id, address), states in expected.items():
        ends = {f.address: f.state for life in await queue.trace(id) for f in life.fates}
        if ends.get(address) not in states:
            wrongs.append(f"{id} to {address} was {min(states)}, the ledger says {ends.get(address)}")
    return wrongs


async def _contents(queue: SqliteQueue, entries: Sequence[QueuedEntry]) -> list[str]:
    wrongs = []
    for entry in entries:
        found = await queue.message(entry.id)
        if found is None or wire(found[0]) != expected(entry.id) or found[1]:
            wrongs.append(f"{entry.id} is not what was put: {found and found[1]}")
    return wrongs


def expected(id: str) -> bytes:
    """On the wire.  Ids of the version 1 file begin with a digit: its messages are all alike."""
    body = b"\r\nHello.\r\n" if id[0].isdigit() else content(id, size_of(id))
    return b"\r\n".join(h.replace(b"\n", b"\r\n") for h in HEADERS) + b"\r\n" + body


async def _files(queue: SqliteQueue, entries: Sequence[QueuedEntry]) -> list[str]:
    """After the sweep a body file has its message."""
    named = {entry.id for entry in entries}
    files = {name.removeprefix("spool-") for name in queue._bodies.names()}
    return [f"body file {name} stays and nobody names it" for name in files - named]


async def _drained(queue: SqliteQueue) -> set[Recipient]:
    delivered: set[Recipient] = set()
    for paused in await queue.paused():
        await queue.resume(paused.domain)
    for hop in {HOP, OTHER, *(due.next_hop for due in await queue.due(_EVER))}:
        claims = await queue.claim(hop, 1000, _EVER, 60.0)
        delivered |= {(claim.id, r.address) for claim in claims for r in claim.recipients}
        await asyncio.gather(*(queue.settle(settled(claim), _EVER) for claim in claims))
    return delivered


async def _taken(queue: SqliteQueue) -> list[str]:
    try:
        await queue.put(letter("S99", ("anna@example.jp",)))
        await queue.put(letter("L99", ("anna@example.jp",)))
    except QueueTrouble as trouble:
        return [f"takes no new mail: {trouble}"]
    return []
