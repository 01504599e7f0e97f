"""Journey: what goes wrong while nobody looks is seen by `status`, and is gone when it is mended."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.appliance import OFF, Appliance, bound_to, kill
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

RULES = "/^Subject: unwanted/ REJECT not here\n/^X-A:/ IGNORE\n/^X-B:/ DUNNO\n"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


def alarms(mx: Appliance) -> list[str]:
    return [alarm["text"] for alarm in status(mx)["alarms"]]


def status(mx: Appliance) -> dict[str, Any]:
    (found,) = mx.objects("status")
    return found


def hits(mx: Appliance) -> list[int]:
    return [rule["hits"] for rule in mx.objects("lint", "--hits")]


def test_a_table_that_is_gone(serve: Serve, sink: SmtpSink) -> None:
    """Deleted, or a folder in its place: the old rules stay, log and status say so until a reload succeeds."""
    mx = serve(bound_to(["example.jp"], sink.port), header_checks=RULES)
    table = mx.folder / "header_checks"
    for make in (table.unlink, table.mkdir):
        make()
        mx.reload()
        mx.logged(r"error: reload: the old policy stays: \S+/header_checks: (No such file|Is a directory)")
        assert send(mx.port, message("unwanted")).code == 550
        eventually(lambda: [alarm for alarm in alarms(mx) if f"old policy stays: {table}" in alarm])
        assert "ALARM for " in mx.cli("status").stdout
        assert mx.cli("status").returncode == 1
    table.rmdir()
    mx.write()
    mx.reload()
    eventually(lambda: not alarms(mx))
    assert mx.cli("status").returncode == 0


def test_a_worker_that_died(serve: Serve, sink: SmtpSink) -> None:
    """kill -9: another takes its place at once; `status` tells of it for as long as the other may die too."""
    mx = serve(bound_to(["example.jp"], sink.port))
    kill(mx.child("worker 1"))
    mx.logged(r"worker 1 died")
    eventually(lambda: alarms(mx) == ["worker 1 died: signal 9; another takes its place"])
    assert mx.cli("status").returncode == 1


def engines(mx: Appliance) -> list[dict[str, Any]]:
    """But for the servers of the DNS: this machine's may be away too."""
    return [one for one in status(mx)["engines"] if one["engine"] == "clamd"]


def test_an_engine_that_is_away(serve: Serve, sink: SmtpSink) -> None:
    """After the third message it is left alone: an alarm, until a reload takes the engine out."""
    checks = {**OFF, "virus": {"engine": "clamd", "address": f"tcp:127.0.0.1:{free_port()}"}}
    mx = serve(bound_to(["example.jp"], sink.port), checks=checks)
    for number in range(3):
        assert send(mx.port, message(f"number {number}")).code == 250
    eventually(lambda: status(mx)["alarms"])
    (engine,) = engines(mx)
    assert (engine["engine"], engine["state"], engine["away_for"], engine["asked_by"]) == ("clamd", "away", 1, 1)
    assert "Connect" in engine["why"] or "refused" in engine["why"]
    assert mx.cli("status").returncode == 1
    mx.settings = {**mx.settings, "checks": OFF}
    mx.write()
    mx.reload()
    eventually(lambda: not status(mx)["alarms"])
    assert engines(mx) == []


def metrics(mx: Appliance) -> str:
    return mx.cli("metrics").stdout


def test_hits_outlive_a_restart(serve: Serve, sink: SmtpSink) -> None:
    """Counts of two workers and two lives add up; a line that is put before the rules takes no count from them."""
    mx = serve(bound_to(["example.jp"], sink.port), header_checks=RULES, smtp={"workers": 2})
    for _ in range(4):
        send(mx.port, message("unwanted"))
        send(mx.port, message("wanted", X_A="1"))
    assert mx.stop() == 0
    assert hits(mx) == [4, 4, 0]
    mx.header_checks = "/^X-New:/ WARN\n" + RULES
    mx.write()
    assert [rule["since"] is None for rule in mx.objects("lint", "--hits")] == [True, False, False, False]
    mx.start()
    send(mx.port, message("unwanted"))
    eventually(lambda: hits(mx) == [0, 5, 4, 0])
    assert status(mx)["verdicts"] == {"reject": 5, "accept": 4}
    told = re.findall(
        r'^backupmx_rule_hits_total{line="(.)",rule="/.Subject: .*} ([0-9.]+)$', metrics(mx), re.MULTILINE
    )
    assert sorted(told) == [("1", "4.0"), ("2", "1.0")]
    assert mx.cli("lint", "--hits").stderr.startswith("4 rules, 2 of them never matched, counting since 20")
