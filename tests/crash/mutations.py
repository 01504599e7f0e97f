"""mutations: take each promise to the disk out of the code, and see that the suite finds it.

A suite that passes without an fsync does not test it.  Each mutation is made in the process of the story
alone; then the power fails at every moment with the luck that kept nothing, and with others.  The table
says which story found it.

    a wait       an fsync is not asked for
    an order     something is done before what had to be on the disk first
    a repair     what a failed fsync left is trusted
"""

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backupmx.queue import commit, incoming, ledger, orders, outcomes, schema
from backupmx.queue.bodies import Bodies
from backupmx.queue.commit import Work, Writer
from backupmx.queue.schema import Connection
from tests.crash.power import forgetful_disks, power_cuts
from tests.crash.result import Crash

_fsync = os.fsync


@dataclass(frozen=True, slots=True)
class Mutation:
    promise: str
    """What is taken out."""
    where: str
    apply: Callable[[], None]
    story: str = "evening"
    forgetful: bool = False
    """The promise matters only on a disk that failed once."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the suite said to a mutation."""

    mutation: Mutation
    points: int
    found: Crash | None
    """The first crash that showed it; None: nothing did."""

    @property
    def line(self) -> str:
        by = f"{self.found.kind}, {self.found.what}: {self.found.found.wrongs[0]}" if self.found else "nothing"
        return f"{self.mutation.promise} ({self.mutation.where}) | {self.points} | {by}"


def prove(mutation: Mutation, work: Path) -> Proof:
    """Until it is found."""
    tried = 0
    for crash in _cuts(mutation, work):
        tried += 1
        if crash.found.wrongs:
            return Proof(mutation, tried, crash)
    return Proof(mutation, tried, None)


def _cuts(mutation: Mutation, work: Path) -> Iterator[Crash]:
    cuts = forgetful_disks if mutation.forgetful else power_cuts
    return cuts(mutation.story, work, before=mutation.apply)


# What can be taken out


def _no_log() -> None:
    Connection.sync = lambda self: None  # type: ignore[method-assign]


def _without_fsync(method: str, folder: bool) -> Callable[[], None]:
    """`Bodies.method` does not ask for its file, or for the folder."""

    def apply() -> None:
        original = getattr(Bodies, method)

        def forgetful(self: Bodies, *arguments: Any) -> Any:
            os.fsync = lambda file: None if stat.S_ISDIR(os.fstat(file).st_mode) == folder else _fsync(file)
            try:
                return original(self, *arguments)
            finally:
                os.fsync = _fsync

        setattr(Bodies, method, forgetful)

    return apply


def _not_durable(module: Any, name: str) -> Callable[[], None]:
    """A kind of change is answered without waiting."""

    def apply() -> None:
        setattr(module, name, replace(getattr(module, name), durable=False))

    return apply


def _synchronous_off() -> None:
    schema._PRAGMAS = ("synchronous=OFF", *schema._PRAGMAS[1:])


def _removed_before_commit(module: Any, name: str) -> Callable[[], None]:
    """A body file goes inside the transaction that ends its message."""

    def apply() -> None:
        work: Work = getattr(module, name)

        def hasty(db: Connection, items: Any) -> Any:
            results = work.apply(db, items)
            folder = os.path.join(os.path.dirname(db.log), "bodies")
            for result in results:
                for file in result.files:
                    os.unlink(os.path.join(folder, file))
            return results

        setattr(module, name, replace(work, apply=hasty))

    return apply


def _answered_before_commit() -> None:
    """The sender reads 250 when the rows are written and before COMMIT."""
    transact = Writer._transact

    def eager(self: Writer, batch: Any) -> Any:
        if any(work is not incoming.PUT for work, _, _ in batch):
            return transact(self, batch)
        db = self._db = self._db or self._connect()
        self._begin(db)
        results = commit._together(db, batch)
        self._answer(list(batch), results)
        self._loop.call_soon_threadsafe(_after, self._loop, 10, read := threading.Event())
        read.wait(1.0)
        db.execute("COMMIT")
        db.sync()
        batch.clear()
        return []

    Writer._transact = eager  # type: ignore[method-assign]


def _after(loop: asyncio.AbstractEventLoop, turns: int, read: threading.Event) -> None:
    """The sender has read its answer: one turn of the loop for each that waits for another."""
    if turns:
        loop.call_soon(_after, loop, turns - 1, read)
    else:
        read.set()


def _not_again() -> None:
    """After a failed fsync the log is only asked for once more."""
    Connection.write_log_again = lambda self: os.fdatasync(self._log)  # type: ignore[method-assign]


def _a_checkpoint_instead() -> None:
    """After a failed fsync the log is emptied into the database."""
    begin = Writer._begin

    def emptied(self: Writer, db: Connection) -> None:
        if self._suspect and not db.in_transaction:
            self._suspect = False
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        begin(self, db)

    Writer._begin = emptied  # type: ignore[method-assign]


MUTATIONS = (
    Mutation("no wait for the log after COMMIT", "schema.py: Connection.sync", _no_log),
    Mutation("put does not wait", "incoming.py: PUT", _not_durable(incoming, "PUT")),
    Mutation("settle does not wait", "outcomes.py: SETTLE", _not_durable(outcomes, "SETTLE")),
    Mutation(
        "settle with a notice does not wait",
        "outcomes.py: SETTLE_WITH_NOTICE",
        _not_durable(outcomes, "SETTLE_WITH_NOTICE"),
    ),
    Mutation("an operator's word does not wait", "orders.py: CHANGE", _not_durable(orders, "CHANGE")),
    Mutation("what leaves the quarantine does not wait", "orders.py: EXPEL", _not_durable(orders, "EXPEL")),
    Mutation("what a rule drops does not wait", "ledger.py: RECORD", _not_durable(ledger, "RECORD")),
    Mutation("a body file is not synced", "bodies.py: write", _without_fsync("write", False)),
    Mutation("a body file's name is not synced", "bodies.py: write", _without_fsync("write", True)),
    Mutation("a spooled file is not synced", "bodies.py: adopt", _without_fsync("adopt", False)),
    Mutation("a spooled file's name is not synced", "bodies.py: adopt", _without_fsync("adopt", True)),
    Mutation("synchronous=OFF", "schema.py: _PRAGMAS", _synchronous_off, "morning"),
    Mutation("a body file goes before its removal is committed", "sqlite.py: settle",
             _removed_before_commit(outcomes, "SETTLE")),
    Mutation("a body file goes before its removal is committed", "sqlite.py: change",
             _removed_before_commit(orders, "CHANGE")),
    Mutation("a body file goes before its removal is committed", "sqlite.py: expel",
             _removed_before_commit(orders, "EXPEL")),
    Mutation("250 before COMMIT", "commit.py: _transact", _answered_before_commit),
    Mutation("after a failed fsync the log is not written again", "schema.py: write_log_again", _not_again, "morning",
             forgetful=True),
    Mutation("after a failed fsync the log is checkpointed", "commit.py: _ready_the_log", _a_checkpoint_instead,
             "morning", forgetful=True),
)  # fmt: skip
