"""end_to_end: how long until the primary has everything?  Beside Postfix, in one run.

    python -m benchmarks.end_to_end [--rounds N] [--scale X] [--json FILE]

smtp-source → us or Postfix → smtp-sink, interleaved rounds, medians, ratio to
Postfix.  Both keep the same promise (on the disk before 250), apply the first
user's header_checks, relay by the same transport.map; neither asks an engine.
The clock runs from smtp-source's start until the sink has counted every message.

    fresh    4 KB, 20 sessions, a connection each
    reused   4 KB, 20 sessions, kept connections
    large    1 MiB, 4 sessions
    flush    what waited while the primary was down, 4 KB; from the primary's
             return and `backupmx flush` / `postqueue -f` until it has everything

cpu is what the server's processes used, user and system, for each message.

BUGS
    Source, sink and server share the machine: with more cores both would be
    faster.  Only ratios of one run mean anything.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Protocol

from tests.neighbours.postfix import postfix
from tests.neighbours.unbound import free_port

RULES = Path(__file__).parent.parent / "policy" / "header_checks"
LOADS = {
    "fresh": (["-s", "20", "-l", "4096"], 3000),
    "reused": (["-s", "20", "-l", "4096", "-d"], 5000),
    "large": (["-s", "4", "-l", "1048576"], 200),
    "flush": (["-s", "20", "-l", "4096", "-d"], 5000),
}
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
"""


class Server(Protocol):
    port: int

    def pids(self) -> list[int]: ...

    def flush(self) -> None: ...


class Sink:
    """smtp-sink, which counts."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._counts = folder / "counts"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._counts.open("wb") as counts:
            self._process = subprocess.Popen(
                ["smtp-sink", "-u", "root", "-c", f"127.0.0.1:{self.port}", "1000"], stdout=counts, stderr=counts
            )

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
    def __init__(self, folder: Path, sink: int, port: int, config: str = CONFIG) -> None:
        self.port = port
        self.folder = folder
        folder.mkdir()
        (folder / "transport.map").write_text(f"example.jp smtp:[127.0.0.1]:{sink}\n")
        (folder / "backupmx.toml").write_text(config.format(port=port, rules=RULES))
        self._run = [sys.executable, "-m", "backupmx"]
        self.process = subprocess.Popen(
            [*self._run, "serve", "-c", str(folder / "backupmx.toml")], stderr=(folder / "log").open("wb")
        )

    def pids(self) -> list[int]:
        return [self.process.pid, *_children(self.process.pid)]

    def flush(self) -> None:
        subprocess.run(
            [*self._run, "flush", "--no-wait", "-c", str(self.folder / "backupmx.toml")],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Theirs:
    """Postfix with the same duties, by the tests' launcher."""

    def __init__(
        self, stack: ExitStack, folder: Path, sink: int, more: Mapping[str, str] | None = None, services: str = ""
    ) -> None:
        """`more`: lines of main.cf; `services`: of master.cf."""
        folder.mkdir()
        (folder / "transport").write_text(f"example.jp smtp:[127.0.0.1]:{sink}\n")
        settings = {
            "virtual_mailbox_domains": "",
            "relay_domains": "example.jp",
            "transport_maps": f"texthash:{folder}/transport",
            "header_checks": f"pcre:{RULES}",
            "mime_header_checks": "",
            "nested_header_checks": "",
            "smtpd_recipient_restrictions": "reject_unauth_destination",
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


def wait(what: Callable[[], bool], patience: float = 300.0) -> None:
    until = time.monotonic() + patience
    while not what():
        if time.monotonic() > until:
            raise RuntimeError("it did not happen in time")
        time.sleep(0.01)


def send(server: Server, options: list[str], messages: int) -> None:
    subprocess.run(
        ["smtp-source", *options, "-m", str(messages), "-f", "s@upstream.example", "-t", "u@example.jp",
         f"127.0.0.1:{server.port}"], check=True,
    )  # fmt: skip


def measure(server: Server, sink: Sink, load: str, messages: int) -> tuple[float, float]:
    """-> (messages a second, CPU milliseconds a message)"""
    options, _ = LOADS[load]
    if load == "flush":
        sink.stop()
        send(server, options, messages)
        time.sleep(2)  # both find out that nobody is there
        sink.start()
        time.sleep(0.2)
    else:
        sink.stop()
        sink.start()
        time.sleep(0.2)
    used, began = cpu(server), time.monotonic()
    if load == "flush":
        server.flush()
    else:
        send(server, options, messages)
    wait(lambda: sink.counted() >= messages)
    seconds = time.monotonic() - began
    time.sleep(0.5)
    return messages / seconds, (cpu(server) - used) / messages * 1000


@contextmanager
def servers() -> Iterator[tuple[dict[str, Server], dict[str, Sink]]]:
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        sinks: dict[str, Sink] = {}
        for who in ("backupmx", "Postfix"):
            (folder / f"sink-{who}").mkdir()
            sinks[who] = Sink(folder / f"sink-{who}")
            stack.callback(sinks[who].stop)
        theirs = Theirs(stack, folder / "postfix", sinks["Postfix"].port)
        ours = Ours(folder / "backupmx", sinks["backupmx"].port, free_port())
        stack.callback(ours.stop)
        time.sleep(3)
        yield {"backupmx": ours, "Postfix": theirs}, sinks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of messages")
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    loads = arguments.loads.split(",")
    results: dict[str, dict[str, list[tuple[float, float]]]] = {load: {} for load in loads}
    with servers() as (running, sinks):
        for _ in range(arguments.rounds):
            for load in loads:
                for who, server in running.items():
                    messages = max(20, int(LOADS[load][1] * arguments.scale))
                    results[load].setdefault(who, []).append(measure(server, sinks[who], load, messages))
    version = subprocess.run(["postconf", "-dh", "mail_version"], capture_output=True, text=True, check=True).stdout
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Postfix {version.strip()}"
    )
    print(f"{'load':<8} {'backupmx msg/s':>15} {'Postfix msg/s':>15} {'ratio':>7} {'cpu ms':>8} {'Postfix cpu ms':>15}")
    for load, by in results.items():
        (ours, our_cpu), (theirs, their_cpu) = (
            (median(rate for rate, _ in by[who]), median(ms for _, ms in by[who])) for who in ("backupmx", "Postfix")
        )
        print(f"{load:<8} {ours:>15.0f} {theirs:>15.0f} {ours / theirs:>7.2f} {our_cpu:>8.2f} {their_cpu:>15.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
