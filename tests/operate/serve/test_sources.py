"""Lists are fetched by the clock, and nobody waits for one that does not come."""

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest

from backupmx.config.read import load
from backupmx.journal import Journal
from backupmx.operate.serve.sources import keep_synced, store
from backupmx.recipients.store import StoreTrouble
from tests.recipients.test_source_command import gone

CONFIG = """
hostname = "mx2.example.net"
[relay]
transport_map = "transport.map"
[[recipients.source]]
name = "people"
command = ["sh", "-c", {script!r}]
"""


async def fetched(folder: Path, script: str, until: Path | None = None) -> list[bytes]:
    """What the log says of it; cancelled when `until` is there."""
    (folder / "backupmx.toml").write_text(CONFIG.format(script=script))
    log: list[bytes] = []
    task = asyncio.create_task(keep_synced(load(folder / "backupmx.toml"), Journal(sink=log.append, stamped=False)))
    while not (_size(until) if until else log):  # noqa: ASYNC110 a thread and a program do it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return log


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def test_fetched(tmp_path: Path) -> None:
    """A list is there at once; what it was is told."""
    log = await fetched(tmp_path, "echo a@example.jp")
    assert b"people: 1 addresses" in b"".join(log)
    with store(load(tmp_path / "backupmx.toml")) as kept:
        assert list(kept.addresses("people")) == ["a@example.jp"]


def _remove(folder: Path) -> None:
    for file in folder.glob("recipients.db*"):
        file.unlink(missing_ok=True)


async def test_a_store_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lists are there again at the next look."""
    monkeypatch.setattr("backupmx.operate.serve.sources._LOOK_EVERY", 0.01)
    (tmp_path / "backupmx.toml").write_text(CONFIG.format(script="echo a@example.jp"))
    log: list[bytes] = []
    task = asyncio.create_task(keep_synced(load(tmp_path / "backupmx.toml"), Journal(sink=log.append, stamped=False)))
    for times in (1, 2):
        while b"".join(log).count(b"people: 1 addresses") < times:  # noqa: ASYNC110 a thread does it
            await asyncio.sleep(0.01)
        _remove(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_not_waited_for(tmp_path: Path) -> None:
    """A stop or a reload ends a program that is being listened to; that is no trouble of the list's."""
    pid = tmp_path / "pid"
    began = time.monotonic()
    log = await fetched(tmp_path, f"echo $$ > {pid}; exec sleep 60", until=pid)
    assert time.monotonic() - began < 50
    assert gone(int(pid.read_text()))
    assert log == []
    with store(load(tmp_path / "backupmx.toml")) as kept:
        assert kept.states() == {}


async def test_a_bug_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end the fetching of others."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("backupmx.operate.serve.sources.sync", broken)
    assert b"ZeroDivisionError" in b"".join(await fetched(tmp_path, "echo a@example.jp"))


async def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is not asked every few seconds because our disk is full."""
    monkeypatch.setattr("backupmx.operate.serve.sources._LOOK_EVERY", 0.0)
    monkeypatch.setattr("backupmx.operate.serve.sources._AFTER_FAILURE", 5.0)
    now = iter(range(10**9))
    asked: list[float] = []

    def full(*_: object, now: float, **__: object) -> None:
        asked.append(now)
        raise StoreTrouble("database or disk is full")

    monkeypatch.setattr("backupmx.operate.serve.sources.sync", full)
    (tmp_path / "backupmx.toml").write_text(CONFIG.format(script="true"))
    log: list[bytes] = []
    journal = Journal(sink=log.append, stamped=False)
    task = asyncio.create_task(keep_synced(load(tmp_path / "backupmx.toml"), journal, lambda: float(next(now))))
    while len(asked) < 3:  # noqa: ASYNC110 a thread does it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert min(later - earlier for earlier, later in pairwise(asked)) >= 5
