"""flush: what it says while it goes, and at the end."""

import subprocess
import sys
from pathlib import Path

import pytest

from backupmx.operate.cli.flush import pace
from backupmx.queue.entry import FlushProgress
from tests.operate.desk import Desk


@pytest.mark.parametrize(
    ("waiting", "seconds", "said"),
    [
        (5000, 0.0, ""),
        (5000, 3.0, ""),
        (4000, 2.0, "500/s, 8s left"),
        (0, 10.0, "500/s, 0s left"),
        (4999, 10.0, "13h 53m left"),
    ],
)
def test_pace(waiting: int, seconds: float, said: str) -> None:
    """Rate and time left, by what was tried so far; of less than one a second only the time."""
    tried = 5000 - waiting
    assert pace(FlushProgress(1, 5000, waiting, tried, 0, 0, 0), seconds) == said


def test_nothing_deferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty queue there is nothing to do, and that is good."""
    monkeypatch.setattr("backupmx.operate.cli.flush.is_running", lambda config: True)
    desk = Desk(tmp_path)
    desk.on_queue(lambda queue: queue.end_leases())  # type: ignore[arg-type, return-value]
    done = desk.says("flush")
    assert (done.exit_code, done.stdout) == (0, "Nothing is deferred.\n")


def test_a_mistake_elsewhere_holds_no_mail_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody wrote into the configuration since the appliance started is no reason not to flush."""
    monkeypatch.setattr("backupmx.operate.cli.flush.is_running", lambda home: True)
    desk = Desk(tmp_path)
    desk.on_queue(lambda queue: queue.end_leases())  # type: ignore[arg-type, return-value]
    desk.config.write_text(desk.config.read_text() + "[smtp]\nworkrs = 2\n")
    assert desk.says("flush").exit_code == 0


def test_flush_starts_without_the_whole_configuration() -> None:
    """The command is on its way before pydantic would have been imported."""
    asked = "import sys, backupmx.operate.cli.flush; sys.exit('pydantic' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
