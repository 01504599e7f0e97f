"""Pure.  exposition: /metrics: what `backupmx metrics` writes, and how queue and primaries are at this moment.

    backupmx_queue_recipients{next_hop,state}       who waits
    backupmx_queue_oldest_timestamp_seconds{next_hop}
    backupmx_next_hop_up{next_hop}                  1 up, 0 down; not there: not known
    backupmx_next_hop_since_timestamp_seconds{next_hop}
    backupmx_recipient_list_timestamp_seconds{list}
    backupmx_disk_free_bytes, backupmx_quarantine_recipients, backupmx_paused{domain}, backupmx_running

Standards: Prometheus text format 0.0.4; times are Unix timestamps, so that rules subtract them from time().
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from backupmx.operate.desk import WAITING
from backupmx.operate.page.facts import Status
from backupmx.operate.report.metrics import exposition as counted
from backupmx.operate.report.tally import Tally

Rows = Iterable[tuple[list[str], float]]


class _Collector:
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        now, hops = self._status, self._status.next_hops
        yield _gauge("queue_recipients", "Recipients that wait.", ["next_hop", "state"], (
            ([hop.next_hop, str(state)], hop.in_state(state)) for hop in hops for state in WAITING
        ))  # fmt: skip
        yield _gauge("queue_oldest_timestamp_seconds", "When the oldest message that waits came.", ["next_hop"], (
            ([hop.next_hop], hop.oldest) for hop in hops if hop.oldest
        ))  # fmt: skip
        yield _gauge("next_hop_up", "Whether it takes connections.", ["next_hop"], (
            ([hop.next_hop], hop.state == "up") for hop in hops if hop.state != "unknown"
        ))  # fmt: skip
        yield _gauge("next_hop_since_timestamp_seconds", "Since when it is so.", ["next_hop"], (
            ([hop.next_hop], hop.since) for hop in hops if hop.since and hop.state != "unknown"
        ))  # fmt: skip
        yield _gauge("recipient_list_timestamp_seconds", "When a list was fetched.", ["list"], (
            ([one.name], one.synced) for one in now.lists if one.synced
        ))  # fmt: skip
        yield _gauge("paused", "1: accepted, not relayed.", ["domain"], (([one.domain], 1) for one in now.paused))
        yield _gauge("quarantine_recipients", "Recipients in quarantine.", [], [([], now.quarantined)])
        yield _gauge("disk_free_bytes", "Room on the queue's disk.", [], [([], now.disk_free)])
        yield _gauge("disk_min_free_bytes", "With less mail is put off.", [], [([], now.min_free)])
        yield _gauge("running", "Whether an appliance works on the queue.", [], [([], now.running)])


def _gauge(name: str, meaning: str, labels: list[str], rows: Rows) -> Metric:
    family = GaugeMetricFamily(f"backupmx_{name}", meaning, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def exposition(tally: Tally, status: Status) -> bytes:
    """All of it, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(status))
    return counted(tally) + generate_latest(registry)
