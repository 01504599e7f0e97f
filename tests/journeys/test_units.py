"""The units for systemd, as systemd's own tools and an appliance that is told it runs under one see them."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually

pytestmark = pytest.mark.neighbours

UNITS = Path(__file__).parents[2] / "systemd-freebsd"
SHORT = 2
"""Seconds of WatchdogSec= in these tests."""


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("systemd-analyze") or pytest.skip("no systemd here")
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=60,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0"},
    )  # fmt: skip


@pytest.mark.parametrize("unit", ["backupmx.service", "backupmx.socket"])
def test_nothing_is_wrong(unit: str, tmp_path: Path) -> None:
    """systemd finds nothing wrong with a unit, beside the other one, once the program is where it says."""
    program = tmp_path / "backupmx"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for each in UNITS.glob("backupmx.s*"):
        (tmp_path / each.name).write_text(each.read_text().replace("/usr/local/bin/backupmx", str(program)))
    done = analyze("verify", "--man=no", str(tmp_path / unit))
    assert [line for line in done.stderr.splitlines() if "backupmx" in line] == []


def test_exposure() -> None:
    """`systemd-analyze security` gives the service no more than 2.0 of 10."""
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(UNITS / "backupmx.service"))
    assert done.returncode == 0, done.stdout[-500:]
    assert "Overall exposure level for backupmx.service" in done.stdout


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[Path, "socket.socket"]]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(path))
        ear.settimeout(20)
        yield path, ear


def test_told_by_an_appliance(
    serve: Serve, manager: tuple[Path, "socket.socket"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY once the port is open, signs of life, RELOADING and READY at SIGHUP, also with a wrong file; STOPPING."""
    path, ear = manager
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", str(SHORT * 1_000_000))
    mx = serve(bound_to(["example.jp"], 1))

    def until(word: str) -> list[str]:
        heard = [ear.recv(4096).decode()]
        while not heard[-1].startswith(word):
            heard.append(ear.recv(4096).decode())
        return heard

    assert until("READY=1") == ["READY=1"]
    with socket.create_connection(("127.0.0.1", mx.port), 10) as client:
        assert client.recv(4) == b"220 "
    assert f"processes on 127.0.0.1:{mx.port}" in until("STATUS=")[-1]
    until("WATCHDOG=1")
    until("WATCHDOG=1")
    mx.header_checks = "nonsense\n"
    mx.write()
    mx.tell(signal.SIGHUP)
    until("RELOADING=1")
    assert until("READY=1") == ["READY=1"]
    eventually(lambda: "ALARM: reload failed" in until("STATUS=")[-1])
    assert mx.stop() == 0
    until("STOPPING=1")
    until("STATUS=stopping")
