"""tally: counts and alarms of all processes, in one small file that outlives them.

    worker, relay ──publish, every few seconds and at the end──► tally.db ──read──► status, lint --hits
    supervisor    ──publish, when something happened───────────►

Counts are written as what came since the last time, so they add up over
processes and restarts.  Alarms and engines are written as they stand, a set
for each process; who ends takes its own away, the supervisor those of one that
died, and its start all that an earlier life left.

It is no mail.  The file is not waited for to reach the disk (synchronous=OFF);
one that is lost or damaged is begun anew, and that is said.  While it cannot
be written the counts stay in memory and are written later.  Nothing here stops
anything, and nothing waits for it: `Publisher.run` writes in a thread.

A connection lives for one writing: none is open at a fork, and a file that was
taken away is noticed at once.

Why not a file for each process?  Counts of processes that are gone would have
to be added up by somebody, some day.

BUGS    What was counted in the seconds before a process is killed is lost.
"""

import asyncio
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from backupmx.check.breaker import EngineState
from backupmx.config import Config
from backupmx.journal import LABELS, VERDICTS, Alarm, Journal, Key
from backupmx.net.dns import Resolver
from backupmx.operate.serve.lock import is_running

FILE = "tally.db"
EVERY = 3.0
"""Seconds between two writings of a process."""
_VERSION = 1
_PATIENCE = 2.0
_FORGOTTEN = 400 * 86400.0
"""What no process spoke of for so long, a rule that was edited away, is dropped."""

_KEPT_HOURS = 14 * 86400.0
_HOURLY = (
    "CREATE TABLE IF NOT EXISTS hourly (hour INTEGER NOT NULL, fate TEXT NOT NULL, value INTEGER NOT NULL,"
    " PRIMARY KEY (hour, fate)) WITHOUT ROWID"
)
_ADD_HOURLY = (
    "INSERT INTO hourly VALUES (?, ?, ?) ON CONFLICT (hour, fate) DO UPDATE SET value = value + excluded.value"
)
_ADD = (
    "INSERT INTO counts (name, labels, value, began, last, seen) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name, labels) DO UPDATE SET"
    " value = value + excluded.value, last = max(last, excluded.last), seen = excluded.seen"
)


@dataclass(frozen=True, slots=True)
class Count:
    """One counter over all processes and restarts."""

    name: str
    """One of journal.LABELS: "backupmx_verdicts_total"."""
    labels: Mapping[str, str]
    value: int
    began: float
    """Counted since, seconds since the epoch."""
    last: float
    """When it last grew; 0: never."""


@dataclass(frozen=True, slots=True)
class Hour:
    """How many messages had one fate in one hour."""

    hour: int
    """When it began, seconds since the epoch."""
    fate: str
    value: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the appliance that runs now, as it described itself."""

    name: str
    pid: int
    alarms: tuple[Alarm, ...] = ()
    engines: tuple[EngineState, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """An alarm, and who raised it."""

    alarm: Alarm
    """Since the first of them raised it, in its words."""
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, a milter or a DNS server as all processes that ask it see it."""

    name: str
    away: int
    """For so many processes."""
    asked_by: int
    """Of so many."""
    since: float
    """Away since the first noticed, else up since the last noticed."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the file says."""

    began: float = 0.0
    """When counting began; 0: nothing was ever counted here."""
    counts: tuple[Count, ...] = ()
    processes: tuple[Process, ...] = ()
    """None while no appliance runs."""
    trouble: str = ""
    """Why the file could not be read."""
    hours: tuple[Hour, ...] = ()
    """Verdicts of two weeks, the oldest first."""

    def named(self, name: str) -> tuple[Count, ...]:
        return tuple(count for count in self.counts if count.name == name)

    @property
    def alarms(self) -> tuple[Standing, ...]:
        """Each once, whoever raised it, the oldest first."""
        by_key: dict[str, list[tuple[Alarm, str]]] = {}
        for process in self.processes:
            for alarm in process.alarms:
                by_key.setdefault(alarm.key, []).append((alarm, process.name))
        standing = (
            Standing(min((alarm for alarm, _ in raised), key=_since), tuple(sorted(name for _, name in raised)))
            for raised in by_key.values()
        )
        return tuple(sorted(standing, key=lambda one: (one.alarm.since, one.alarm.key)))

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Each once, by name."""
        states: dict[str, list[EngineState]] = {}
        for process in self.processes:
            for state in process.engines:
                states.setdefault(state.name, []).append(state)
        return tuple(_engine(name, of) for name, of in sorted(states.items()))


def _since(of: Alarm | EngineState) -> float:
    return of.since


def _engine(name: str, states: Sequence[EngineState]) -> Engine:
    away = [state for state in states if not state.up]
    if not away:
        return Engine(name, 0, len(states), max(map(_since, states)))
    first = min(away, key=_since)
    return Engine(name, len(away), len(states), first.since, first.why)


class Publisher:
    """One process's hand on the file."""

    def __init__(
        self,
        path: Path,
        process: str,
        journal: Journal,
        engines: Callable[[], Iterable[EngineState]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._process, self._journal = path, process, journal
        self._engines, self._clock = engines, clock
        self._lock = threading.Lock()
        self._written: dict[Key, int] = {}
        self._began = 0.0
        self._gone: set[int] = set()
        self._ended = False

    async def run(self, every: float = EVERY) -> None:
        """Until cancelled."""
        while True:
            trouble = await asyncio.to_thread(self._write, self._as_it_is(), self._journal.counts)
            self._say(trouble)
            await asyncio.sleep(every)

    def publish(self) -> bool:
        """Now, in this thread.  False: it could not be written, and should be tried again."""
        return self._say(self._write(self._as_it_is(), self._journal.counts))

    def begin(self) -> bool:
        """The supervisor's first word: nobody else is alive."""
        return self._say(self._write(self._as_it_is(), self._journal.counts, alone=True))

    def end(self) -> bool:
        """This process's last word."""
        return self._say(self._write(None, self._journal.counts))

    def forget(self, pid: int) -> None:
        """A process died; what it had raised goes with the next writing."""
        self._gone.add(pid)

    def _as_it_is(self) -> Process:
        return Process(self._process, os.getpid(), self._journal.alarms, tuple(self._engines()))

    def _say(self, trouble: str) -> bool:
        if trouble:
            self._journal.warned(trouble)
        return not trouble.endswith(_LATER)

    def _write(self, process: Process | None, counts: Mapping[Key, int], alone: bool = False) -> str:
        """-> what went wrong, a sentence, or "".  A writing that is under way is waited for."""
        with self._lock:
            if self._ended:  # a writing that was under way and comes behind the last word knows less than that
                return ""
            self._ended = process is None
            try:
                return self._transact(process, counts, alone)
            except sqlite3.Error as error:
                if not _damaged(error):
                    return f"{self._path}: {error}: {_LATER}"
                said = f"{self._path}: {error}: counting begins anew"
            try:
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._transact(process, counts, alone)
                return said
            except (sqlite3.Error, OSError) as error:
                return f"{said}: {error}: {_LATER}"

    def _transact(self, process: Process | None, counts: Mapping[Key, int], alone: bool) -> str:
        now = self._clock()
        with closing(_connect(self._path, now)) as db:
            db.execute("BEGIN IMMEDIATE")
            (began,) = db.execute("SELECT began FROM tally").fetchone()
            # Not the file we wrote before: it must hear of every rule again, though nothing matched since.
            other = began != self._began
            told = [key for key, count in counts.items() if other or count != self._written.get(key)]
            db.executemany(_ADD, (self._row(key, counts[key], now) for key in told))
            db.executemany(_ADD_HOURLY, self._hourly(told, counts, now))
            gone = tuple(self._gone)
            db.executemany("DELETE FROM processes WHERE pid = ?", [(pid,) for pid in (os.getpid(), *gone)])
            if alone:
                db.execute("DELETE FROM processes")
                db.execute("DELETE FROM counts WHERE seen < ?", (now - _FORGOTTEN,))
                db.execute("DELETE FROM hourly WHERE hour < ?", (now - _KEPT_HOURS,))
            if process is not None:
                _describe(db, process)
            db.execute("COMMIT")
        lost = self._began not in (0.0, began)
        self._began, self._written = began, dict(counts)
        self._gone.difference_update(gone)
        return f"{self._path} was lost: counting began anew" if lost else ""

    def _hourly(self, told: Iterable[Key], counts: Mapping[Key, int], now: float) -> list[tuple[int, str, int]]:
        hour = int(now // 3600 * 3600)
        grown = ((key[1], counts[key] - self._written.get(key, 0)) for key in told if key[0] == VERDICTS)
        return [(hour, fate, more) for fate, more in grown if more]

    def _row(self, key: Key, value: int, now: float) -> tuple[object, ...]:
        grown = value - self._written.get(key, 0)
        labels = json.dumps(dict(zip(LABELS[key[0]], key[1:], strict=True)))
        return key[0], labels, grown, now, now if grown else 0.0, now


_LATER = "counts are kept in memory until it can be written"


def _describe(db: sqlite3.Connection, process: Process) -> None:
    pid = process.pid
    db.execute("INSERT INTO processes VALUES (?, ?)", (pid, process.name))
    db.executemany("INSERT INTO alarms VALUES (?, ?, ?, ?)", ((pid, a.key, a.since, a.text) for a in process.alarms))
    db.executemany(
        "INSERT OR REPLACE INTO engines VALUES (?, ?, ?, ?, ?)",
        ((pid, e.name, e.up, e.since, e.why) for e in process.engines),
    )


def _connect(path: Path, now: float) -> sqlite3.Connection:
    """The file, made if it is not there.  Raises sqlite3.Error."""
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA foreign_keys=ON")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _create(db, now)
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"its tables are version {version}, ours {_VERSION}")
        else:
            db.execute(_HOURLY)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _create(db: sqlite3.Connection, now: float) -> None:
    """Another process may be doing the same: who comes second finds it done."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone() == (0,):
        script = resources.files("backupmx.operate.report").joinpath("tally.sql").read_text()
        for statement in "".join(line.partition("--")[0] for line in script.splitlines()).split(";"):
            db.execute(statement)
        db.execute("INSERT INTO tally VALUES (?)", (now,))
        db.execute(f"PRAGMA user_version={_VERSION}")
    db.execute("COMMIT")


def _damaged(error: sqlite3.Error) -> bool:
    """The file is none of ours, or no longer; not so when it is locked, or the disk full."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def servers(resolver: Resolver) -> tuple[EngineState, ...]:
    """The DNS servers a process asks, told as its engines are."""
    return tuple(EngineState(server.name, server.up, server.since, server.why) for server in resolver.servers)


def path(config: Config) -> Path:
    return config.state_path(FILE)


def read(config: Config) -> Tally:
    """What all processes counted and how they are.  Never raises; a file that is not there says nothing."""
    file = path(config)
    if not file.exists():
        return Tally()
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)) as db:
            db.execute("BEGIN")
            (began,) = db.execute("SELECT began FROM tally").fetchone()
            rows = db.execute("SELECT name, labels, value, began, last FROM counts").fetchall()
            counts = tuple(Count(name, json.loads(labels), *rest) for name, labels, *rest in rows)
            hours = tuple(Hour(*row) for row in _hours(db))
            return Tally(began, counts, _processes(db) if is_running(config) else (), hours=hours)
    except (sqlite3.Error, ValueError, TypeError) as error:
        return Tally(trouble=f"{file}: {error}")


def _hours(db: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """A file that nobody has written to since there are hours has none."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'hourly'").fetchone() is None:
        return []
    return db.execute("SELECT hour, fate, value FROM hourly ORDER BY hour, fate").fetchall()


def _processes(db: sqlite3.Connection) -> tuple[Process, ...]:
    alarms: dict[int, list[Alarm]] = {}
    engines: dict[int, list[EngineState]] = {}
    for pid, *alarm in db.execute("SELECT pid, key, since, text FROM alarms ORDER BY since"):
        alarms.setdefault(pid, []).append(Alarm(*alarm))
    for pid, name, up, *rest in db.execute("SELECT pid, name, up, since, why FROM engines"):
        engines.setdefault(pid, []).append(EngineState(name, bool(up), *rest))
    return tuple(
        Process(name, pid, tuple(alarms.get(pid, ())), tuple(engines.get(pid, ())))
        for pid, name in db.execute("SELECT pid, name FROM processes ORDER BY name, pid")
    )
