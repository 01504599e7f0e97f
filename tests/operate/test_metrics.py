"""metrics: what Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from backupmx.check.breaker import EngineState
from backupmx.journal import Alarm
from backupmx.logbook import LABELS
from backupmx.operate.metrics import exposition
from backupmx.operate.tally import Count, Process, Tally

RULE = {"table": "header_checks", "line": "3", "rule": '/^X-"Odd\\\\:/ DISCARD\x01'}


def samples(tally: Tally) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What Prometheus' own parser finds, by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(exposition(tally).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_hits_of_a_rule() -> None:
    """By table, line and text; whatever stands in the text, Prometheus reads it back."""
    tally = Tally(1.0, (Count("backupmx_rule_hits_total", RULE, 7, 1.0, 2.0),))
    assert samples(tally) == {"backupmx_rule_hits_total": [(RULE, 7.0)]}


def test_alarms_and_engines() -> None:
    """One line each, over all processes."""
    up, away = EngineState("clamd", True, 1.0), EngineState("clamd", False, 2.0, "refused")
    alarm = Alarm("engine clamd", 2.0, "away")
    tally = Tally(1.0, (), (Process("worker 1", 1, (alarm,), (away,)), Process("worker 2", 2, (alarm,), (up,))))
    assert samples(tally) == {
        "backupmx_alarm": [({"key": "engine clamd"}, 1.0)],
        "backupmx_engine_up": [({"engine": "clamd"}, 0.0)],
    }


def test_how_long_an_engine_takes() -> None:
    """What the checks took, in seconds."""
    labels = {"check": "virus", "engine": "clamd"}
    tally = Tally(1.0, (Count("backupmx_check_milliseconds_total", labels, 1250, 1.0, 2.0),))
    assert samples(tally) == {"backupmx_check_seconds_total": [(labels, 1.25)]}


def test_every_count_is_explained() -> None:
    """Each of the names has its HELP and TYPE, also before anything was counted."""
    text = exposition(Tally()).decode()
    names = [name.replace("milliseconds", "seconds") for name in LABELS]
    assert [name for name in names if f"# TYPE {name} counter" not in text or f"# HELP {name} " not in text] == []
