"""metrics: what Prometheus reads."""

from prometheus_client.parser import text_string_to_metric_families

from backupmx.check.breaker import EngineState
from backupmx.journal import Alarm, Journal
from backupmx.logbook import CHECK_TIME, FSYNC_STEPS, FSYNC_TIME, FSYNCS, LABELS
from backupmx.operate.report.metrics import exposition
from backupmx.operate.report.tally import Count, Process, Tally

RULE = {"table": "header_checks", "line": "3", "rule": '/^X-"Odd\\\\:/ DISCARD\x01'}

EXPORTED = {
    CHECK_TIME: ("backupmx_check_seconds_total", "counter"),
    FSYNCS: ("backupmx_fsync_seconds", "histogram"),
    FSYNC_TIME: ("backupmx_fsync_seconds", "histogram"),
}
"""What has another name, or another shape, for Prometheus than in the tally."""
NO_DISK = {
    "backupmx_fsync_seconds_bucket": [({"le": str(step).replace("inf", "+Inf")}, 0.0) for step in FSYNC_STEPS],
    "backupmx_fsync_seconds_count": [({}, 0.0)],
    "backupmx_fsync_seconds_sum": [({}, 0.0)],
}


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
    assert samples(tally) == {"backupmx_rule_hits_total": [(RULE, 7.0)], **NO_DISK}


def test_alarms_and_engines() -> None:
    """One line each, over all processes."""
    up, away = EngineState("clamd", True, 1.0), EngineState("clamd", False, 2.0, "refused")
    alarm = Alarm("engine clamd", 2.0, "away")
    tally = Tally(1.0, (), (Process("worker 1", 1, (alarm,), (away,)), Process("worker 2", 2, (alarm,), (up,))))
    assert samples(tally) == {
        "backupmx_alarm": [({"key": "engine clamd"}, 1.0)],
        "backupmx_engine_up": [({"engine": "clamd"}, 0.0)],
        **NO_DISK,
    }


def test_how_long_an_engine_takes() -> None:
    """What the checks took, in seconds."""
    labels = {"check": "virus", "engine": "clamd"}
    tally = Tally(1.0, (Count("backupmx_check_milliseconds_total", labels, 1250, 1.0, 2.0),))
    assert samples(tally) == {"backupmx_check_seconds_total": [(labels, 1.25)], **NO_DISK}


def test_how_long_the_disk_takes() -> None:
    """Each step of the histogram has what is quicker, too; the sum is in seconds; what was never waited for is 0."""
    journal = Journal(sink=lambda line: None)
    for seconds in (0.0004, 0.001, 0.002, 0.02, 40.0):
        journal.synced(seconds)
    counts = tuple(
        Count(name, dict(zip(LABELS[name], labels, strict=True)), value, 1.0, 2.0)
        for (name, *labels), value in journal.counts.items()
    )
    said = samples(Tally(1.0, counts))
    steps = [(of["le"], many) for of, many in said["backupmx_fsync_seconds_bucket"]]
    assert steps[:5] == [("0.001", 2.0), ("0.003", 3.0), ("0.01", 3.0), ("0.03", 4.0), ("0.1", 4.0)]
    assert steps[-2:] == [("3.0", 4.0), ("+Inf", 5.0)]
    assert said["backupmx_fsync_seconds_count"] == [({}, 5.0)]
    assert said["backupmx_fsync_seconds_sum"] == [({}, 40.0234)]


def test_every_count_is_explained() -> None:
    """Each of the names has its HELP and TYPE, also before anything was counted."""
    text = exposition(Tally()).decode()
    shown = {EXPORTED.get(name, (name, "counter")) for name in LABELS}
    assert [name for name, kind in shown if f"# TYPE {name} {kind}" not in text or f"# HELP {name} " not in text] == []
