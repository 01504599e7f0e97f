"""acquainted: clients.db, the clients that have stood the wait before the greeting and behaved.

    greeting     ─knows─► has it been here?        some microseconds, on the loop
    first RCPT   ─meet──► remembered at the next `flush`, every few seconds, in a thread

A client is an address, or an IPv6 network (smtp.client_ipv6_prefix_length).  It is
remembered for a week since it was last here (postscreen_cache_retention_time), by
all workers and over restarts; of more than MOST the oldest go.

Trouble
    The file cannot be read or written: told once a minute; who is not known
    waits again, that is all.  A file that is no database, or turns out to be
    damaged, is set aside and a new one begun.

Why SQLite?  Workers share it without a server, a reader never waits, and
kill -9 leaves it whole.  It is no mail: what a power cut takes waits once more.
"""

import asyncio
import contextlib
import errno
import ipaddress
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from backupmx.journal import Journal
from backupmx.recipients import store_file

FILE = "clients.db"
KEPT = 7 * 86400.0
MOST = 200_000
_FRESH = 86400.0
"""Who was here within a day is not written down again."""
_EVERY = 5.0
_LOOK_EVERY = 60.0
_MOST_AT_ONCE = 5000
_SOON, _PATIENCE = 0.05, 5.0
"""Seconds for a lock: on the loop, where everybody waits meanwhile, and in a thread."""
_MAKE = (
    "CREATE TABLE IF NOT EXISTS met (client TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS met_at ON met (at)",
)


class Acquainted:
    """One worker's hands on clients.db."""

    def __init__(
        self, path: Path, journal: Journal, *, ipv6_prefix: int = 64, clock: Callable[[], float] = time.time,
        most: int = MOST,
    ) -> None:  # fmt: skip
        """The file is opened, and made, when somebody is asked about."""
        self._path = path
        self._journal = journal
        self._prefix = ipv6_prefix
        self._clock = clock
        self._most = most
        self._reader: sqlite3.Connection | None = None
        self._file = 0
        """Which one `_reader` has open."""
        self._looked = 0.0
        self._met: dict[str, float] = {}
        """Not written yet."""

    def knows(self, address: str) -> bool:
        """It has been here within a week."""
        client, now = self._client(address), self._clock()
        if client in self._met:
            return True
        try:
            if self._reader is not None and now - self._looked >= _LOOK_EVERY:
                self._looked = now
                if store_file.number(self._path) != self._file:  # another worker set a damaged one aside
                    self._reader.close()
                    self._reader = None
            if self._reader is None:
                self._reader, self._file = self._connect(_SOON)
            row = self._reader.execute("SELECT at FROM met WHERE client = ?", (client,)).fetchone()
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:  # another worker makes it just now
                self._trouble(error)
            return False
        if row is None or now - row[0] >= KEPT:
            return False
        if now - row[0] >= _FRESH:
            self.meet(address)
        return True

    def meet(self, address: str) -> None:
        """It behaved.  Written later."""
        if len(self._met) < _MOST_AT_ONCE:
            self._met[self._client(address)] = self._clock()

    async def run(self) -> None:
        """Until cancelled: write down who was met."""
        while True:
            await asyncio.sleep(_EVERY)
            if self._met and (trouble := await asyncio.to_thread(self.flush)):
                self._journal.clients_trouble(trouble)

    def flush(self) -> str:
        """All that was met, in one transaction, from any thread.  -> what was in the way"""
        met, trouble, which = dict(self._met), "", 0
        try:
            db, which = self._connect()
            with contextlib.closing(db):
                self._write(db, met)
        except (sqlite3.Error, OSError) as error:
            trouble = f"{self._path}: {error}"
            self._replace(error, which)
        for client in met:  # also after trouble: memory is bounded
            self._met.pop(client, None)
        return trouble

    def close(self) -> None:
        """What is not written yet is."""
        if self._met and (trouble := self.flush()):
            self._journal.clients_trouble(trouble)
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _write(self, db: sqlite3.Connection, met: dict[str, float]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO met VALUES (?1, ?2) ON CONFLICT (client) DO UPDATE SET at = ?2 WHERE at < ?2", met.items()
        )
        db.execute("DELETE FROM met WHERE at < ?", (self._clock() - KEPT,))
        (many,) = db.execute("SELECT count(*) FROM met").fetchone()
        if many > self._most:
            spare = many - self._most + self._most // 10
            db.execute("DELETE FROM met WHERE client IN (SELECT client FROM met ORDER BY at LIMIT ?)", (spare,))
        db.execute("COMMIT")

    def _connect(self, patience: float = _PATIENCE) -> tuple[sqlite3.Connection, int]:
        return store_file.open_or_make(self._path, lambda _: self._open(patience))

    def _replace(self, error: Exception, which: int) -> None:
        """What is damaged in the middle opens well, and would be trouble for ever."""
        if store_file.is_damage(error):
            with contextlib.suppress(OSError):
                store_file.set_aside(self._path, which)

    def _open(self, patience: float) -> sqlite3.Connection:
        if self._path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not self._path.exists():
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        db = sqlite3.connect(self._path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            for statement in _MAKE:
                db.execute(statement)
        except BaseException:
            db.close()
            raise
        return db

    def _client(self, address: str) -> str:
        if ":" not in address:
            return address
        try:
            return str(ipaddress.ip_network((address.partition("%")[0], self._prefix), strict=False))
        except ValueError:
            return address

    def _trouble(self, error: Exception) -> None:
        if self._reader is not None:
            with contextlib.suppress(sqlite3.Error):
                self._reader.close()
            self._reader = None
        self._replace(error, self._file)
        self._journal.clients_trouble(f"{self._path}: {error}")
