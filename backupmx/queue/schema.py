"""schema: the database file, its version, and what its errors mean.

    connect     a connection as every thread of ours wants it
    migrate     a new or older file -> this version's tables
    one_state   several readings of one moment
    trouble_of  what SQLite says -> QueueFull or QueueTrouble

The file is in WAL mode: readers never wait for the writer, nor it for them.

A promise is two steps: COMMIT, which writes the log while it holds the lock,
and `Connection.sync`, which waits for the disk when it has let go of it.
`synchronous=FULL` would wait with the lock held, and every process for the waits of
all others; ours overlap, and the disk answers them together.  NORMAL keeps the
rest of FULL's order (the log's header after a restart of the log, log before
database and database before log at a checkpoint: sqlite.org/pragma.html
#pragma_synchronous), so what `sync` has seen survives a power cut, and what it has
not is gone or there as a whole.  A claim need not survive: it never waits.

Trouble
    QueueTrouble  no database, a damaged one, one of a newer version; all in
                  a sentence for the log.

After fork a child must not touch SQLite while it inherits an open connection:
sqlite.org/howtocorrupt.html 2.6.  `connect` refuses.

Why secure_delete=OFF?  Debian builds SQLite to overwrite what is deleted; every
delivered message would be written twice.  Disks are encrypted, not shredded.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources

from backupmx.queue.entry import QueueFull, QueueTrouble
from backupmx.queue.turns import Turns

STEPS: Sequence[str] = ("schema.sql", "from_1.sql", "from_2.sql", "from_3.sql")
"""What is done to a file of version 0 (it is new: the whole, at once), 1 (to 2), 2 ..."""

VERSION = len(STEPS)

OLDEST = (3, 38)

PATIENCE = 10.0
"""Seconds that anything waits for the database's lock before it is trouble."""


_PRAGMAS = (
    "synchronous=NORMAL",
    "secure_delete=OFF",
    "temp_store=MEMORY",
    "cache_size=-8192",
    # 16 MB: mail that is delivered within seconds is overwritten in the log, not copied to the file first.
    "wal_autocheckpoint=4000",
)

_PIECE = 1 << 20

_SAVE = "; nothing in it was changed: keep a copy, and see docs/durability.md for what can be saved"
_OWN = "; the owner of it, of its -wal and of its folder must be the user that backupmx runs as (chown -R)"
_REMEDIES = {
    sqlite3.SQLITE_CORRUPT: _SAVE, sqlite3.SQLITE_NOTADB: _SAVE, sqlite3.SQLITE_CANTOPEN: _OWN,
    sqlite3.SQLITE_READONLY: _OWN, sqlite3.SQLITE_PERM: _OWN,
}  # fmt: skip
"""By what SQLite says: what an operator can do."""

_open: dict[int, int] = {}
"""Open connections and the process that opened them."""


class Connection(sqlite3.Connection):
    """One thread's connection, with what that thread remembers of it."""

    hops: dict[str, int]
    """Next hops by name, as far as this connection met them; emptied when a transaction fails."""
    turns: Turns
    """Who has put how much lately."""
    log: str
    """The write-ahead log: PATH-wal."""
    _log: int = -1

    def close(self) -> None:
        _open.pop(id(self), None)
        if self._log >= 0:
            os.close(self._log)
            self._log = -1
        super().close()

    def open_log(self) -> None:
        """For `sync`.  Raises OSError.

        Closing this descriptor gives up no lock: SQLite's are on the database and PATH-shm.  The log is never
        another file while a connection is open.
        """
        if self._log < 0:
            self._log = os.open(self.log, os.O_RDWR | os.O_CLOEXEC)

    def sync(self) -> None:
        """Wait until all that was committed before survives a power cut.  Raises OSError."""
        self.open_log()
        os.fdatasync(self._log)

    def write_log_again(self) -> None:
        """After a failed `sync`, in a transaction of ours: the log whole on the disk.  Raises OSError.

        A page that could not be written is clean for the kernel: no later fsync asks for it, and it has the
        right octets only in memory.  So every octet is written again, as it stands.

        Why no checkpoint instead?  It brings newer pages into the database while the log on the disk has a
        hole; if the power fails before the log is emptied, what stands before the hole is played over them.
        """
        self.open_log()
        at = 0
        while piece := os.pread(self._log, _PIECE, at):
            at += os.pwrite(self._log, piece, at)
        os.fdatasync(self._log)


def connect(path: str, *, writer: bool = False, patience: float = PATIENCE) -> Connection:
    """A connection for one thread of this process.  Raises sqlite3.Error."""
    if any(process != os.getpid() for process in list(_open.values())):
        # It remembers the parent's locks as its own, and would write where it must not.
        raise RuntimeError("this process was forked from one that has the queue open; close it before fork")
    db = sqlite3.connect(
        path,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
        cached_statements=256,
    )
    _open[id(db)] = os.getpid()
    db.hops = {}
    db.turns = Turns()
    db.log = f"{path}-wal"
    try:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        if writer:  # it waits by itself, finer than SQLite's own steps of up to 100 ms: commit.py
            db.execute("PRAGMA busy_timeout=0")
    except sqlite3.Error:
        db.close()
        raise
    return db


def migrate(path: str, *, patience: float = PATIENCE) -> None:
    """Make the file what this version expects.  Raises QueueTrouble."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise QueueTrouble(
            f"Python's SQLite is {sqlite3.sqlite_version}; the queue wants 3.38 or later (RETURNING, JSON)"
        )
    _with(path, patience, lambda db: _migrate(db, path, patience))
    # And again, with the log that the first one left: if the power failed while the file became one with a log, the
    # old log is there and the file's header says nothing of it.  SQLite then reads the log, and leaves the header.
    _with(path, patience, lambda db: _log_ahead(db, patience))


def _with(path: str, patience: float, work: Callable[[Connection], None]) -> None:
    try:
        db = connect(path, patience=patience)
    except sqlite3.Error as error:
        raise trouble_of(error, path) from error
    try:
        work(db)
    except sqlite3.Error as error:
        raise trouble_of(error, path) from error
    finally:
        db.close()


def _migrate(db: Connection, path: str, patience: float) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise QueueTrouble(
            f"{path} was written by a newer backupmx (its tables are version {version}, "
            f"this one knows {VERSION}): upgrade backupmx, or give it another queue.store"
        )
    _log_ahead(db, patience)
    while version < VERSION:
        db.execute("BEGIN IMMEDIATE")  # another process may have been faster: look again inside
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < VERSION:
            for statement in _statements(resources.files("backupmx.queue").joinpath(STEPS[version]).read_text()):
                db.execute(statement)
            version = version + 1 if version else VERSION
            db.execute(f"PRAGMA user_version={version}")
        db.execute("COMMIT")


def _log_ahead(db: Connection, patience: float) -> None:
    """WAL mode, for good.  SQLite does not wait here when another process does the same."""
    when_free(db, "PRAGMA journal_mode=WAL", patience, 0.01)


def when_free(db: Connection, statement: str, patience: float, pause: float) -> None:
    """Execute it as soon as no other process has the lock; look every `pause` seconds.  Raises sqlite3.Error.

    Why not SQLite's own busy_timeout?  It does not wait for journal_mode at all, and for the rest up to a tenth of a
    second between two looks, where the other's commit is over within a millisecond.  Nothing tells when a lock is free.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            db.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(pause)


@contextmanager
def one_state(db: Connection) -> Iterator[None]:
    """All that is read inside is of one moment."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """executescript would commit the transaction we are in."""
    statements, gathered = [], ""
    for line in script.splitlines():
        gathered += line.partition("--")[0] + "\n"
        if sqlite3.complete_statement(gathered):
            statements.append(gathered)
            gathered = ""
    return statements


def trouble_of(error: BaseException, what: str = "queue") -> QueueTrouble:
    """What the system or SQLite says, as the trouble the caller knows."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    full = code == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
    remedy = _REMEDIES.get(code, "")
    return (QueueFull if full else QueueTrouble)(f"{what}: {error}{remedy}")


def is_world(error: BaseException) -> bool:
    """Disk, lock or file failed (every item of a transaction suffers), not the values of one item."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) or type(error) is sqlite3.DatabaseError
