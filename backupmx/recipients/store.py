"""store: recipients.db, the lists that were fetched and what primaries said of single addresses.

    sync   ──replace──► listed, source     a whole list: one transaction swaps the old for the new
    relay  ──teach────► taught             a primary's 250 or 5.1.1 for one address
    door   ──find─────► who has it         some microseconds, on the caller's own thread
    verify ──may_ask──► asked, allowance   one question an address, so many a minute to a next hop, over all workers
    door   ──times────► turned_away        who was told to use the primary, and came back

SQLite in WAL mode: a reader never waits for a writer, the pages are shared by
all workers through the system's cache, and a list of 100,000 costs a process
nothing until it is asked.  It is no mail: what a power cut takes is fetched or
taught again (synchronous = NORMAL).  store_file has the file itself.

Trouble
    StoreTrouble   the file cannot be read or written: "cannot tell" is not
                   "does not exist", the door says 451.  A file that is no
                   database, or turns out to be damaged, is moved aside and a
                   new one begun: lists are fetched, addresses taught again.

Why not a dict in each worker?  It would be right until the next sync, and cost
each of them 20 MiB.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from backupmx.recipients import store_file
from backupmx.recipients.standing import NO_KEPT, YES_KEPT, Taught

FILE = "recipients.db"
MOST_TAUGHT = 1_000_000
"""Addresses that are remembered from primaries' words.

Of more, noes go first, down to a quarter; then the domains that have most lose what they were taught first, so that a
flood to one that takes any name costs the others nothing; then the oldest go.
"""
DOMAINS_SHARE = 10_000
"""What a domain keeps while others have more."""
MOST_TURNED_AWAY = 500_000
TURNED_AWAY_KEPT = 86400.0
"""Seconds for which a client that came back often enough is let in, and others are remembered."""
ASKED_APART = 1000.0
"""Seconds between two questions about one address, whatever came of the first (Postfix: verify.c PROBE_TTL)."""
_BATCH = 5000
_LOOK_EVERY = 1.0
"""Seconds between two looks whether the file is still the one that was opened."""
_LISTED = (
    "SELECT (SELECT name FROM source WHERE key = l.source), NULL, NULL, NULL, NULL FROM listed l WHERE l.address = ?{}"
)
_TAUGHT = 'SELECT NULL, address, "exists", at, said FROM taught WHERE address = ?{}'
_FIND = {
    many: " UNION ALL ".join(select.format(key) for select in (_LISTED, _TAUGHT) for key in range(1, many + 1))
    for many in (1, 2, 3)
}
# One statement, as each takes the file's lock; and no IN (?1, ?2, ?3), which builds a table for every address.
_ALLOW = (
    "INSERT INTO allowance VALUES (?1, ?2, ?3) ON CONFLICT (next_hop) DO UPDATE SET many = ?2, at = ?3",
    "INSERT INTO asked VALUES (?1, ?2) ON CONFLICT (address) DO UPDATE SET at = ?2",
)

_OLD_WORDS = (
    "DELETE FROM taught WHERE address IN"
    ' (SELECT address FROM taught WHERE "exists" = ?1 AND at < ?2 ORDER BY at LIMIT ?3)'
)
_OLD_TURNED_AWAY = (
    "DELETE FROM turned_away WHERE key IN (SELECT key FROM turned_away WHERE ?1 AND at < ?2 ORDER BY at LIMIT ?3)"
)
_DOMAINS = "SELECT substr(address, instr(address, '@')), count(*) FROM taught WHERE \"exists\" GROUP BY 1"
_FIRST_OF_DOMAIN = (
    "SELECT address FROM taught WHERE \"exists\" AND substr(address, instr(address, '@')) = ? ORDER BY at LIMIT ?"
)
_EVER = 1e300


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

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """It is opened, and made, when it is first asked; anew after an error, and when another lies in its place."""
        self.path = path
        self._clock = clock
        self._open: sqlite3.Connection | None = None
        self._file = 0
        self._looked = 0.0
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
        """`keys`: an address as it may be listed, most exact first, one to three.  Raises StoreTrouble."""
        taught = []
        try:
            for row in self._looked_at().execute(_FIND[len(keys)], keys):
                if row[0] in sources:
                    return Found(row[0])  # the statement ends here, as its cursor does
                if row[1] is not None:
                    taught.append(row[1:])
        except (sqlite3.Error, OSError) as error:  # not _troubles: a few microseconds, for every recipient
            raise self._trouble(error) from error
        return Found(taught=_most_exact(keys, taught)) if taught else NOTHING

    def states(self, *, within: float = 0.0) -> Mapping[str, SourceState]:
        """Every source by name; `within` so many seconds the last answer will do.  Raises StoreTrouble."""
        now = self._clock()
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
        """Forget what is too old to count, and what is too much of the rest.  -> how many.  Raises StoreTrouble."""
        with self._troubles(), self._transaction():
            self._db.execute("DELETE FROM asked WHERE at < ?", (now - ASKED_APART,))
        gone = self._forget(_OLD_WORDS, False, now - NO_KEPT) + self._forget(_OLD_WORDS, True, now - YES_KEPT)
        gone += self._forget(_OLD_TURNED_AWAY, True, now - TURNED_AWAY_KEPT)
        gone += self._forget(_OLD_TURNED_AWAY, True, _EVER, self._many("turned_away") - MOST_TURNED_AWAY)
        return gone + self._crowd_out(most)

    def _crowd_out(self, most: int) -> int:
        """MOST_TAUGHT says who goes."""
        noes, many = self._many("taught", 'NOT "exists"'), self._many("taught")
        gone = self._forget(_OLD_WORDS, False, _EVER, min(many - most, noes - most // 4))
        if many - gone <= most:
            return gone
        with self._troubles():
            domains = dict(self._db.execute(_DOMAINS).fetchall())
        share = max(DOMAINS_SHARE, fair_share(domains.values(), most - noes + gone))
        for domain, its in domains.items():
            if its > share:
                with self._troubles():
                    first = self._db.execute(_FIRST_OF_DOMAIN, (domain, its - share)).fetchall()
                for at in range(0, len(first), _BATCH):
                    self.unteach(address for (address,) in first[at : at + _BATCH])
                gone += len(first)
        return gone + self._forget(_OLD_WORDS, True, _EVER, many - gone - most)

    def _forget(self, old: str, exists: bool, before: float, most: int | None = None) -> int:
        """The oldest.  A batch a transaction: writers wait for none of them long."""
        gone, some = 0, _BATCH
        while some == _BATCH:
            batch = _BATCH if most is None else min(_BATCH, most - gone)
            if batch <= 0:
                break
            with self._troubles(), self._transaction():
                some = self._db.execute(old, (exists, before, batch)).rowcount
            gone += some
        return gone

    def _many(self, table: str, which: str = "TRUE") -> int:
        with self._troubles():
            (many,) = self._db.execute(f"SELECT count(*) FROM {table} WHERE {which}").fetchone()  # noqa: S608 our words
        return int(many)

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
            try:
                self._open, self._file = store_file.open_or_make(self.path)
            except store_file.Newer as newer:
                raise StoreTrouble(str(newer)) from None
        return self._open

    def _looked_at(self) -> sqlite3.Connection:
        """Somebody may have taken the file away, or another process set a damaged one aside."""
        if (now := self._clock()) - self._looked >= _LOOK_EVERY:
            self._looked = now
            if self._open is not None and store_file.number(self.path) != self._file:
                self.close()
        return self._db

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            self._looked_at()
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> StoreTrouble:
        """What was open is given up: what is wrong with it may be mended; what is damaged is set aside."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
        if store_file.is_damage(error):
            with contextlib.suppress(OSError):
                store_file.set_aside(self.path, self._file)
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


def _text(said: str) -> str:
    """What SQLite can keep of a stranger's words: they may be no UTF-8, and hold lone surrogates."""
    return said.encode("utf-8", "replace").decode()


def fair_share(counts: Iterable[int], room: int) -> int:
    """Pure.  How many each may keep, so that all have room and who has little keeps it."""
    rising = sorted(counts)
    for at, count in enumerate(rising):
        if count * (len(rising) - at) > room:
            return max(0, room) // (len(rising) - at)
        room -= count
    return rising[-1] if rising else 0
