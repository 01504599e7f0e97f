"""store_file: recipients.db as a file: opened, made, and set aside when it is damaged, as clients.db is.

    open_or_make ─► the connection, and which file that is
    set_aside    ─► recipients.db.damaged; for the lists and words in it there are others to ask

Several processes have it open.  Only the file that was found damaged is moved, once, however many find it so;
the others see by its `number` that another lies in its place.
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path

_PATIENCE = 5.0
"""Seconds for a lock."""
_VERSION = 3


class Newer(Exception):
    """A newer backupmx wrote it."""


def open_or_make(
    path: Path, connect: Callable[[Path], sqlite3.Connection] | None = None
) -> tuple[sqlite3.Connection, int]:
    """-> with the file's number.  Raises sqlite3.Error, OSError, Newer.

    `connect`: how a file that is not recipients.db is opened, or made.
    """
    which, connect = number(path), connect or _connect
    try:
        return connect(path), number(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    set_aside(path, which)
    return connect(path), number(path)


def number(path: Path) -> int:
    """By which a file is told from another in its place; 0: there is none."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


def is_damage(error: Exception) -> bool:
    """It does not pass by waiting."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def set_aside(path: Path, which: int) -> None:
    """The file with this number, unless somebody has done so.  Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if number(path) != which:
            return
        for name in (Path(f"{path}-wal"), Path(f"{path}-shm"), path):  # it last: who opens it finds a whole set or none
            with contextlib.suppress(FileNotFoundError):
                name.rename(f"{name}.damaged")
    finally:
        os.close(folder)


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
            raise Newer(f"{path} was written by a newer backupmx; upgrade, or move it away: it is fetched anew")
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
