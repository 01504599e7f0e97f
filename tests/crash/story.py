"""story: lives of a queue in which everything happens that touches the disk.

    evening    a new queue: put (small, large, spooled, held, discarded), claim, deliver, defer, refuse, return
               with a notice, hold, release, delete, drop, flush, tidy the quarantine, checkpoints, close
    morning    a start on what an evening left that ended in a crash: pause, resume, new routes, the log begins anew
    inherited  a morning on a queue file of version 1 with mail in it: the migration comes first
    crowd      many at once, in an order of chance: put, claim, settle
    pair       the same in two processes, one puts, the other relays

In the first three one thing happens after the other, so that the N-th write of a file is the same write
in each run.  Everything is said to descriptor 1, a write each (told.py).
"""

import asyncio
import os
import random
import select
import shutil
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from backupmx.mail.message import Buffer, Spool
from backupmx.queue import schema
from backupmx.queue.commit import Uncertain
from backupmx.queue.entry import Claim, NewEntry, Outcome, QueueTrouble, Settlement, State
from backupmx.queue.quarantine import Quarantine
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, OTHER, entry

Change: TypeAlias = tuple[str, str, State]
"""id, address, what becomes of it"""

LARGE = 270_000
"""Octets of a body that goes to a file."""

VERSION_1 = Path(__file__).parents[1] / "queue" / "version_1.sql"

_CHECKPOINT = "wal_autocheckpoint=40"
"""Often, so that there are moments in it."""


def content(id: str, size: int) -> bytes:
    """The body of a message, known from its id: what comes back must be this."""
    return b"\r\n" + (f"{id} ".encode() * (size // (len(id) + 1) + 1))[:size]


def size_of(id: str) -> int:
    """Ids tell: L... is large, all others are not."""
    return LARGE if id[0] == "L" else 3_000


def say(*lines: str) -> None:
    """One write: what is there is whole."""
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


def _say(word: str, changes: Iterable[Change]) -> None:
    if lines := [f"{word} {id} {address} {state}" for id, address, state in changes]:
        say(*lines)


class Teller:
    """Does a thing and says so, before and after."""

    def __init__(self, queue: SqliteQueue) -> None:
        self.queue = queue

    async def do(self, doing: Awaitable[object], *changes: Change, putting: bool = False) -> bool:
        """A put that fails is refused.  Of anything else that fails nobody was told that it did not happen."""
        _say("begin", changes)
        try:
            result = await doing
        except QueueTrouble as trouble:
            _say("failed" if putting and not isinstance(trouble, Uncertain) else "unsure", changes)
            return False
        _say("void" if type(result) is int and not result else "end", changes)
        return True

    async def put(self, id: str, *recipients: str, state: State = State.QUEUED, spool: bool = False) -> bool:
        """`recipients`: anna by HOP, oskar (whoever begins with o) by OTHER."""
        new = letter(id, recipients or ("anna@example.jp",), state)
        if spool:
            path = os.path.join(self.queue.body_folder, f"spool-{id}")
            try:
                _spool(path, new.message.body[0])
            except OSError:
                return False  # the receiver says 451 and there is nothing to put
            new = replace(new, message=replace(new.message, spool=Spool(path, 11)))
        changes = [(id, r.address, r.state) for r in new.recipients]
        return await self.do(self.queue.put(new), *changes, putting=True)

    async def drop(self, id: str) -> None:
        """A rule drops it at the door: it is in the account and nowhere else."""
        try:
            await self.queue.record(letter(id, ("anna@example.jp",), State.DISCARDED))
        except QueueTrouble:
            return  # 451: its sender comes again
        say(f"dropped {id} anna@example.jp")

    async def order(self, id: str, address: str, state: State, *, of: Sequence[str] = ()) -> bool:
        """An operator's word."""
        change = self.queue.change(id, address, state, now=NOW)
        return await self.do(change, *((id, name, state) for name in of or (address,)))


def _spool(path: str, body: Buffer) -> None:
    """As the receiver does while the message comes in."""
    with open(path, "xb", buffering=0) as file:
        file.write(b"Received: x")
        file.write(body)


def letter(id: str, recipients: Sequence[str], state: State = State.QUEUED) -> NewEntry:
    new = entry(*recipients, id=id, state=state, body=content(id, size_of(id)))
    return replace(new, recipients=tuple(replace(r, next_hop=hop_of(r.address)) for r in new.recipients))


def hop_of(address: str) -> str:
    return OTHER if address[0] == "o" else HOP


# The scripted life


Plan: TypeAlias = dict[tuple[str, str], deque[State]]

PLAN = {
    ("S01", "anna@example.jp"): (State.DELIVERED,),
    ("S02", "anna@example.jp"): (State.REFUSED,),
    ("S02", "oskar@example.net"): (State.BOUNCED,),
    ("L03", "anna@example.jp"): (State.DEFERRED, State.DELIVERED),
    ("L04", "anna@example.jp"): (State.DEFERRED, State.BOUNCED),
    ("S05", "anna@example.jp"): (State.DEFERRED, State.DEFERRED, State.DEFERRED),
    ("S06", "anna@example.jp"): (State.EXPIRED,),
    ("S09", "berta@example.jp"): (State.DEFERRED,) * 9,
}
"""What the primary does to whom, try by try; else it takes the mail."""


async def evening(store: str, *, closing: bool = True) -> None:
    async with opened(store) as queue:
        await _evening(Teller(queue), _plan())
        if not closing:
            os._exit(0)


async def morning(store: str) -> None:
    async with opened(store) as queue:
        await _morning(Teller(queue), _plan())


def _plan() -> Plan:
    return {recipient: deque(states) for recipient, states in PLAN.items()}


@asynccontextmanager
async def opened(store: str, *, sweep: bool = True) -> AsyncIterator[SqliteQueue]:
    """As the appliance does at its start.  A disk that does not even let it start is tried again."""
    for attempt in range(30):
        try:
            queue = await open_queue(store, patience=2.0, clock=lambda: NOW)
            try:
                await (queue.sweep() if sweep else queue.end_leases())
            except QueueTrouble:
                await queue.close()
                raise
            break
        except QueueTrouble:
            if attempt == 29:
                raise
    say("word open")
    try:
        yield queue
    finally:
        await queue.close()


async def _evening(teller: Teller, plan: Plan) -> None:
    queue = teller.queue
    await teller.put("S01")
    await teller.put("S02", "anna@example.jp", "oskar@example.net")
    await teller.put("L03")
    await teller.put("L04", spool=True)
    await teller.put("S05", state=State.HELD)
    await teller.put("S06", state=State.DISCARDED)
    await teller.put("L07", state=State.DISCARDED)
    await teller.put("L08")
    await teller.put("S09", "anna@example.jp", "berta@example.jp")
    await relay(teller, plan, round=1)
    await teller.order("S05", "", State.QUEUED, of=["anna@example.jp"])
    await teller.do(Quarantine(queue).release("S06", now=NOW), ("S06", "anna@example.jp", State.QUEUED))
    await teller.do(queue.start_flush((), NOW + 10))
    await relay(teller, plan, round=2)
    await teller.order("S09", "berta@example.jp", State.HELD)
    await tidy(teller)
    await teller.drop("D12")
    await teller.put("L10", state=State.HELD)
    await teller.order("L10", "anna@example.jp", State.DELETED)
    await teller.put("S11", "anna@example.jp", "berta@example.jp")
    await teller.order("S11", "berta@example.jp", State.DELETED)
    await _at_last(teller)


async def tidy(teller: Teller) -> None:
    """All of the quarantine is old."""
    try:
        old = await teller.queue.quarantined()
    except QueueTrouble:
        return
    changes = [(listed.id, r.address, State.DELETED) for listed in old for r in listed.recipients]
    await teller.do(Quarantine(teller.queue).tidy(NOW + 1000, keep=10.0, max_size=1 << 30), *changes)


async def _morning(teller: Teller, plan: Plan) -> None:
    queue = teller.queue
    await teller.do(queue.reroute(hop_of, "routes of the morning"))
    await teller.do(queue.pause("example.net", NOW))
    await teller.put("S12", "anna@example.jp", "oskar@example.net")
    await teller.put("L13", spool=True)
    await relay(teller, plan, round=3)
    await teller.do(queue.resume("example.net"))
    await relay(teller, plan, round=4)
    for n in range(14, 24):  # long enough for the log to begin anew
        await teller.put(f"{'L' if n == 18 else 'S'}{n}")
    await relay(teller, plan, round=5)
    await _at_last(teller)


async def _at_last(teller: Teller) -> None:
    """Mail is taken, sooner or later, if the disk lets it."""
    for n in range(30, 80):
        if await teller.put(f"S{n}"):
            say("word works")
            return


async def relay(teller: Teller, plan: Plan, *, round: int) -> None:
    """Claim what is due, ask the primary, settle; the first claim of the second round is given back."""
    queue, now = teller.queue, NOW + round * 100.0
    for hop in (HOP, OTHER):
        try:
            claims = await queue.claim(hop, 20, now, 60.0)
        except QueueTrouble:
            continue
        for n, claim in enumerate(claims):
            if (round, n) == (2, 0):
                await teller.do(queue.give_back([claim]))
            else:
                await deliver(teller, plan, claim, now)


async def deliver(teller: Teller, plan: Plan, claim: Claim, now: float) -> None:
    outcomes, changes, notice = [], [], None
    for r in claim.recipients:
        states = plan.get((claim.id, r.address))
        state = states.popleft() if states else State.DELIVERED
        outcomes.append(Outcome(r.address, state, "said", "2.0.0", next_attempt=now + 50.0))
        changes.append((claim.id, r.address, state))
        if state is State.DELIVERED:
            say(f"primary {claim.id} {r.address}")
        elif state is State.BOUNCED:  # its notice: large for a large message
            notice = letter(f"{claim.id}N", ("anna@example.jp",))
            changes.append((notice.id, "anna@example.jp", State.QUEUED))
    await teller.do(teller.queue.settle(Settlement(claim.id, tuple(outcomes), notice), now), *changes)


# Many at once


async def crowd(store: str) -> None:
    putting = True

    async def put() -> None:
        nonlocal putting
        await _put(store)
        putting = False

    await asyncio.gather(put(), _relay(store, lambda: putting))


def pair(store: str) -> None:
    """Parent puts, child relays until the parent has closed the pipe."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(reader)
        asyncio.run(_put(store))
        os.close(writer)
        os.wait()
        return
    os.close(writer)
    asyncio.run(_relay(store, lambda: not select.select([reader], [], [], 0)[0]))
    os._exit(0)


async def _put(store: str) -> None:
    left = [f"{'L' if n % 9 == 4 else 'S'}{n:02}" for n in range(60)]
    async with opened(store) as queue:

        async def client() -> None:
            while left:
                id = left.pop()
                await Teller(queue).put(
                    id, "anna@example.jp", "berta@example.jp", spool=id[0] == "L" and id[-1] in "13579"
                )

        await asyncio.gather(*(client() for _ in range(8)))


async def _relay(store: str, more: Callable[[], bool]) -> None:
    async with opened(store, sweep=False) as queue:

        async def connection() -> None:
            while more():
                for claim in await queue.claim(HOP, 3, NOW, 60.0):
                    await _attempt(Teller(queue), claim, random.random())
                await asyncio.sleep(0.005)

        await asyncio.gather(connection(), connection())


async def _attempt(teller: Teller, claim: Claim, chance: float) -> None:
    if chance < 0.2:
        await teller.queue.give_back([claim])
        return
    state = State.DEFERRED if chance < 0.4 else State.DELIVERED
    if state is State.DELIVERED:
        say(*(f"primary {claim.id} {r.address}" for r in claim.recipients))
    outcomes = tuple(Outcome(r.address, state, "said", "2.0.0", next_attempt=9e9) for r in claim.recipients)
    changes = [(claim.id, r.address, state) for r in claim.recipients]
    await teller.do(teller.queue.settle(Settlement(claim.id, outcomes), NOW), *changes)


# The process


def tell(name: str, folder: Path) -> None:
    """The whole of a story, in this process."""
    _often()
    store = f"sqlite:{folder}/queue.db"
    if name == "pair":
        pair(store)
    else:
        asyncio.run(crowd(store) if name == "crowd" else evening(store) if name == "evening" else morning(store))


def _often() -> None:
    """Checkpoints, so that there are moments in them."""
    schema._PRAGMAS = (*(p for p in schema._PRAGMAS if "checkpoint" not in p), _CHECKPOINT)


def furnish(name: str, folder: Path) -> str:
    """Make what the story finds.  -> what was said of it before"""
    shutil.rmtree(folder, ignore_errors=True)
    if name not in ("morning", "inherited"):
        folder.mkdir(parents=True)
        return ""
    kept, told = folder.with_name(f"before-{name}"), folder.with_name(f"before-{name}.said")
    if not kept.exists():
        kept.mkdir(parents=True)
        told.write_text(_an_evening(kept, told) if name == "morning" else _version_1(kept))
    shutil.copytree(kept, folder)
    return told.read_text()


def _an_evening(folder: Path, said: Path) -> str:
    """It ends in a kill: the log is not emptied, leases stay."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return said.read_text()
    try:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
        _often()
        asyncio.run(evening(f"sqlite:{folder}/queue.db", closing=False))
    finally:
        os._exit(1)


def _version_1(folder: Path) -> str:
    """Mail that was put when the tables were of version 1."""
    db = sqlite3.connect(folder / "queue.db")
    db.executescript(VERSION_1.read_text())
    db.execute("PRAGMA user_version = 1")
    rows = db.execute("SELECT id, address, state FROM entry JOIN recipient ON entry = key").fetchall()
    db.close()
    return "".join(f"end {id} {address} {state}\n" for id, address, state in rows)
