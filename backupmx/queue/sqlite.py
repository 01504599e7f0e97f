"""sqlite: the queue of one machine.

    receive workers --put--> one file, WAL <--claim, settle-- relay
                               ▲ waiting, change, flush: the command line

Every process opens the queue for itself.  Changes go through one writer thread a
process (commit.py: what gathers while the disk works is one commit), reads
through one reader thread (reader.py).  Bodies up to 256 KiB
are in the database, larger ones are files in the folder `bodies` beside it.

    queue.db  queue.db-wal  queue.db-shm    0600      bodies/    0700

A power cut leaves what was committed, leases that run out or are ended by
`sweep`, and perhaps a body file that nobody names, which `sweep` removes.

Trouble
    QueueFull       less than min_free would be left, or the disk is full.
    QueueTrouble    I/O error, lock not had within 10 s, damaged database.  The
                    connection is made anew for the next call: what was mended
                    works again without a restart.
    damaged body    `claim` holds the entry, the journal says so.

Why is space inside the database counted as free?  SQLite keeps what delivered mail
leaves and fills it first; a disk that an outage filled would refuse mail for ever.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from backupmx.journal import Journal, silent
from backupmx.mail.message import Message
from backupmx.queue import (
    audit,
    claims,
    delays,
    facts,
    hops,
    incoming,
    ledger,
    listing,
    once,
    orders,
    outcomes,
    pauses,
    refusals,
    stock,
)
from backupmx.queue.account import Life, Sheet
from backupmx.queue.bodies import Bodies, Damaged, sync_folder
from backupmx.queue.commit import Uncertain, Work, Writer
from backupmx.queue.entry import (
    Claim,
    Due,
    FlushProgress,
    HopState,
    NewEntry,
    Outage,
    Paused,
    QueuedEntry,
    QueueFull,
    QueueTrouble,
    Settlement,
    State,
    Total,
)
from backupmx.queue.parcel import Parcel
from backupmx.queue.reader import Reader
from backupmx.queue.refusals import Group
from backupmx.queue.rows import IN_ROW, Packed, pack, text
from backupmx.queue.schema import PATIENCE, connect, migrate, trouble_of

_PAGE = 1000
_SPENT_AT_ONCE = 100


async def open_queue(
    store: str,
    *,
    min_free: int = 0,
    clock: Callable[[], float] = time.time,
    journal: Journal | None = None,
    on_commit: Callable[[], object] | None = None,
    patience: float = PATIENCE,
    fresh: float = 1.0,
    mark: str = "",
) -> "SqliteQueue":
    """The queue of `store`, "sqlite:/abs/path/queue.db"; made when it is not there.  Raises QueueTrouble.

    `on_commit` is called in the loop after each commit that may have made something due.
    `patience`: seconds that a lock may take; `fresh`: seconds that the disk's free space is remembered.
    `mark`: what the names of our body files end in, for `sweep_after`.
    """
    scheme, _, path = store.partition(":")
    if scheme != "sqlite" or not path:
        raise QueueTrouble(f"queue.store {store!r}: write sqlite:FILE")
    path, bodies = await asyncio.to_thread(_prepare, path, patience, mark)
    room = stock.Room(path, min_free, fresh)
    return SqliteQueue(path, bodies, room, clock, journal or silent(), on_commit, patience)


def _prepare(path: str, patience: float, mark: str) -> tuple[str, Bodies]:
    """Files with the right modes, tables of this version."""
    path = os.path.abspath(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _make(path)
        bodies = Bodies(os.path.join(os.path.dirname(path), "bodies"), mark)
        sync_folder(os.path.dirname(path))
    except OSError as error:
        raise trouble_of(error) from error
    migrate(path, patience=patience)
    return path, bodies


def _make(path: str) -> None:
    """The file, with its mode.  One that is there is not opened: closing it would give up every lock that other
    connections of this process have on it (sqlite.org/howtocorrupt.html 2.2), and the next process to end would
    take the log away under us.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass


class SqliteQueue:
    """Implements `entry.OperatedQueue`; each method's sentence is there."""

    def __init__(
        self,
        path: str,
        bodies: Bodies,
        room: stock.Room,
        clock: Callable[[], float],
        journal: Journal,
        on_commit: Callable[[], object] | None,
        patience: float,
    ) -> None:
        self.path = path
        self.body_folder = bodies.folder
        """Where a receiver may spool, for `put` to adopt."""
        self._bodies = bodies
        self._clock = clock
        self._journal = journal
        self._room = room
        self._writer = Writer(
            lambda: connect(path, writer=True, patience=patience),
            committed=on_commit,
            synced=journal.synced,
            patience=patience,
        )
        self._reader = Reader(lambda: connect(path, patience=patience))

    # In and out

    async def put(self, entry: NewEntry) -> None:
        """Returns when entry and recipients survive a power cut.  On trouble a spooled file stays the caller's."""
        large = _is_large(entry.message)
        await self._require_room(entry.message, large)
        packed = await self._pack(entry) if large else pack(entry)
        try:
            await self._writer.submit(incoming.PUT, packed)
        except Uncertain:
            raise  # a crash may bring the row back: the file waits for the next sweep
        except QueueTrouble:
            if packed.path is not None and entry.message.spool is None:
                await self._remove([packed.path])
            raise

    async def _require_room(self, message: Message, large: bool) -> None:
        """Raises QueueFull below the floor.  A spooled body is on the disk already."""
        more = 0 if message.spool is not None else _octets(message)
        try:
            if self._room.runs_short():
                await self.spend_quarantine()
            if self._room.enough(more):
                return
            if not large and self._room.enough(more - await self._reader.read(stock.reusable)):
                return
        except OSError as error:
            raise trouble_of(error) from error
        raise QueueFull("less than queue.min_free would be left")

    async def spend_quarantine(self) -> None:
        """While less than twice min_free is left the oldest of what rules discarded has its end."""
        while self._lacking(await self._reader.read(stock.reusable)):
            oldest = await self._reader.read(listing.oldest_quarantined, _SPENT_AT_ONCE)
            if not oldest:
                return
            now = self._clock()
            await asyncio.gather(*(self.expel(id, now) for id in oldest))

    def _lacking(self, reusable: int) -> bool:
        try:
            return self._room.lacking(reusable)
        except OSError as error:
            raise trouble_of(error) from error

    async def claim(self, next_hop: str, limit: int, now: float, lease: float) -> Sequence[Claim]:
        want = claims.Want(text(next_hop), limit, now, now + lease)
        return await self._load(await self._writer.submit(claims.LEASE, want))

    async def take(
        self, id: str, address: str = "", *, lease: float = 300.0, was: frozenset[State] | None = None
    ) -> Sequence[Claim]:
        now = self._clock()
        wish = claims.Take(text(id), text(address), now, now + lease, was)
        return await self._load(await self._writer.submit(claims.TAKE, wish))

    async def put_once(self, fact: str, before: str, after: str, entry: NewEntry | None) -> bool:
        """This small mail of our own (None: none) and the fact in one commit, if the fact is `before`."""
        if entry is not None:
            await self._require_room(entry.message, False)
        packed = pack(entry) if entry is not None else None
        return bool(await self._writer.submit(once.PUT_ONCE, once.Once(fact, before, after, packed)))

    async def fact(self, name: str) -> str:
        """ "": there is none of that name."""
        return str((await self._reader.read(facts.facts)).get(name, ""))

    async def record(self, entry: NewEntry) -> None:
        await self._writer.submit(ledger.RECORD, entry)

    async def settle(self, settlement: Settlement, now: float) -> bool:
        notice = None
        if settlement.notice is not None:
            large = _is_large(settlement.notice.message)
            notice = await self._pack(settlement.notice) if large else pack(settlement.notice)
        work = outcomes.SETTLE if notice is None else outcomes.SETTLE_WITH_NOTICE
        settled = await self._writer.submit(work, outcomes.Settling(settlement, now, notice))
        await self._remove(settled.files)
        return bool(settled.gone)

    async def late(self, before: float, limit: int) -> delays.Page:
        """What waits since before this time, behind the mark; delays.py."""
        return await self._reader.read(delays.late, before, limit)

    async def warned(self, mark: str, notices: Mapping[str, NewEntry]) -> Sequence[str]:
        """Put these notices, by the id of what they tell of, and set the mark.  -> of which messages one was put"""
        packed = [(id, pack(notice)) for id, notice in notices.items()]
        return list(await self._writer.submit(delays.WARNED_OF, delays.Warned(mark, packed)))

    async def give_back(self, claimed: Sequence[Claim]) -> None:
        if claimed:
            those = [(claim.id, [r.address for r in claim.recipients]) for claim in claimed]
            await asyncio.gather(*(self._writer.submit(claims.GIVE_BACK, one) for one in those))

    async def _load(self, leased: Sequence[claims.Leased]) -> Sequence[Claim]:
        """Leased recipients with their messages; the damaged ones are set aside instead."""
        if not leased:
            return []
        loaded = await self._reader.read(stock.load, self._bodies, leased)
        for id, why in loaded.damaged:
            await self._writer.submit(claims.SET_ASIDE, (id, f"damaged: {why}"))
            self._journal.damaged(id, why)
        await asyncio.gather(*(self._writer.submit(claims.GIVE_BACK, one) for one in loaded.left))
        return loaded.claims

    # Next hops

    async def due(self, now: float) -> Sequence[Due]:
        return await self._reader.read(hops.due, now)

    async def next_due(self, now: float) -> float | None:
        return await self._reader.read(hops.next_due, now)

    async def hop_states(self) -> Mapping[str, HopState]:
        return await self._reader.read(hops.states)

    async def outages(self, since: float) -> Sequence[Outage]:
        """When next hops were down: what ended since, and what lasts."""
        return await self._reader.read(hops.outages, since)

    async def set_hop_state(self, state: HopState) -> None:
        await self._writer.submit(hops.SET_HOP, state)

    async def hasten(self, next_hop: str, now: float, limit: int) -> int:
        return int(await self._writer.submit(hops.HASTEN, (text(next_hop), now, limit)))

    async def bring_forward(self, beyond: float, now: float) -> int:
        many = 0
        while some := int(await self._writer.submit(hops.BRING_FORWARD, (beyond, now))):
            many += some
        return many

    async def look_again(self, next_hops: Sequence[str]) -> None:
        await self._writer.submit(hops.LOOK_AGAIN, tuple(next_hops))

    async def reroute(self, route: Callable[[str], str], signature: str) -> int:
        """-> how many recipients have another next hop now."""
        asked = lru_cache(maxsize=10_000)(route)
        moved, after = 0, (0, -1)
        known = await self._reader.read(facts.facts)
        if known.get(facts.ROUTES) != signature or known.get(facts.REROUTING):
            # The signature first: what others put by other routes behind our back is unrouted from here on.
            await self._writer.submit(facts.SET_FACT, (facts.REROUTING, "yes"))
            await self._writer.submit(facts.SET_FACT, (facts.ROUTES, signature))
            while rows := await self._reader.read(hops.page, after, _PAGE):
                moved += await self._move(rows, asked)
                after = (rows[-1][0], rows[-1][1])
            await self._writer.submit(facts.SET_FACT, (facts.REROUTING, ""))
        while rows := await self._reader.read(hops.unrouted, _PAGE):
            moved += await self._move(rows, asked)
        return moved

    async def _move(self, rows: hops.Page, route: Callable[[str], str]) -> int:
        routes = [(entry, n, address, route(address)) for entry, n, address, _ in rows]
        moves = [new for new, old in zip(routes, rows, strict=True) if new != tuple(old)]
        return int(await self._writer.submit(hops.MOVE, moves)) if moves else 0

    # The operator

    async def waiting(self, *, after: str = "", limit: int = _PAGE, id: str = "") -> Sequence[QueuedEntry]:
        return await self._reader.read(listing.waiting, after, limit, text(id), self._clock())

    async def refused(self, *, after: str = "", limit: int = _PAGE, id: str = "") -> Sequence[QueuedEntry]:
        return await self._reader.read(listing.refused, after, limit, text(id), self._clock())

    async def refusals(self) -> Sequence[Group]:
        """What next hops refused, by next hop and kind of reason."""
        return await self._reader.read(refusals.groups)

    async def quarantined(self, *, after: str = "", limit: int = _PAGE, id: str = "") -> Sequence[QueuedEntry]:
        return await self._reader.read(listing.quarantined, after, limit, text(id), self._clock())

    async def overdue(self, before: float, max_size: int, limit: int = _PAGE) -> Sequence[tuple[str, float]]:
        return await self._reader.read(listing.overdue, before, max_size, limit)

    async def totals(self) -> Sequence[Total]:
        return await self._reader.read(stock.totals)

    async def change(
        self, id: str, address: str, state: State, *, now: float, reason: str = "", was: frozenset[State] | None = None
    ) -> int:
        """`was`: only those in one of these states, so that a word never meets mail that has gone on meanwhile."""
        word = orders.Change(text(id), text(address), state, now, reason, was)
        return await self._changed(id, await self._writer.submit(orders.CHANGE, word))

    async def expel(self, id: str, now: float) -> int:
        return await self._changed(id, await self._writer.submit(orders.EXPEL, (text(id), now)))

    async def _changed(self, id: str, changed: orders.Changed) -> int:
        await self._remove(changed.files)
        if changed.gone:
            self._journal.removed(id)
        return changed.many

    async def flush(self, domains: Sequence[str], now: float) -> int:
        return (await self.start_flush(domains, now)).total

    async def start_flush(self, domains: Sequence[str], now: float) -> FlushProgress:
        left: orders.Flush | None = orders.Flush(tuple(domains), now)
        key = 0
        while left is not None:
            key, left = await self._writer.submit(orders.FLUSH, left)
        begun = await self.progress(key)
        assert begun is not None  # it is a second old
        return begun

    async def pause(self, domain: str, now: float) -> int:
        domain = text(domain.lower())
        await self._writer.submit(pauses.PAUSE, (domain, now))
        await self._in_portions(pauses.HOLD_BACK, domain)
        return next((one.recipients for one in await self.paused() if one.domain == domain), 0)

    async def resume(self, domain: str) -> bool:
        domain = text(domain.lower())
        await self._in_portions(pauses.LET_GO, domain)
        return bool(await self._writer.submit(pauses.RESUME, domain))

    async def _in_portions(self, work: Work, domain: str) -> None:
        after: pauses.Key | None = pauses.FIRST
        while after is not None:
            after = await self._writer.submit(work, (domain, after))

    async def paused(self) -> Sequence[Paused]:
        return await self._reader.read(pauses.paused)

    async def progress(self, flush: int) -> FlushProgress | None:
        return await self._reader.read(orders.progress, flush, self._clock())

    async def message(self, id: str) -> tuple[Message, str] | None:
        return await self._reader.read(stock.message, self._bodies, text(id))

    async def parcel(self, id: str) -> tuple[Parcel, Message] | None:
        return await self._reader.read(stock.parcel, self._bodies, text(id))

    async def check(self) -> Sequence[str]:
        faults = await self._reader.read(stock.check, self._bodies)
        try:
            return [*faults, *(str(sheet) for sheet in await self.account() if sheet.missing)]
        except QueueTrouble as trouble:
            return [*faults, f"the account cannot be read: {trouble}"]

    # The account of all mail

    async def account(self, domain: str = "", day: int | None = None) -> Sequence[Sheet]:
        return await self._reader.read(audit.account, text(domain), day)

    async def trace(self, word: str, limit: int = _PAGE) -> Sequence[Life]:
        return await self._reader.read(audit.trace, text(word), limit)

    async def life(self, id: str) -> Life | None:
        return await self._reader.read(audit.life, text(id))

    async def prune(self, before: float) -> None:
        after: str | None = ""
        while after is not None:
            after = await self._writer.submit(ledger.PRUNE, ledger.Prune(before, after))

    async def end_leases(self) -> None:
        await self._writer.submit(claims.END_LEASES, None)

    async def sweep(self) -> Sequence[str]:
        await self.end_leases()
        return await self._reader.read(stock.sweep, self._bodies)

    async def sweep_after(self, mark: str) -> Sequence[str]:
        return await self._reader.read(stock.sweep, self._bodies, mark)

    async def close(self) -> None:
        """Commits what was asked for, then ends.  A second time: nothing."""
        try:
            await self._writer.close()
        finally:
            await self._reader.close()

    # Threads

    async def _pack(self, entry: NewEntry) -> Packed:
        """Off the loop: the body on the disk, and summed."""
        try:
            return await asyncio.to_thread(self._pack_file, entry)
        except OSError as error:
            raise trouble_of(error, entry.id) from error
        except Damaged as damage:  # between the receiver and here: it has no 250 yet
            raise QueueTrouble(f"{entry.id}: {damage}") from damage

    def _pack_file(self, entry: NewEntry) -> Packed:
        spool = entry.message.spool
        if spool is not None:
            name = self._bodies.adopt(spool)
            return pack(entry, path=name, start=spool.offset, summed=partial(self._bodies.sum, name, spool.offset))
        return pack(entry, path=self._bodies.write(entry.id, entry.message.body))

    async def _remove(self, files: Sequence[str]) -> None:
        """After the commit.  What cannot be removed now is swept at the next start."""
        if files:
            try:
                await asyncio.to_thread(self._bodies.remove, files)
            except OSError as error:
                self._journal.queue_trouble(f"body file stays until the next start: {error}")


def _is_large(message: Message) -> bool:
    return message.spool is not None or _octets(message) > IN_ROW


def _octets(message: Message) -> int:
    return sum(len(part) for part in message.body)
