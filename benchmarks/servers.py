"""servers: backupmx and Postfix with the same duties, a sink that counts, and what they use.

Not a question of its own: those that run whole servers measure with it.
"""

import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from tests.neighbours.postfix import postfix
from tests.neighbours.unbound import free_port

RULES = Path(__file__).parent.parent / "policy" / "header_checks"
CONFIG = """\
hostname = "mx2.example.net"
[smtp]
listen = ["127.0.0.1:{port}"]
[relay]
transport_map = "transport.map"
[rules]
header_checks = "{rules}"
[checks]
virus = {{ engine = "off" }}
spam = {{ engine = "off" }}
spf = {{ enabled = false }}
dkim = {{ enabled = false }}
dmarc = {{ enabled = false }}
arc = {{ enabled = false }}
[queue]
min_free = 0
[admin]
listen = ""
"""
ONE = "example.jp smtp:[127.0.0.1]:{sink}\n"
"""transport.map."""


class Server(Protocol):
    port: int

    def pids(self) -> list[int]: ...

    def flush(self) -> None: ...


class Sink:
    """smtp-sink, which counts."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        """`host`: where it listens; empty: on all of 127.0.0.0/8, as so many primaries."""
        self.port = free_port()
        self._host = host
        self._counts = folder / "counts"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._counts.open("wb") as counts:
            self._process = subprocess.Popen(
                ["smtp-sink", "-u", "root", "-c", f"{self._host}:{self.port}", "1000"], stdout=counts, stderr=counts
            )

        wait(lambda: listens(self.port))

    def restart(self) -> None:
        """It counts from nothing."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def counted(self) -> int:
        """Messages since the start: the third of the numbers "sess=1 quit=0 mesg=3"."""
        text = self._counts.read_bytes()[-200:].replace(b"\r", b"\n").splitlines()
        lines = [line for line in text if b"mesg=" in line]
        return int(lines[-1].split(b"mesg=")[1].split()[0]) if lines else 0


class Ours:
    def __init__(
        self, folder: Path, sink: int, port: int, config: str = CONFIG, rules: Path = RULES, map_: str = ONE
    ) -> None:
        self.port = port
        self.folder = folder
        folder.mkdir(exist_ok=True)  # it may have a queue already
        (folder / "transport.map").write_text(map_.format(sink=sink))
        (folder / "backupmx.toml").write_text(config.format(port=port, rules=rules))
        self._run = [sys.executable, "-m", "backupmx"]
        # As installed: a command reads its bytecode and does not compile itself anew each time.
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            [*self._run, "serve", "-c", str(folder / "backupmx.toml")],
            stderr=(folder / "log").open("wb"), env=self._environment,
        )  # fmt: skip

    def pids(self) -> list[int]:
        return [self.process.pid, *_children(self.process.pid)]

    def flush(self) -> None:
        subprocess.run(
            [*self._run, "flush", "--no-wait", "-c", str(self.folder / "backupmx.toml")],
            check=True, stdout=subprocess.DEVNULL, env=self._environment,
        )  # fmt: skip

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Theirs:
    """Postfix with the same duties, by the tests' launcher."""

    def __init__(
        self, stack: ExitStack, folder: Path, sink: int, more: Mapping[str, str] | None = None, services: str = "",
        map_: str = ONE,
    ) -> None:  # fmt: skip
        """`more`: lines of main.cf; `services`: of master.cf."""
        folder.mkdir()
        (folder / "transport").write_text(map_.format(sink=sink))
        settings = {
            "virtual_mailbox_domains": "",
            "relay_domains": f"texthash:{folder}/transport",
            "transport_maps": f"texthash:{folder}/transport",
            "header_checks": f"pcre:{RULES}",
            "mime_header_checks": "",
            "nested_header_checks": "",
            "smtpd_recipient_restrictions": "reject_unauth_destination",
            "message_size_limit": "50000000",
            **(more or {}),
        }
        self._postfix = stack.enter_context(postfix(folder, settings=settings, started=False))
        with (folder / "conf" / "master.cf").open("a") as master:
            master.write(services)
        self._postfix.start()
        self._folder = folder
        self.port = self._postfix.port

    def pids(self) -> list[int]:
        master = int((self._folder / "queue" / "pid" / "master.pid").read_text())
        return [master, *_children(master)]

    def flush(self) -> None:
        subprocess.run(["postqueue", "-c", str(self._folder / "conf"), "-f"], check=True)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu(server: Server) -> float:
    """Seconds, with those of children that ended."""
    ticks = 0
    for pid in server.pids():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(fields[n]) for n in (11, 12, 13, 14))
    return ticks / os.sysconf("SC_CLK_TCK")


def forget_peaks(server: Server) -> None:
    for pid in server.pids():
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            continue  # it ended


def peak(server: Server) -> float:
    """MiB of the largest process since `forget_peaks`, files it looked into included."""
    most = 0
    for pid in server.pids():
        try:
            most = max(most, int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]))
        except (OSError, IndexError):
            continue
    return most / 1024


def wait(what: Callable[[], bool], patience: float = 300.0) -> None:
    until = time.monotonic() + patience
    while not what():
        if time.monotonic() > until:
            raise RuntimeError("it did not happen in time")
        time.sleep(0.01)


def quiet(server: Server, patience: float = 10.0) -> None:
    """Until it has used no CPU for a quarter of a second: what it does behind the last message belongs to that one."""
    looks = [-1.0] * 25
    until = time.monotonic() + patience
    while time.monotonic() < until and looks[0] != cpu(server):
        looks = [*looks[1:], cpu(server)]
        time.sleep(0.01)


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def send(server: Server, options: list[str], messages: int) -> None:
    subprocess.run(
        ["smtp-source", *options, "-m", str(messages), "-f", "s@upstream.example", "-t", "u@example.jp",
         f"127.0.0.1:{server.port}"], check=True,
    )  # fmt: skip


def timed(server: Server, sink: Sink, work: Callable[[], None], messages: int) -> tuple[float, float, float]:
    """-> (messages a second until the sink has them, CPU milliseconds a message, MiB of the largest process)"""
    already = sink.counted()
    forget_peaks(server)
    used, began = cpu(server), time.monotonic()
    work()
    wait(lambda: sink.counted() >= already + messages)
    seconds = time.monotonic() - began
    quiet(server)
    return messages / seconds, (cpu(server) - used) / messages * 1000, peak(server)


@contextmanager
def servers(
    tables: Mapping[str, Path],
    map_: str = ONE,
    host: str = "127.0.0.1",
    config: str = CONFIG,
    more: Mapping[str, str] | None = None,
) -> Iterator[dict[tuple[str, str], tuple[Server, Sink]]]:
    """Both with each of these tables: (who, table's name) -> server and sink.  Who is "backupmx" or "Postfix"."""
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        running: dict[tuple[str, str], tuple[Server, Sink]] = {}
        for number, (table, rules) in enumerate(tables.items()):
            for who in ("backupmx", "Postfix"):
                place = folder / f"{who}-{number}"
                counts = folder / f"sink-{who}-{number}"
                counts.mkdir()
                sink = Sink(counts, host)
                sink.start()  # a primary that is away at the start counts as down until it has answered three times
                stack.callback(sink.stop)
                if who == "Postfix":
                    settings = {"header_checks": f"pcre:{rules}", **(more or {})}
                    running[who, table] = Theirs(stack, place, sink.port, settings, map_=map_), sink
                else:
                    ours = Ours(place, sink.port, free_port(), config, rules, map_)
                    stack.callback(ours.stop)
                    running[who, table] = ours, sink
        for server, _ in running.values():
            wait(lambda port=server.port: listens(port))  # type: ignore[misc]
            quiet(server)
        yield running


def machine() -> str:
    """What a table of figures begins with."""
    version = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True).stdout
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()},"
        f" Postfix {version.strip()}"
    )
