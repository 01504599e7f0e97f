"""store: recipients.db, the lists that were fetched and what primaries said of single addresses.

    sync   ──replace──► listed, source     a whole list: one transaction swaps the old for the new
    relay  ──teach────► taught             a primary's 250 or 5.1.1 for one address
    door   ──find─────► who has it         some microseconds, on the caller's own thread
    verify ──may_ask──► asked, allowance   one question an address, so many a minute to a next hop, over all workers
    door   ──times────► turned_away        who was told to use the primary, and came back

SQLite in WAL mode: a reader never waits for a writer, the pages are shared by
all workers through the system's cache, and a list of 100,000 costs a process
nothing until it is asked.  It is no mail: what a power cut takes is fetched or
taught again (synchronous = NORMAL).

Trouble
    StoreTrouble   the file cannot be read or written: "cannot tell" is not
                   "does not exist", the door says 451.  A file that is no
                   database is moved aside and a new one begun.

Why not a dict in each worker?  It would be right until the next sync, and cost
each of them 20 MiB.
"""

import contextlib
import errno
import math
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Self

from backupmx.recipients.standing import YES_KEPT, Taught

FILE = "recipients.db"
MOST_TAUGHT = 1_000_000
"""Addresses that are remembered from primaries' words; of more the oldest go."""
MOST_TURNED_AWAY = 500_000
TURNED_AWAY_KEPT = 86400.0
"""Seconds for which a client that came back often enough is let in, and others are remembered."""
ASKED_APART = 1000.0
"""Seconds between two questions about one address, whatever came of the first (Postfix: verify.c PROBE_TTL)."""
_BATCH = 5000
_PATIENCE = 5.0
_VERSION = 2
_LISTED = (
    "SELECT (SELECT name FROM source WHERE key = l.source), NULL, NULL, NULL, NULL FROM listed l WHERE l.address = ?{}"
)
_TAUGHT = 'SELECT NULL, address, "exists", at, said FROM taught WHERE address = ?{}'
_FIND = " UNION ALL ".join(select.format(key) for select in (_LISTED, _TAUGHT) for key in (1, 2, 3))
# One statement, as each takes the file's lock; and no IN (?1, ?2, ?3), which builds a table for every address.
_ALLOW = (
    "INSERT INTO allowance VALUES (?1, ?2, ?3) ON CONFLICT (next_hop) DO UPDATE SET many = ?2, at = ?3",
    "INSERT INTO asked VALUES (?1, ?2) ON CONFLICT (address) DO UPDATE SET at = ?2",
)

_FORGET = {
    "taught": "DELETE FROM taught WHERE address IN (SELECT address FROM taught WHERE at < ?2 ORDER BY at LIMIT ?1)",
    "turned_away": "DELETE FROM turned_away"
    " WHERE key IN (SELECT key FROM turned_away WHERE at < ?2 ORDER BY at LIMIT ?1)",
}
_MANY = {"taught": "SELECT count(*) FROM taught", "turned_away": "SELECT count(*) FROM turned_away"}


class StoreTrouble(Exception):
    """recipients.db cannot be used now."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """One list as it stands in the store."""

    name: str
    synced: float | None
    many: int
    tried: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Found:
    """Whatever the store says of an address."""

    listed: str = ""
    """A source that has it or its whole domain; "" for none."""
    taught: Taught | None = None
    """What a primary said of it; not looked for when it is listed."""


NOTHING = Found()


class MayAsk(StrEnum):
    """May a primary be asked about an address now?"""

    YES = "yes"
    LATER = "later"  # it was, within ASKED_APART
    SPENT = "spent"  # the next hop has been asked as often as it may be


class Store:
    """One process's hands on recipients.db.  Its methods do not wait for a network; writing ones wait for a lock."""

    def __init__(self, path: Path) -> None:
        """It is opened, and made, when it is first asked; after an error it is opened anew."""
        self.path = path
        self._open: sqlite3.Connection | None = None
        self._states: tuple[float, Mapping[str, SourceState]] = (0.0, {})

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The door's questions

    def find(self, keys: Sequence[str], sources: Collection[str]) -> Found:
        """`keys`: an address as it may be listed, most exact first, up to three.  Raises StoreTrouble."""
        taught = []
        try:
            for row in self._db.execute(_FIND, (*keys, keys[-1], keys[-1])[:3]):
                if row[0] in sources:
                    return Found(row[0])  # the statement ends here, as its cursor does
                if row[1] is not None:
                    taught.append(row[1:])
        except (sqlite3.Error, OSError) as error:  # not _troubles: a few microseconds, for every recipient
            raise self._trouble(error) from error
        return Found(taught=_most_exact(keys, taught)) if taught else NOTHING

    def states(self, *, within: float = 0.0) -> Mapping[str, SourceState]:
        """Every source by name; `within` so many seconds the last answer will do.  Raises StoreTrouble."""
        now = time.monotonic()
        if within and now - self._states[0] < within:
            return self._states[1]
        with self._troubles():
            rows = self._db.execute("SELECT name, synced, many, tried, error FROM source").fetchall()
        self._states = now, {row[0]: SourceState(*row) for row in rows}
        return self._states[1]

    # Lists

    def addresses(self, source: str) -> Iterator[str]:
        """Of one source, in order.  Raises StoreTrouble."""
        with self._troubles():
            rows = self._db.execute(
                "SELECT address FROM listed WHERE source = (SELECT key FROM source WHERE name = ?) ORDER BY address",
                (source,),
            )
            for (address,) in rows:
                yield address

    def replace(self, source: str, added: Iterable[str], removed: Iterable[str], now: float) -> None:
        """Bring a source's list to what was fetched.  All or nothing.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            key = self._key(source)
            self._db.executemany(
                "DELETE FROM listed WHERE address = ? AND source = ?", ((address, key) for address in removed)
            )
            self._db.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?)", ((address, key) for address in added))
            self._db.execute(
                "UPDATE source SET synced = ?1, tried = ?1, error = '',"
                " many = (SELECT count(*) FROM listed WHERE source = ?2) WHERE key = ?2",
                (now, key),
            )

    def failed(self, source: str, why: str, now: float) -> None:
        """It could not be fetched, or was refused: the last good list stays.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            self._db.execute(
                "UPDATE source SET tried = ?, error = ? WHERE key = ?", (now, _text(why), self._key(source))
            )

    def forget(self, source: str) -> int:
        """A source that is no longer configured.  -> how many addresses it had.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            key = self._key(source)
            gone = self._db.execute("DELETE FROM listed WHERE source = ?", (key,)).rowcount
            self._db.execute("DELETE FROM source WHERE key = ?", (key,))
        return gone

    # What primaries say

    def teach(self, lessons: Mapping[str, Taught]) -> None:
        """By folded address.  The newest word counts; a no ends what was said of its whole domain.

        Raises StoreTrouble.
        """
        noes = {(address[address.rfind("@") :],) for address, one in lessons.items() if not one.exists}
        with self._troubles(), self._transaction():
            self._db.executemany("DELETE FROM taught WHERE address = ?", noes)
            self._db.executemany(
                'INSERT INTO taught VALUES (?1, ?2, ?3, ?4) ON CONFLICT (address) DO UPDATE SET "exists" = ?2, at = ?3,'
                " said = ?4 WHERE ?3 >= at",
                ((_text(address), one.exists, one.at, _text(one.said[:200])) for address, one in lessons.items()),
            )

    def unteach(self, addresses: Iterable[str]) -> None:
        """Nothing is known of these any more.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            self._db.executemany("DELETE FROM taught WHERE address = ?", ((address,) for address in addresses))

    def taught(self, domain: str = "") -> Iterator[tuple[str, Taught]]:
        """Every address a primary spoke of.  Raises StoreTrouble."""
        with self._troubles():
            for address, exists, at, said in self._db.execute(
                "SELECT address, \"exists\", at, said FROM taught WHERE ?1 = '' OR address LIKE '%@' || ?1"
                " ORDER BY address",
                (domain,),
            ):
                yield address, Taught(bool(exists), at, said, address.startswith("@"))

    def tidy(self, now: float, most: int = MOST_TAUGHT) -> int:
        """Forget what is too old to count, and the oldest of what is too much.  -> how many.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            self._db.execute("DELETE FROM asked WHERE at < ?", (now - ASKED_APART,))
        return self._tidy("taught", now - YES_KEPT, most) + self._tidy(
            "turned_away", now - TURNED_AWAY_KEPT, MOST_TURNED_AWAY
        )

    def _tidy(self, table: str, before: float, most: int) -> int:
        """A batch a transaction: writers wait for none of them long."""
        gone = 0
        while True:
            with self._troubles(), self._transaction():
                some = self._db.execute(_FORGET[table], (_BATCH, before)).rowcount
                (many,) = self._db.execute(_MANY[table]).fetchone()
                some += self._db.execute(_FORGET[table], (max(0, min(_BATCH, many - most)), math.inf)).rowcount
            gone += some
            if some < _BATCH:
                return gone

    # Questions to primaries

    def may_ask(self, address: str, next_hop: str, a_minute: float, now: float) -> MayAsk:
        """A yes is written down.  Raises StoreTrouble.

        `a_minute`: questions to this next hop, over all processes; as many may come at once.
        """
        with self._troubles(), self._transaction():
            last = self._db.execute("SELECT at FROM asked WHERE address = ?", (address,)).fetchone()
            if last is not None and 0 <= now - last[0] < ASKED_APART:
                return MayAsk.LATER
            row = self._db.execute("SELECT many, at FROM allowance WHERE next_hop = ?", (next_hop,)).fetchone()
            many, at = row or (a_minute, now)
            many = min(a_minute, many + max(0.0, now - at) * a_minute / 60)
            if many < 1:
                return MayAsk.SPENT
            self._db.execute(_ALLOW[0], (next_hop, many - 1, now))
            self._db.execute(_ALLOW[1], (address, now))
        return MayAsk.YES

    # Clients that were turned away

    def times(self, keys: Sequence[bytes]) -> Mapping[bytes, tuple[int, float]]:
        """By two keys: how many times, and when last.  Raises StoreTrouble."""
        with self._troubles():
            rows = self._db.execute("SELECT key, times, at FROM turned_away WHERE key IN (?, ?)", (*keys,)).fetchall()
        return {key: (times, at) for key, times, at in rows}

    def turned_away(self, seen: Mapping[bytes, tuple[int, float]]) -> None:
        """The newest word counts.  Raises StoreTrouble."""
        if not seen:
            return
        with self._troubles(), self._transaction():
            self._db.executemany(
                "INSERT INTO turned_away VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET times = ?2, at = ?3"
                " WHERE ?3 >= at",
                ((key, times, at) for key, (times, at) in seen.items()),
            )

    @property
    def _db(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = _open(self.path)
        return self._open

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> StoreTrouble:
        """What was open is given up: what is wrong with it may be mended."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
        return StoreTrouble(f"{self.path}: {error}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._open is not None and self._open.in_transaction:
                self._open.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _key(self, source: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO source (name) VALUES (?)", (source,))
        (key,) = self._db.execute("SELECT key FROM source WHERE name = ?", (source,)).fetchone()
        return int(key)


def _most_exact(keys: Sequence[str], rows: Iterable[tuple[str, int, float, str]]) -> Taught | None:
    said = {address: (exists, at, words) for address, exists, at, words in rows}
    for key in keys:
        if key in said:
            exists, at, words = said[key]
            return Taught(bool(exists), at, words, key.startswith("@"))
    return None


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError):
            name.rename(f"{name}.damaged")
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    with contextlib.suppress(FileExistsError):
        # One that is there is not opened: closing it gives up the locks of our other connections to it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA mmap_size=268435456")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version < _VERSION:
            _make(db)
        elif version > _VERSION:
            raise StoreTrouble(f"{path} was written by a newer backupmx; upgrade, or move it away: it is fetched anew")
    except BaseException:
        db.close()
        raise
    return db


def _make(db: sqlite3.Connection) -> None:
    """Two processes may come here at once."""
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version < _VERSION:
        script = resources.files("backupmx.recipients").joinpath("schema.sql").read_text("utf-8")
        for statement in _uncommented(script).split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={_VERSION}")
    db.execute("COMMIT")


def _uncommented(script: str) -> str:
    return "\n".join(line.partition("--")[0] for line in script.splitlines())


def _text(said: str) -> str:
    """What SQLite can keep of a stranger's words: they may be no UTF-8, and hold lone surrogates."""
    return said.encode("utf-8", "replace").decode()
