"""What is worth an alarm, and that it is told once."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from backupmx.check.breaker import EngineState
from backupmx.config.alarms import Alarms
from backupmx.journal import Alarm
from backupmx.operate.report.alarms import Known, News, Sight, Trouble, news, troubles
from backupmx.operate.report.tally import Process, Tally
from backupmx.queue.entry import HopState, State, Total

NOW, HOUR = 1_800_000_000.0, 3600.0
WELL = Sight(NOW, {}, (), Tally(), 1 << 40, {}, {}, 7 * 86400.0)
HOP = "smtp:[p.example]:25"
SETTINGS = Alarms()


def down(seconds: float) -> Sight:
    return replace(WELL, hops={HOP: HopState(HOP, False, NOW - seconds, "timed out", NOW, 3)})


def process(*, engine: float | None = None, alarm: str = "") -> Tally:
    engines = (EngineState("clamd", False, NOW - engine, "refused"),) if engine is not None else ()
    alarms = (Alarm(alarm, NOW - 1, "it failed"),) if alarm else ()
    return Tally(1.0, (), (Process("worker 1", 1, alarms, engines),))


@pytest.mark.parametrize(
    ("sight", "keys"),
    [
        (WELL, []),
        (down(899), []),
        (down(900), [f"down {HOP}"]),
        (replace(WELL, totals=(Total(HOP, State.DEFERRED, 3, NOW - 5 * HOUR),)), [f"queue {HOP}"]),
        (replace(WELL, totals=(Total(HOP, State.DEFERRED, 3, NOW - 3 * HOUR),)), []),
        (replace(WELL, totals=(Total(HOP, State.HELD, 3, NOW - 900 * HOUR),)), []),
        (replace(WELL, tally=process(engine=299)), []),
        (replace(WELL, tally=process(engine=301)), ["engine clamd"]),
        (replace(WELL, tally=process(alarm="engine clamd")), []),
        (replace(WELL, tally=process(alarm="reload")), ["alarm reload"]),
        (replace(WELL, disk_free=1 << 20), ["disk"]),
        (replace(WELL, certificates={"c.pem": NOW + 13 * 86400}), ["certificate c.pem"]),
        (replace(WELL, certificates={"c.pem": NOW + 15 * 86400}), []),
        (replace(WELL, lists={"a": NOW - 8 * 86400, "b": NOW - HOUR, "new": None}), ["list a"]),
    ],
)
def test_what_is_worth_it(sight: Sight, keys: list[str]) -> None:
    """Each threshold, from both sides."""
    assert [one.key for one in troubles(SETTINGS, sight)] == keys


def test_zero_is_never() -> None:
    """What is set to 0 is not told."""
    off = Alarms(primary_down=0, queue_age=0, engine_away=0, disk_free=0, certificate=0, lists=False)
    everything = replace(
        down(9999), totals=(Total(HOP, State.QUEUED, 1, 1.0),), tally=process(engine=9999), disk_free=0,
        certificates={"c": 1.0}, lists={"a": 1.0},
    )  # fmt: skip
    assert troubles(off, everything) == []
    assert len(troubles(SETTINGS, everything)) == 6


def test_begin_and_end_are_told_once() -> None:
    """A trouble that stays is one message; when it has been over for long enough, another."""
    one, known, told = Trouble("disk", NOW, "full"), dict[str, Known](), list[News]()
    for minute in range(60):
        what, known = news(known, [one] if minute < 30 else [], 600, NOW + 60 * minute)
        told += [what] if what.something else []
    assert told == [News(began=(one,)), News(ended=(one,))]
    assert known == {}


def test_what_flaps_is_one_trouble() -> None:
    """Up and down every two minutes for an hour: one begin, and one end when it is over."""
    one, known, told = Trouble("engine clamd", NOW, "away"), dict[str, Known](), list[News]()
    for minute in range(90):
        what, known = news(known, [one] if minute < 60 and minute % 4 < 2 else [], 600, NOW + 60 * minute)
        told += [what] if what.something else []
    assert [(len(what.began), len(what.ended)) for what in told] == [(1, 0), (0, 1)]


def test_what_a_person_reads() -> None:
    """The subject says the first, the lines all, with how long it was."""
    what = News((Trouble("a", NOW, "p is down"), Trouble("b", NOW, "disk")), (Trouble("c", NOW - HOUR, "clamd"),))
    assert what.subject() == "p is down, and 2 more"
    assert [line.split()[0] for line in what.lines(NOW)] == ["BEGINS", "BEGINS", "OVER"]
    assert "lasted 1h 0m" in list(what.lines(NOW))[2]


def test_rules_for_prometheus() -> None:
    """docs/alerts.yml is YAML, and speaks of metrics that /metrics has."""
    text = (Path(__file__).parents[3] / "docs/alerts.yml").read_text()
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert all({"alert", "expr", "labels", "annotations"} <= set(rule) for rule in rules)
    page = (Path(__file__).parents[3] / "docs/page.md").read_text() + "backupmx_engine_up backupmx_alarm"
    named = {name for rule in rules for name in re.findall(r"backupmx_\w+", rule["expr"])}
    assert {name for name in named if name not in page} == set()
