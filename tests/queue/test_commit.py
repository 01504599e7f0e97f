"""One thread commits what has gathered; one bad item fails alone."""

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from backupmx.queue import schema
from backupmx.queue.commit import Uncertain, Work, Writer
from backupmx.queue.entry import QueueFull, QueueTrouble

batches: list[int] = []


def add(db: sqlite3.Connection, names: Sequence[str]) -> Sequence[str]:
    batches.append(len(names))
    for name in names:
        if name == "bug":
            raise KeyError(name)
        db.execute("INSERT INTO fact VALUES (?, 'x')", (name,))
    return [name.upper() for name in names]


ADD = Work(add)


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    batches.clear()
    path = str(tmp_path / "queue.db")
    schema.migrate(path)
    made = Writer(lambda: schema.connect(path, writer=True), patience=0.5)
    yield made
    await made.close()


def names(tmp_path: Path) -> list[str]:
    db = sqlite3.connect(tmp_path / "queue.db")
    found = [row[0] for row in db.execute("SELECT name FROM fact ORDER BY name")]
    db.close()
    return found


async def test_each_gets_its_own_answer(writer: Writer, tmp_path: Path) -> None:
    """Everything that was submitted is committed and answered, in few commits."""
    futures = [writer.submit(ADD, f"n{i:03}") for i in range(200)]
    assert await asyncio.gather(*futures) == [f"N{i:03}" for i in range(200)]
    assert (len(names(tmp_path)), len(batches) < 100) == (200, True)


async def test_how_long_the_disk_took(tmp_path: Path) -> None:
    """Each wait for the disk is told once; what does not wait for it is not told."""
    path, waited = str(tmp_path / "queue.db"), list[float]()
    schema.migrate(path)
    writer = Writer(lambda: schema.connect(path, writer=True), synced=waited.append)
    for many, work in enumerate((ADD, ADD, Work(add, durable=False))):
        await writer.submit(work, f"n{many}")
    await writer.close()
    assert [seconds > 0 for seconds in waited] == [True, True]


async def test_one_bad_item_fails_alone(writer: Writer, tmp_path: Path) -> None:
    """A duplicate is trouble, a bug is itself; what came with them is done."""
    futures = [writer.submit(ADD, name) for name in ("a", "b", "a", "bug", "c")]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(r).__name__ for r in results] == ["str", "str", "QueueTrouble", "KeyError", "str"]
    assert names(tmp_path) == ["a", "b", "c"]


class Broken(schema.Connection):
    """Fails as asked, for as long as asked."""

    fails: ClassVar[dict[str, Exception]] = {}

    said: ClassVar[list[str]] = []

    def sync(self) -> None:
        if "sync" in self.fails:
            raise self.fails["sync"]
        super().sync()

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
        self.said.append(sql)
        if sql in self.fails:
            raise self.fails[sql]
        return super().execute(sql, *rest)


@pytest.mark.parametrize(
    ("code", "at", "kind"),
    [
        (sqlite3.SQLITE_IOERR, "COMMIT", Uncertain),
        (sqlite3.SQLITE_FULL, "COMMIT", QueueFull),
        (sqlite3.SQLITE_IOERR, "BEGIN IMMEDIATE", QueueTrouble),
        (sqlite3.SQLITE_BUSY, "BEGIN IMMEDIATE", QueueTrouble),
    ],
)
async def test_a_disk_that_fails(tmp_path: Path, code: int, at: str, kind: type[QueueTrouble]) -> None:
    """All of a failed transaction hear of it, nothing of it is there; the next one works on a new connection."""
    path = str(tmp_path / "queue.db")
    schema.migrate(path)
    made = []

    def connect() -> schema.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Broken)
        db.hops, db.log = {}, f"{path}-wal"
        made.append(db)
        return db

    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    Broken.fails = {at: error}
    writer = Writer(connect, patience=0.05)
    results = await asyncio.gather(*(writer.submit(ADD, n) for n in "abc"), return_exceptions=True)
    assert {type(result) for result in results} == {kind}
    Broken.fails = {}
    assert (await writer.submit(ADD, "d"), names(tmp_path), len(made) > 1) == ("D", ["d"], True)
    await writer.close()
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_log_that_did_not_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """After a wait for the disk that failed, the whole log is written again before anything is promised."""
    path = str(tmp_path / "queue.db")
    schema.migrate(path)
    again: list[list[str]] = []
    monkeypatch.setattr(Broken, "write_log_again", lambda self: again.append(names(tmp_path)))

    def connect() -> schema.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Broken)
        db.hops, db.log = {}, f"{path}-wal"
        return db

    Broken.fails = {"sync": OSError(number, "it failed")}
    writer = Writer(connect)
    with pytest.raises(Uncertain):
        await writer.submit(ADD, "a")
    Broken.fails = {}
    await writer.submit(ADD, "b")
    assert (again, names(tmp_path)) == ([["a"]], ["a", "b"])
    await writer.close()


async def test_nobody_waits_any_more(writer: Writer, tmp_path: Path) -> None:
    """What was submitted is done although its client hung up."""
    future = writer.submit(ADD, "a")
    future.cancel()
    await writer.submit(ADD, "b")
    assert names(tmp_path) == ["a", "b"]
