"""A queue file that is damaged or locked: a sentence with what to do, nothing damaged delivered, nothing deleted.

At start and while the appliance runs.  What the disk did not damage goes on.
"""

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance
from tests.journeys.arrivals import all_arrived, subjects
from tests.journeys.client import message, send
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink

pytestmark = pytest.mark.neighbours

Damage = Callable[[Path], None]


def a_foreign_file(path: Path) -> None:
    """Somebody copied something else to its place."""
    path.write_bytes(b"this is no database " * 5000)


def a_zeroed_header(path: Path) -> None:
    overwrite(path, 0, bytes(100))


def a_damaged_root(path: Path) -> None:
    """The page from which all tables are found."""
    overwrite(path, 100, os.urandom(3000))


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path, at: int, octets: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)
        os.fsync(file.fileno())


class Queued:
    """An appliance with mail that waits, since its primary is away."""

    def __init__(self, folder: Path, sink: SmtpSink) -> None:
        self.sink = sink
        sink.stop()
        rules = f"example.jp  smtp:[127.0.0.1]:{sink.port}\n"
        self.mx = Appliance(folder / "mx", {"queue": {"min_free": 0, "retry_min": "1s", "retry_max": "2s"}}, rules)
        self.mx.start()
        self.waiting = [f"waits {n}" for n in range(20)]
        for subject in self.waiting:
            assert send(self.mx.port, message(subject, subject + "x" * 3000)).code == 250
        self.mx.logged("is down")

    @property
    def db(self) -> Path:
        return self.mx.folder / "state" / "queue.db"

    def end(self) -> None:
        if self.mx.process is not None:
            self.mx.stop()


@pytest.fixture
def queued(tmp_path: Path) -> Iterator[Queued]:
    with smtp_sink(tmp_path / "sink") as sink:
        made = Queued(tmp_path, sink)
        yield made
        made.end()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [a_foreign_file, a_zeroed_header, a_damaged_root])
def test_damaged_at_start(queued: Queued, damage: Damage) -> None:
    """It does not start on a damaged queue.db: one sentence names the file and the remedy, and the file stays."""
    queued.mx.stop()
    good = queued.db.read_bytes()
    damage(queued.db)
    damaged = queued.db.read_bytes()
    queued.mx.process = queued.mx.spawn()
    assert queued.mx.ends() == 2
    assert re.search(r"queue\.db.*(not a database|malformed).*docs/durability\.md", queued.mx.log)
    assert "Traceback" not in queued.mx.log
    assert queued.db.read_bytes() == damaged
    queued.db.write_bytes(good)
    queued.sink.start()
    queued.mx.start()
    all_arrived(queued.sink, queued.waiting)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [a_foreign_file, a_zeroed_header, cut_in_half])
def test_damaged_while_running(queued: Queued, damage: Damage) -> None:
    """Damaged under its feet: 451, an alarm, the process lives; nothing is delivered that is not what was sent."""
    mx = queued.mx
    damage(queued.db)
    answers = [send(mx.port, message(f"meanwhile {n}")) for n in range(5)]
    taken = {f"meanwhile {n}" for n, sent in enumerate(answers) if sent.code == 250}
    assert {sent.code for sent in answers} <= {250, 451}
    queued.sink.start()
    time.sleep(2)
    assert mx.process is not None
    assert mx.process.poll() is None
    assert "Traceback" not in mx.log
    assert set(subjects(queued.sink)) <= {*queued.waiting, *taken}


@pytest.mark.slow
def test_one_damaged_message(queued: Queued) -> None:
    """A message whose octets changed on the disk is held and told; the others arrive; it is not deleted."""
    mx = queued.mx
    mx.stop()
    content = queued.db.read_bytes()
    at = content.index(b"waits 7xx") + 500
    overwrite(queued.db, at, b"!")
    queued.sink.start()
    mx.start()
    all_arrived(queued.sink, [subject for subject in queued.waiting if subject != "waits 7"])
    mx.logged("damaged, set aside")
    (held,) = mx.queue()
    assert held["queue_name"] == "hold"
    assert "damaged: checksum" in held["recipients"][0]["delay_reason"]
    assert "waits 7" not in subjects(queued.sink)
    assert mx.cli("queue", "check").returncode == 1


@pytest.mark.slow
def test_locked_for_half_a_minute(queued: Queued) -> None:
    """Another program holds the database for 30 s: 451, one alarm line a minute; then everything goes on by itself."""
    mx = queued.mx
    other = sqlite3.connect(queued.db)
    other.execute("BEGIN IMMEDIATE")
    until = time.monotonic() + 30
    answers = []
    while time.monotonic() < until:
        answers.append(send(mx.port, message(f"locked {len(answers)}")).code)
    other.rollback()
    other.close()
    assert set(answers) == {451}
    assert len(re.findall(r"locked", mx.log)) <= 2 * 2  # a worker and the relay, a minute or two
    queued.sink.start()
    assert send(mx.port, message("afterwards")).code == 250
    all_arrived(queued.sink, [*queued.waiting, "afterwards"])
