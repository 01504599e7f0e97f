"""appliance: `backupmx serve` as a process of its own, and the command line beside it, as an operator has them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.journeys.patience import eventually
from tests.neighbours.unbound import free_port

HOSTNAME = "mx2.example.test"

FIRST_USERS_RULES = r"""
/^From:\s*<>/m                  DISCARD
/^X\-Spam\-Flag:\s+YES/m        DISCARD
/^X\-Virus\-Status:\s+Yes/m     DISCARD

/^X\-Spam\-Level:/m             IGNORE
/^X\-Spam\-Checker\-Version:/m  IGNORE
/^X\-Spam\-Status:\s+No/m       IGNORE
/^X\-Virus\-Scanned:/m          IGNORE
/^X\-Virus\-Status:\s+Clean/m   IGNORE
"""

OFF: dict[str, Any] = {
    "virus": {"engine": "off"}, "spam": {"engine": "off"},
    "spf": {"enabled": False}, "dkim": {"enabled": False}, "dmarc": {"enabled": False}, "arc": {"enabled": False},
}  # fmt: skip
"""[checks] of a journey that is about something else."""

Settings = dict[str, Any]


def toml(settings: Mapping[str, Any], section: str = "") -> str:
    """A configuration as text.  JSON's strings, numbers and lists are TOML's."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    parts = [toml(value, f"{section}.{key}".lstrip(".")) for key, value in settings.items() if isinstance(value, dict)]
    head = f"[{section}]\n" if section else ""
    return head + "\n".join(plain) + "\n" + "".join(parts)


@dataclass
class Appliance:
    """One appliance in a folder of its own."""

    folder: Path
    settings: Settings
    transport_map: str
    header_checks: str = FIRST_USERS_RULES
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write()

    # its files

    @property
    def config(self) -> Path:
        return self.folder / "backupmx.toml"

    def write(self) -> None:
        """Configuration, map and rules as they should be now."""
        own: Settings = {
            "hostname": HOSTNAME,
            "state_dir": "state",
            "smtp": {"listen": [f"127.0.0.1:{self.port}"], "workers": 1, "stop_timeout": "10s"},
            # A primary that is away is found out by mail: each journey knows what was tried, and when.
            "relay": {"transport_map": "transport.map", "probe_interval": 0},
            "rules": {"header_checks": "header_checks"},
            "checks": OFF,
            "queue": {"min_free": 0},
            "admin": {"listen": ""},  # one port for all tests would be one too few
        }
        for key, value in self.settings.items():
            own[key] = {**own[key], **value} if isinstance(value, dict) and key in own and key != "checks" else value
        self.config.write_text(toml(own))
        (self.folder / "transport.map").write_text(self.transport_map)
        (self.folder / "header_checks").write_text(self.header_checks)

    # its process

    def start(self) -> "Appliance":
        """Returns when it says that it runs."""
        before = len(self.log)
        self.process = self.spawn()
        eventually(lambda: "one relay" in self.log[before:] or self._ended(), why=lambda: self.log)
        assert not self._ended(), self.log[before:]
        return self

    def spawn(self) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "backupmx", "serve", "-c", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment(),
            )  # fmt: skip

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def tell(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM.  -> its exit status"""
        if self.process is None:
            return 0
        self.tell(signal.SIGTERM)
        return self.ends(timeout)

    def ends(self, timeout: float = 30.0) -> int:
        assert self.process is not None
        status = self.process.wait(timeout)
        self.process = None
        return status

    def kill_all(self) -> None:
        """kill -9: the supervisor and every child."""
        assert self.process is not None
        victims = [self.process.pid, *self.children()]
        for pid in victims:
            kill(pid)
        self.ends()
        eventually(lambda: not any(alive(pid) for pid in victims))

    def children(self) -> list[int]:
        assert self.process is not None
        try:
            return [
                int(pid)
                for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def child(self, name: str) -> int:
        """The pid of "relay", "worker 1": who sits there now."""
        return int(re.findall(rf"started: {name}, pid (\d+)", self.log)[-1])

    def reload(self) -> None:
        """SIGHUP, and wait for what it says."""
        before = len(self.log)
        self.tell(signal.SIGHUP)
        eventually(lambda: "reload: " in self.log[before:], why=lambda: self.log[before:])

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def logged(self, pattern: str, seconds: float = 20.0) -> "re.Match[str]":
        """Waits for a line of the log."""
        return eventually(lambda: re.search(pattern, self.log), seconds, lambda: f"no {pattern!r} in\n{self.log}")

    # its command line

    def cli(self, *arguments: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "backupmx", *arguments, "-c", str(self.config)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False, env=environment(),
        )  # fmt: skip

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command says with --json; its status may be 0 or 1."""
        done = self.cli(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def queue(self) -> list[dict[str, Any]]:
        return self.objects("queue", "list")

    def quarantine(self) -> list[dict[str, Any]]:
        return self.objects("quarantine", "list")

    def empty(self, seconds: float = 30.0) -> None:
        """Waits until nothing is queued."""
        eventually(lambda: not self.queue(), seconds, lambda: f"{self.queue()}\n{self.log[-4000:]}")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("BACKUPMX_CONFIG", "JOURNAL_STREAM")}


def alive(pid: int) -> bool:
    """It runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> float:
    """kill -9 of a process we started; one that is gone already is no trouble.  -> when"""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return time.time()


def bound_to(domains: Sequence[str], port: int) -> str:
    """transport.map: these domains go to the primary on this port."""
    return "".join(f"{domain}  smtp:[127.0.0.1]:{port}\n" for domain in domains)
