"""commit: one thread that commits whatever has gathered.

A commit costs one wait for the disk, however much is in it.  So everything
that changes the queue in this process goes through one thread: while it waits
for the disk the next changes gather, and go together in the next commit.
Nothing waits for company: a change that comes alone is committed alone.

    put, settle, claim ... --submit--> turn --inbox--> one transaction --> futures, all at once

What is submitted in one turn of the loop goes to the thread together: it wakes once,
not once a change, and what ended together is committed together.

Work is done a kind at a time (all puts in a few statements).  When one item is
bad, the transaction starts anew with each item behind its own savepoint, and
only that one fails.

Between processes SQLite's own lock decides.  Waiting for it is a wait, not an
error, until `patience` is over.  Nobody waits for the disk while holding it.

Trouble
    QueueFull, QueueTrouble   for every item of the transaction; the connection
                    is given up and made anew for the next one.
    Uncertain       COMMIT or the wait for the disk failed: the change may turn
                    out to have been made.  Still 451, and mail that was put is taken
                    out again; only a crash in that moment brings it back.
                    After a failed wait the log may have a hole that the kernel
                    no longer knows of, and nothing behind a hole survives: so
                    all of it is written again before the next promise.

Why many rows in one statement?  Each step of a statement gives Python's lock
away, and on a busy process the event loop keeps it for up to 5 ms.
"""

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

from backupmx.queue.entry import QueueTrouble
from backupmx.queue.legible import forgiving, is_illegible
from backupmx.queue.schema import PATIENCE, Connection, is_world, trouble_of, when_free

_MOST = 500
"""Items of one turn in one transaction, or of several until there are as many: the first does not wait for ever."""


class Uncertain(QueueTrouble):
    """The commit failed; a crash may still bring the change to light."""


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of change: what is done with all items of one transaction."""

    apply: Callable[[Connection, Sequence[Any]], Sequence[Any]]
    """-> one result an item."""
    durable: bool = True
    """The commit waits for the disk."""
    rings: bool = False
    """Something may be due now: tell whoever relays."""
    undo: Callable[[Connection, Sequence[Any]], object] | None = None
    """Takes it back when it is committed and the wait for the disk failed."""


Job: TypeAlias = "tuple[Work, Any, asyncio.Future[Any]]"


class Writer:
    """The thread.  Made inside a running loop; futures belong to that loop."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        committed: Callable[[], object] | None = None,
        synced: Callable[[float], object] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._connect = connect
        self._committed = committed
        self._synced = synced
        self._waited = 0.0
        self._patience = patience
        self._db: Connection | None = None
        self._loop = asyncio.get_running_loop()
        self._turn: list[Job] = []
        self._inbox: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
        self._closed = False
        self._suspect = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="queue-commit", daemon=True)
        self._thread.start()

    def submit(self, work: Work, item: Any) -> asyncio.Future[Any]:
        """Its future gets the result once the transaction is committed."""
        if self._closed:
            raise QueueTrouble("the queue is closed")
        if os.getpid() != self._process:
            raise RuntimeError("a queue belongs to the process that opened it: open it after fork")
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._turn:
            self._loop.call_soon(self._end_turn)
        self._turn.append((work, item, future))
        return future

    def _end_turn(self) -> None:
        jobs, self._turn = self._turn, []
        for at in range(0, len(jobs), _MOST):
            self._inbox.put(jobs[at : at + _MOST])

    async def close(self) -> None:
        """Commit what was submitted, then end."""
        if not self._closed:
            self._closed = True
            self._end_turn()
            self._inbox.put(())
        await asyncio.to_thread(self._thread.join)

    # From here on: the thread.

    def _run(self) -> None:
        while batch := self._gather():
            self._answer(batch, self._attempt(batch))
        self._give_up()

    def _gather(self) -> Sequence[Job]:
        """Wait for something, then take all there is.  Empty: the end."""
        batch: list[Job] = []
        jobs = self._inbox.get()
        try:
            while jobs:
                batch.extend(jobs)
                if len(batch) >= _MOST:
                    return batch
                jobs = self._inbox.get_nowait()
        except queue.Empty:
            return batch
        if batch:
            self._inbox.put(())  # the end comes after these
        return batch

    def _attempt(self, batch: Sequence[Job]) -> Sequence[Any]:
        """-> a result or an exception for each.  Nothing a job does ends the thread."""
        try:
            return self._transact(batch)
        except QueueTrouble as trouble:
            self._give_up()
            return [type(trouble)(*trouble.args) for _ in batch]
        except Exception as error:  # a thread's border: whoever waits must hear of it, and the next batch counts
            self._give_up()
            return [trouble_of(error) if is_world(error) else error for _ in batch]

    def _transact(self, batch: Sequence[Job]) -> Sequence[Any]:
        db = self._db = self._db or self._connect()
        self._begin(db)
        self._ready_the_log(db)
        try:
            results = _together(db, batch)
        except Exception as error:
            _rollback(db)
            if is_world(error) and not is_illegible(error):
                raise
            self._begin(db)
            results = _forgiven(db, batch) if is_illegible(error) else _each_alone(db, batch)
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self._suspect = True  # one of SQLite's own waits may have failed
            raise _uncertain(error) from error
        if any(work.durable for work, _, _ in batch):
            self._wait_for_the_disk(db, batch)
        return results

    def _ready_the_log(self, db: Connection) -> None:
        """Nothing is promised behind a hole."""
        try:
            db.open_log()  # before COMMIT: what can fail fails while nothing has happened
            if self._suspect:
                db.write_log_again()
                self._suspect = False
        except OSError as error:
            raise trouble_of(error) from error

    def _wait_for_the_disk(self, db: Connection, batch: Sequence[Job]) -> None:
        """What fails here is committed, full disk or not."""
        began = perf_counter()
        try:
            db.sync()
            self._waited = perf_counter() - began
        except OSError as error:
            self._suspect = True
            self._take_back(db, batch)
            raise Uncertain(*trouble_of(error).args) from error

    def _take_back(self, db: Connection, batch: Sequence[Job]) -> None:
        """At once, before anybody sees it.  If the power fails now it may come to light all the same."""
        try:
            self._begin(db)
            for work, item, _ in batch:
                if work.undo is not None:
                    work.undo(db, [item])
            db.execute("COMMIT")
        except sqlite3.Error:
            _rollback(db)  # then it stays: its sender comes again, and twice is better than never

    def _begin(self, db: Connection) -> None:
        """BEGIN IMMEDIATE.  Another process's commit is over within a millisecond or few: look often."""
        when_free(db, "BEGIN IMMEDIATE", self._patience, 0.0003)

    def _give_up(self) -> None:
        """The next transaction gets a new connection: what was wrong may be mended."""
        if self._db is not None:
            try:
                self._db.close()  # rolls back what is open
            except sqlite3.Error:
                pass  # it is the broken one; its transaction ends with it
            self._db = None

    def _answer(self, batch: Sequence[Job], results: Sequence[Any]) -> None:
        waited, self._waited = self._waited, 0.0
        try:
            self._loop.call_soon_threadsafe(self._resolve, batch, results, waited)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more, what is committed is committed

    def _resolve(self, batch: Sequence[Job], results: Sequence[Any], waited: float) -> None:
        """In the loop: all futures of one commit at once, and how long the disk took."""
        rings = False
        if waited and self._synced is not None:
            self._synced(waited)
        for (work, _, future), result in zip(batch, results, strict=True):
            failed = isinstance(result, BaseException)
            rings = rings or (work.rings and not failed)
            if future.cancelled():
                continue
            if failed:
                future.set_exception(result)
            else:
                future.set_result(result)
        if rings and self._committed is not None:
            self._committed()


def _together(db: Connection, batch: Sequence[Job]) -> Sequence[Any]:
    """All items, a kind at a time."""
    kinds: dict[int, list[int]] = {}
    for at, (work, _, _) in enumerate(batch):
        kinds.setdefault(id(work), []).append(at)
    results: list[Any] = [None] * len(batch)
    for places in kinds.values():
        work = batch[places[0]][0]
        for at, result in zip(places, work.apply(db, [batch[at][1] for at in places]), strict=True):
            results[at] = result
    return results


def _forgiven(db: Connection, batch: Sequence[Job]) -> Sequence[Any]:
    """One damaged row keeps nobody waiting: what is read of it is marked (legible.py)."""
    with forgiving(db):
        return _each_alone(db, batch)


def _each_alone(db: Connection, batch: Sequence[Job]) -> Sequence[Any]:
    """Behind a savepoint each: the bad one fails, the others are done."""
    results: list[Any] = []
    for work, item, _ in batch:
        db.execute("SAVEPOINT one")
        try:
            results.extend(work.apply(db, [item]))
        except Exception as error:
            if is_world(error):
                _rollback(db)
                raise
            db.execute("ROLLBACK TO one")
            db.hops.clear()
            results.append(trouble_of(error) if isinstance(error, sqlite3.IntegrityError) else error)
        db.execute("RELEASE one")
    return results


def _uncertain(error: sqlite3.Error) -> QueueTrouble:
    """Why COMMIT failed.  Made here: a frame of its own traceback that knew it would keep the whole transaction."""
    trouble = trouble_of(error)
    return Uncertain(*trouble.args) if type(trouble) is QueueTrouble else trouble


def _rollback(db: Connection) -> None:
    db.hops.clear()
    if db.in_transaction:  # after some errors SQLite has rolled back by itself
        db.execute("ROLLBACK")
