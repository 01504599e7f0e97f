"""The database file: versions, several openers, what its errors mean."""

import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from backupmx.queue import schema
from backupmx.queue.entry import QueueFull, QueueTrouble


def version(path: Path) -> int:
    db = sqlite3.connect(path)
    (number,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(number)


def test_a_new_file(tmp_path: Path) -> None:
    """A new file has this version's tables; opened again it stays as it is."""
    for _ in range(2):
        schema.migrate(str(tmp_path / "queue.db"))
        assert version(tmp_path / "queue.db") == len(schema.VERSIONS)


def test_a_newer_file(tmp_path: Path) -> None:
    """A queue of a newer backupmx is left alone, and the sentence says what to do."""
    schema.migrate(str(tmp_path / "queue.db"))
    db = sqlite3.connect(tmp_path / "queue.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(QueueTrouble, match=r"newer backupmx.*version 99.*upgrade"):
        schema.migrate(str(tmp_path / "queue.db"))
    assert version(tmp_path / "queue.db") == 99


def test_an_old_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose SQLite is too old says so at start, not at the first message."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(QueueTrouble, match=r"wants 3\.38"):
        schema.migrate(str(tmp_path / "queue.db"))


def test_an_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older file is brought up to date a version at a time, all or nothing."""
    path = tmp_path / "queue.db"
    monkeypatch.setattr(schema, "VERSIONS", ())
    schema.migrate(str(path))
    assert version(path) == 0
    monkeypatch.undo()
    schema.migrate(str(path))
    assert version(path) == len(schema.VERSIONS)


def test_opened_by_many_at_once(tmp_path: Path) -> None:
    """Processes that start together make the tables once and none is told that the file is locked."""
    results: list[object] = []
    together = threading.Barrier(8)

    def open_it() -> None:
        together.wait()
        try:
            results.append(schema.migrate(str(tmp_path / "queue.db")))
        except QueueTrouble as trouble:
            results.append(trouble)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [None] * 8


def test_how_the_file_is_written(tmp_path: Path) -> None:
    """Debian's SQLite would overwrite each delivered message: switched off; who promises waits for the log itself."""
    schema.migrate(str(tmp_path / "queue.db"))
    db = schema.connect(str(tmp_path / "queue.db"))
    pragmas = ("secure_delete", "synchronous", "journal_mode")
    assert [db.execute(f"PRAGMA {p}").fetchone()[0] for p in pragmas] == [0, 1, "wal"]
    db.execute("CREATE TABLE t (n)")
    db.sync()
    assert os.path.samestat(os.fstat(db._log), os.stat(tmp_path / "queue.db-wal"))
    db.close()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "no space"), QueueFull),
        (OSError(errno.EDQUOT, "quota"), QueueFull),
        (OSError(errno.EIO, "i/o error"), QueueTrouble),
        (sqlite3.DatabaseError("malformed"), QueueTrouble),
    ],
)
def test_what_errors_mean(error: Exception, kind: type[QueueTrouble]) -> None:
    """No space is 452, all else that disk and database do is 451."""
    assert type(schema.trouble_of(error)) is kind
