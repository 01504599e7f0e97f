"""metrics: what was counted, and how the appliance is, as Prometheus reads it.

    tally.read ─► exposition ─► `backupmx metrics`, for node_exporter's textfile collector

    backupmx_rule_hits_total{table,line,rule}    and the other counts, as they are named in logbook.py
    backupmx_check_seconds_total{check,engine}   by the count of backupmx_checks_total: the latency of an engine
    backupmx_fsync_seconds                       a histogram: how long a commit of the queue waits for the disk
    backupmx_alarm{key}                          1 while it stands
    backupmx_engine_up{engine}                   0 while it is away

Standards: Prometheus text format 0.0.4.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from backupmx.logbook import CHECK_TIME, FSYNC_STEPS, FSYNC_TIME, FSYNCS, LABELS
from backupmx.operate.report.tally import Tally

_SECONDS = "backupmx_check_seconds_total"
_MEANING = {
    "backupmx_events_total": "Events of the log, by name.",
    "backupmx_verdicts_total": "Messages, by their fate.",
    "backupmx_checks_total": "What the checks saw.",
    CHECK_TIME: "How long the checks took, all together.",
    "backupmx_deliveries_total": "Recipients that were tried, by what became of them.",
    "backupmx_rule_hits_total": "Headers and body lines that a rule matched.",
}


class _Collector:
    """One reading of the tally."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        for name, labels in LABELS.items():
            if name in (FSYNCS, FSYNC_TIME):
                continue
            shown, scale = (_SECONDS, 1000) if name == CHECK_TIME else (name, 1)  # Prometheus counts in seconds
            family = CounterMetricFamily(shown, _MEANING[name], labels=labels)
            for count in self._tally.named(name):
                family.add_metric([str(count.labels[label]) for label in labels], count.value / scale)
            yield family
        yield _fsyncs(self._tally)
        yield _gauge(
            "backupmx_alarm", "What is wrong now; 1 while it is.", "key",
            [(standing.alarm.key, 1) for standing in self._tally.alarms],
        )  # fmt: skip
        yield _gauge(
            "backupmx_engine_up", "Whether an engine or milter answers.", "engine",
            [(engine.name, 0 if engine.away else 1) for engine in self._tally.engines],
        )  # fmt: skip


def _fsyncs(tally: Tally) -> Metric:
    """The tally has each step by itself, Prometheus wants each with all that is quicker."""
    of = {float(count.labels["within"]): count.value for count in tally.named(FSYNCS)}
    steps = accumulate(of.get(step, 0) for step in FSYNC_STEPS)
    buckets = [(_bound(step), many) for step, many in zip(FSYNC_STEPS, steps, strict=True)]
    seconds = sum(count.value for count in tally.named(FSYNC_TIME)) / 1e6
    meaning = "How long commits of the queue waited for the disk."
    return HistogramMetricFamily("backupmx_fsync_seconds", meaning, buckets=buckets, sum_value=seconds)


def _bound(step: float) -> str:
    return "+Inf" if step == inf else str(step)


def _gauge(name: str, meaning: str, label: str, values: Sequence[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family


def exposition(tally: Tally) -> bytes:
    """Pure.  All of it, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(tally))
    return generate_latest(registry)
