"""The tally: counts of all processes that outlive them, and what is wrong now."""

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backupmx.check.breaker import EngineState
from backupmx.config import Config, parse
from backupmx.journal import DELIVERIES, RULE_HITS, VERDICTS, Journal
from backupmx.net.dns import Resolver
from backupmx.operate.cli import health
from backupmx.operate.cli.lint_hits import Row, rows
from backupmx.operate.report import tally
from backupmx.operate.report.tally import FILE, Publisher, Tally, read, servers
from backupmx.operate.serve.lock import lock
from backupmx.rules.table import load
from backupmx.rules.tables import Tables

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'


class Process:
    """A process of the appliance with a clock of its own and its journal's lines."""

    def __init__(self, folder: Path, name: str = "worker 1", *engines: EngineState) -> None:
        self.now = 1000.0
        self.lines: list[bytes] = []
        self.journal = Journal(sink=self.lines.append, clock=lambda: self.now, host="mx2", stamped=False)
        self.publisher = Publisher(folder / FILE, name, self.journal, lambda: engines, clock=lambda: self.now)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return parse(TEXT, tmp_path / "backupmx.toml")


@pytest.fixture
def runs(config: Config) -> "Callable[[], Tally]":
    """Reads what a running appliance tells."""
    held = lock(config)

    def told() -> Tally:
        return read(config)

    yield told  # type: ignore[misc]
    os.close(held)


def test_nothing_was_ever_counted(config: Config) -> None:
    """A file that is not there is no trouble and counts nothing."""
    assert read(config) == Tally()
    assert not (config.state_path(FILE)).exists()


def test_counts_add_up_over_processes_and_restarts(tmp_path: Path, config: Config) -> None:
    """Two processes, then one after a restart: every delivery is counted once, with when the last was."""
    first, second = Process(tmp_path), Process(tmp_path, "worker 2")
    for one in (first, second):
        one.journal.judged("QID", "accept", "")
        one.publisher.publish()
        one.journal.judged("QID", "accept", "")
        one.journal.judged("QID", "reject", "rule")
        one.publisher.publish()
        one.publisher.publish()
        one.publisher.end()
    third = Process(tmp_path)
    third.now = 2000.0
    third.journal.judged("QID", "accept", "")
    third.publisher.publish()
    found = {count.labels["fate"]: (count.value, count.began, count.last) for count in read(config).named(VERDICTS)}
    assert found == {"accept": (5, 1000.0, 2000.0), "reject": (2, 1000.0, 1000.0)}


def test_what_is_counted_before_the_file_can_be_written_is_not_lost(tmp_path: Path, config: Config) -> None:
    """While another holds the file, or there is no folder, counts stay in memory; it is said, and nothing stops."""
    process = Process(tmp_path / "later")
    process.journal.judged("QID", "accept", "")
    assert not process.publisher.publish()
    assert b"unable to open database file: counts are kept in memory" in process.lines[-1]
    (tmp_path / "later").mkdir()
    assert process.publisher.publish()
    elsewhere = parse(TEXT.replace("[relay]", 'state_dir = "later"\n[relay]'), tmp_path / "backupmx.toml")
    assert [count.value for count in read(elsewhere).named(VERDICTS)] == [1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database at all, but long enough for one" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
        lambda path: sqlite3.connect(path, isolation_level=None).execute("PRAGMA user_version=77").close(),
        lambda path: sqlite3.connect(path, isolation_level=None).execute("DROP TABLE tally").close(),
        lambda path: path.unlink(),
    ],
    ids=["other bytes", "overwritten", "newer", "half", "gone"],
)
def test_a_damaged_or_lost_file_is_begun_anew(tmp_path: Path, config: Config, damage: Callable[[Path], None]) -> None:
    """It is said; the rules that are in force are known at once, and what comes is counted."""
    process = Process(tmp_path)
    process.journal.counting("header_checks", 1, "/a/ WARN")
    process.journal.rule_hit("header_checks", 1, "/a/ WARN")
    process.publisher.publish()
    for left in ("-wal", "-shm"):
        assert not (tmp_path / f"{FILE}{left}").exists()
    damage(tmp_path / FILE)
    process.now = 3000.0
    assert process.publisher.publish()
    assert b"count" in process.lines[-1]
    assert b"began anew" in process.lines[-1] or b"begins anew" in process.lines[-1]
    (count,) = read(config).named(RULE_HITS)
    assert (count.value, count.began) == (0, 3000.0)
    process.journal.rule_hit("header_checks", 1, "/a/ WARN")
    process.publisher.publish()
    assert [count.value for count in read(config).named(RULE_HITS)] == [1]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path, config: Config) -> None:
    """A command line never fails for it."""
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    assert "not a database" in read(config).trouble


def test_dns_servers_are_told_beside_engines(tmp_path: Path, runs: Callable[[], Tally]) -> None:
    """Each server that is asked, by its address."""
    states = servers(Resolver(["192.0.2.53", "192.0.2.54:5353"]))
    pretend(Process(tmp_path, "relay", *states))
    said = [line.partition(" for ")[0] for line in health.lines(runs(), time.time())]
    assert said == ["DNS server 192.0.2.53: up", "DNS server 192.0.2.54:5353: up"]


def test_alarms_and_engines_of_all_processes(tmp_path: Path, runs: Callable[[], Tally]) -> None:
    """An engine that is away for one process of two is one alarm, with its process; the other's word counts too."""
    up, away = EngineState("clamd", True, 10.0), EngineState("clamd", False, 20.0, "connection refused")
    one, two = Process(tmp_path, "worker 1", up), Process(tmp_path, "worker 2", away)
    two.journal.engine_down("clamd", "connection refused")
    one.publisher.publish()
    pretend(two)
    (engine,) = runs().engines
    assert (engine.name, engine.away, engine.asked_by, engine.since) == ("clamd", 1, 2, 20.0)
    (standing,) = runs().alarms
    assert (standing.alarm.text, standing.processes) == ("clamd is away: connection refused", ("worker 2",))
    assert list(health.lines(runs(), 3620.0))[:2] == [
        "ALARM for 43m: clamd is away: connection refused [worker 2]",
        "engine clamd: away for 1 of 2 processes for 1h 0m (connection refused)",
    ]
    two.journal.engine_up("clamd")
    pretend(two)
    assert runs().alarms == ()


def pretend(process: Process) -> None:
    """Publish as another process than this one would."""
    real = os.getpid
    try:
        os.getpid = lambda: 999_999
        process.publisher.publish()
    finally:
        os.getpid = real


def test_alarms_of_a_process_that_is_gone_vanish(tmp_path: Path, runs: Callable[[], Tally]) -> None:
    """Ended, died, or of an earlier life: nobody is alarmed by the dead."""
    supervisor, worker = Process(tmp_path, "supervisor"), Process(tmp_path)
    for gone in (lambda: supervisor.publisher.forget(999_999), supervisor.publisher.begin, worker.publisher.end):
        worker.journal.queue_trouble("disk on fire")
        if gone == worker.publisher.end:
            worker.publisher.publish()
        else:
            pretend(worker)
        assert len(runs().alarms) == 1
        gone()
        supervisor.publisher.publish()
        assert runs().alarms == ()


def test_nothing_is_alarming_where_nothing_runs(tmp_path: Path, config: Config) -> None:
    """After a kill -9 of everything the counts are there, the alarms of the dead are not."""
    process = Process(tmp_path)
    process.journal.queue_trouble("disk on fire")
    process.publisher.publish()
    assert (read(config).processes, read(config).began) == ((), 1000.0)


def test_the_supervisor_drops_what_nobody_spoke_of_for_a_year(tmp_path: Path, config: Config) -> None:
    """A rule that was edited away does not stay for ever."""
    old = Process(tmp_path)
    old.journal.counting("header_checks", 1, "/edited away/ WARN")
    old.publisher.publish()
    new = Process(tmp_path, "supervisor")
    new.now += 401 * 86400
    new.publisher.begin()
    assert read(config).named(RULE_HITS) == ()


async def test_publishing_beside_the_loop(tmp_path: Path, config: Config) -> None:
    """`run` writes until it is cancelled; the last word waits for a writing under way and loses nothing."""
    import asyncio

    process = Process(tmp_path)
    task = asyncio.create_task(process.publisher.run(0.001))
    for _ in range(200):
        process.journal.delivered("QID", "u@example.jp", "p", 1.0, "2.0.0", "ok")
        await asyncio.sleep(0)
    task.cancel()
    process.publisher.end()
    assert [count.value for count in read(config).named(DELIVERIES)] == [200]


def test_a_writing_that_comes_behind_the_last_word(tmp_path: Path, config: Config, runs: "Callable[[], Tally]") -> None:
    """It takes back nothing of what was counted since, and the process does not come to life again."""
    process = Process(tmp_path)
    process.journal.delivered("QID", "u@example.jp", "p", 1.0, "2.0.0", "ok")
    before = process.publisher._as_it_is(), process.journal.counts
    process.journal.delivered("QID", "u@example.jp", "p", 1.0, "2.0.0", "ok")
    process.publisher.end()
    process.publisher._write(*before)
    assert [count.value for count in runs().named(DELIVERIES)] == [2]
    assert runs().processes == ()


def hit(folder: Path, line: int, rule: str, times: int) -> None:
    process = Process(folder)
    process.journal.counting("t", line, rule)
    for _ in range(times):
        process.journal.rule_hit("t", line, rule)
    process.publisher.publish()


def test_hits_belong_to_a_line_and_its_text(tmp_path: Path, config: Config) -> None:
    """A rule that moved keeps its hits; an edited one begins anew; of two that read alike each has its own line's."""
    for line, rule, times in ((1, "/a/ WARN", 3), (2, "/b/ WARN", 2), (3, "/c/ WARN", 1), (4, "/c/ WARN", 5)):
        hit(tmp_path, line, rule, times)
    table = load(b"/new/ WARN\n/a/ WARN\n/c/ WARN\n/c/ WARN\n/b/ WARN x\n", "t")
    found = [(row.line, row.hits, row.since is None) for row in rows(Tables(table, milter=table), read(config))]
    assert found == [(1, 0, True), (2, 3, False), (3, 1, False), (4, 5, False), (5, 0, True)]


def test_a_rule_that_never_matched_says_since_when(tmp_path: Path, config: Config) -> None:
    """It is known from the moment the table is in force."""
    hit(tmp_path, 1, "/a/ WARN", 0)
    assert list(rows(Tables(load(b"/a/ WARN\n", "t")), read(config))) == [Row("t", 1, "/a/ WARN", 0, None, 1000)]


def test_any_rule_can_be_counted(tmp_path: Path, config: Config) -> None:
    """Bytes that are no UTF-8, quotes and line ends in a rule do no harm."""
    table = load(b"/a'\"\xff/\n  WARN \xe6\x97\xa5\n", "t")
    ((_, rule),) = Tables(table).rules()
    hit(tmp_path, rule.line, rule.whole, 2)
    assert [row.hits for row in rows(Tables(table), read(config))] == [2]


def test_the_file_is_for_others_too(tmp_path: Path) -> None:
    """`sqlite3 tally.db` shows names and labels as a metrics page would."""
    process = Process(tmp_path)
    process.journal.found("QID", "virus", "clamd", "clean", "clean", 0.1)
    process.publisher.publish()
    found = sqlite3.connect(tmp_path / FILE).execute(
        "SELECT labels, value FROM counts WHERE name = 'backupmx_checks_total'"
    )
    ((labels, value),) = found.fetchall()
    found.connection.close()
    assert (json.loads(labels), value) == ({"check": "virus", "engine": "clamd", "seen": "clean"}, 1)
    assert tally.FILE == "tally.db"


def test_verdicts_of_each_hour(config: Config) -> None:
    """What several processes counted in an hour adds up, over restarts too; two weeks are kept."""
    for process, hour, many in (("worker 1", 100_000, 2), ("worker 2", 100_000, 3), ("worker 1", 100_001, 1)):
        journal = Journal(sink=lambda line: None)
        publisher = tally.Publisher(tally.path(config), process, journal, clock=lambda hour=hour: hour * 3600.0 + 7)
        publisher.publish()
        for _ in range(many):
            journal.judged("", "discard", "")
        publisher.publish()
        publisher.publish()
    assert [(one.hour // 3600, one.fate, one.value) for one in tally.read(config).hours] == [
        (100_000, "discard", 5), (100_001, "discard", 1),
    ]  # fmt: skip
    later = (100_001 + 14 * 24) * 3600.0 - 1
    tally.Publisher(tally.path(config), "supervisor", Journal(sink=lambda line: None), clock=lambda: later).begin()
    assert [one.hour // 3600 for one in tally.read(config).hours] == [100_001]


def test_a_file_without_hours(config: Config) -> None:
    """One that an older backupmx wrote is read as it is and has hours from the next writing on."""
    journal = Journal(sink=lambda line: None)
    publisher = tally.Publisher(tally.path(config), "worker 1", journal)
    publisher.publish()
    with closing(sqlite3.connect(tally.path(config))) as db:
        db.execute("DROP TABLE hourly")
        db.commit()
    assert (tally.read(config).hours, tally.read(config).trouble) == ((), "")
    journal.judged("", "accept", "")
    publisher.publish()
    assert [one.value for one in tally.read(config).hours] == [1]
