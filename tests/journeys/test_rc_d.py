"""rc.d/backupmx for FreeBSD, by a POSIX sh under stand-ins for rc.subr(8) and daemon(8): no FreeBSD is needed."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.appliance import OFF, Appliance, alive, bound_to, environment
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually

pytestmark = pytest.mark.neighbours

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "systemd-freebsd/rc.d/backupmx"
STANDINS = ROOT / "tests/neighbours/freebsd"


@dataclass
class Rc:
    """The script, and an appliance's files for it."""

    mx: Appliance
    folder: Path
    enabled: str = "YES"
    wait: int = 5

    def __post_init__(self) -> None:
        self.binary = self.folder / "backupmx"
        self.binary.write_text(f"#!{sys.executable}\nfrom backupmx.operate.cli import main\nmain()\n")
        self.binary.chmod(0o755)
        (self.folder / "rc.d").write_text(SCRIPT.read_text().replace(". /etc/rc.subr", f". {STANDINS}/rc.subr"))

    def __call__(self, argument: str) -> "subprocess.CompletedProcess[str]":
        (self.folder / "rc.conf").write_text(
            f"backupmx_enable={self.enabled}\nbackupmx_config={self.mx.config}\nbackupmx_binary={self.binary}\n"
            f"backupmx_run={self.folder}/run\nbackupmx_log={self.folder}/log\nbackupmx_wait={self.wait}\n"
            f"backupmx_program={STANDINS}/daemon.py\nbackupmx_user={self.user}\n"
        )
        shell = shutil.which("dash") or pytest.skip("no POSIX sh here")
        return subprocess.run(
            [shell, str(self.folder / "rc.d"), argument],
            capture_output=True, text=True, timeout=60, env={**environment(), "RC_CONF": str(self.folder / "rc.conf")},
        )  # fmt: skip

    @property
    def user(self) -> str:
        """Who runs these tests: who is not root may install nothing for root."""
        return "" if os.geteuid() == 0 else subprocess.check_output(["id", "-un"], text=True).strip()

    def pid(self, name: str = "backupmx") -> int:
        return int((self.folder / f"run/{name}.pid").read_text())

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def rc(serve: Serve, tmp_path: Path) -> Rc:
    mx = serve(bound_to(["example.jp"], 1), started=False)
    folder = tmp_path / "rc"
    folder.mkdir()
    return Rc(mx, folder)


def test_a_day(rc: Rc) -> None:
    """start, status, reload, flush, a rotated log, restart, stop, status: each does what rc(8) promises."""
    assert rc("start").returncode == 0
    eventually(lambda: "one relay" in rc.log)
    first = rc.pid()
    try:
        assert rc("start").returncode == 1
        status = rc("status")
        assert (status.returncode, status.stdout.splitlines()[0]) == (0, f"backupmx is running as pid {first}.")
        assert "running" in status.stdout.splitlines()[1]
        assert rc("reload").returncode == 0
        eventually(lambda: "reload: policy read again" in rc.log)
        assert "Nothing is deferred." in rc("flush").stdout
        (rc.folder / "log").rename(rc.folder / "log.0")
        os.kill(rc.pid("daemon"), 1)  # as newsyslog does
        eventually((rc.folder / "log").exists)
        assert rc("restart").returncode == 0
        assert not alive(first)
        eventually(lambda: "one relay" in rc.log)
        assert "stopped: backupmx" in rc.log
    finally:
        last = rc.pid()
        assert rc("stop").returncode == 0
    assert not alive(last)
    assert rc("status").returncode == 1
    assert rc("stop").returncode == 1


def test_a_wrong_configuration(rc: Rc) -> None:
    """Nothing starts with a configuration that is unusable, checkconfig says why; one that is missing is named."""
    rc.mx.header_checks = "nonsense\n"
    rc.mx.write()
    for argument in ("start", "checkconfig"):
        done = rc(argument)
        assert done.returncode != 0
        assert "header_checks:1: " in done.stderr
    assert not (rc.folder / "run").exists()
    rc.mx.config.unlink()
    done = rc("start")
    assert (done.returncode, f"{rc.mx.config} is not readable" in done.stderr) == (1, True)


def test_a_reload_that_is_wrong(rc: Rc) -> None:
    """A running appliance is not told to read files that are wrong, nor stopped for a restart with them."""
    assert rc("start").returncode == 0
    eventually(lambda: "one relay" in rc.log)
    try:
        rc.mx.header_checks = "nonsense\n"
        rc.mx.write()
        assert rc("reload").returncode == 1
        assert rc("restart").returncode == 1
        assert alive(rc.pid())
        assert "reload" not in rc.log
    finally:
        rc("stop")


def test_not_enabled(rc: Rc) -> None:
    """Without backupmx_enable nothing starts, but for forcestart; rcvar tells the variable."""
    rc.enabled = "NO"
    done = rc("start")
    assert (done.returncode, "backupmx_enable" in done.stderr) == (1, True)
    assert not (rc.folder / "run").exists()
    assert rc("rcvar").stdout == 'backupmx_enable="NO"\n'
    assert rc("forcestart").returncode == 0
    eventually(lambda: "one relay" in rc.log)
    assert rc("forcestop").returncode == 0


def test_waiting_for_engines(rc: Rc, tmp_path: Path) -> None:
    """A start waits for the sockets of the configuration, not for ever; what is there is not waited for."""
    missing, there = tmp_path / "missing.sock", tmp_path / "there.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(there))
        places = {"spam": f"unix:{missing}", "virus": f"unix:{there}"}
        checks = {name: {"engine": "off", "address": place} for name, place in places.items()}
        rc.mx.settings = {"checks": {**OFF, **checks}}
        rc.mx.write()
        rc.wait = 1
        done = rc("start")
    assert done.returncode == 0
    eventually(lambda: "one relay" in rc.log)
    rc("stop")
    assert f"{missing} is not there after 1s" in done.stderr
    assert str(there) not in done.stderr


def test_shellcheck() -> None:
    """A checker of shell programs has no objection: a POSIX sh, each variable quoted or meant."""
    program = shutil.which("shellcheck") or pytest.skip("no shellcheck here")
    # rc.subr is read at run time: it reads variables that are set here, and sets rc_pid.
    done = subprocess.run(
        [program, "-s", "sh", "-e", "SC1091,SC2034,SC2154", str(SCRIPT)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
