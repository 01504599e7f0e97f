"""The database file: versions, several openers, what its errors mean."""

import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from backupmx.queue import schema
from backupmx.queue.entry import QueueFull, QueueTrouble, State
from backupmx.queue.sqlite import open_queue
from tests.queue import samples
from tests.queue.samples import HOP, NOW, OTHER


def version(path: Path) -> int:
    db = sqlite3.connect(path)
    (number,) = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return int(number)


def test_a_new_file(tmp_path: Path) -> None:
    """A new file has this version's tables; opened again it stays as it is."""
    for _ in range(2):
        schema.migrate(str(tmp_path / "queue.db"))
        assert version(tmp_path / "queue.db") == schema.VERSION


def test_a_log_that_the_header_does_not_know(tmp_path: Path) -> None:
    """The power failed while the file became one with a log: it is one after the next start."""
    path = tmp_path / "queue.db"
    schema.migrate(str(path))
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    (tmp_path / "queue.db-wal").write_bytes(bytes(32))
    schema.migrate(str(path))
    assert path.read_bytes()[18:20] == b"\2\2"


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


def version_1(folder: Path) -> Path:
    """A queue as version 1 left it, with waiting, deferred, held, discarded and paused mail."""
    db = sqlite3.connect(folder / "queue.db")
    db.executescript(Path(__file__).with_name("version_1.sql").read_text())
    db.close()
    return folder / "queue.db"


def shape(path: Path) -> set[object]:
    """Columns of all tables, and all indexes."""
    db = sqlite3.connect(path)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    columns = {(table, *row[1:]) for table in tables for row in db.execute(f"PRAGMA table_info({table})").fetchall()}
    indexes = set(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'").fetchall())
    db.close()
    return columns | indexes


async def test_an_older_file(tmp_path: Path) -> None:
    """The mail of a version 1 queue waits as it did, and the account of all mail begins with it."""
    queue = await open_queue(f"sqlite:{version_1(tmp_path)}", clock=lambda: NOW)
    waiting, kept = await queue.waiting(), await queue.quarantined()
    assert [(r.address, r.state, r.paused) for one in waiting for r in one.recipients] == [
        ("anna@example.jp", State.QUEUED, False),
        ("ben@example.jp", State.QUEUED, False),
        ("carl@example.jp", State.DEFERRED, False),
        ("dora@example.jp", State.HELD, False),
        ("paul@paused.example", State.QUEUED, True),
    ]
    assert [one.reason for one in kept] == ["header_checks:7: X-Spam-Flag: YES"]
    (claim,) = await queue.claim(HOP, 9, NOW + 1, 60)
    assert samples.wire(claim.message) == b"Received: from somewhere\r\n\tby here\r\nSubject: hello\r\n\r\nHello.\r\n"
    assert (await queue.hop_states())[OTHER].failures == 2
    assert await queue.check() == []
    await queue.close()


def test_an_older_file_becomes_a_new_one(tmp_path: Path) -> None:
    """After a migration the tables are those of a new file; it happens as a whole or not at all."""
    path = version_1(tmp_path)
    schema.migrate(str(path))
    schema.migrate(str(tmp_path / "new.db"))
    assert shape(path) == shape(tmp_path / "new.db")
    assert version(path) == schema.VERSION


def test_a_migration_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble in the middle of a migration leaves the old file as it was."""
    path = version_1(tmp_path)
    before = shape(path)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "_statements", lambda script: [*script.partition(";")[:1], "SELECT no_such_column"])
        with pytest.raises(QueueTrouble, match="no_such_column"):
            schema.migrate(str(path))
    assert (shape(path), version(path)) == (before, 1)


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
