"""soak: half an hour of everything.  Does it leak, and is the account balanced?

    python -m benchmarks.soak [--minutes 30] [--rate 20] [--report FILE]      as root, on Linux

`backupmx serve` with two workers, clamd and spamd, two primaries (smtp-sink,
which keeps what it gets) and the first user's rules; its state_dir is a tmpfs
of its own.  Mail of 1 KB to 1 MB, some with EICAR, for two domains, about RATE
messages a second from four senders, some of whom hang up in mid-message.
Meanwhile, over and over:

    each primary goes away and returns; clamd is away, spamd is away; SIGHUP
    once, in the middle: the disk is full for a minute, to the last octet

    memory        what is in no file, shared pages in proportion, of all processes, each five
                  seconds: the median of the last fifth against that of the second; and of each
    descriptors   of each process at rest, before the traffic and after it
    mail          what read 250 arrived or lies in quarantine; what read another reply did not
    ledger        `backupmx ledger` at the end

Status 1 when one of these is wrong.  --report writes what came out as a page.

What memory still does is bounded.  The relay takes up to 320 messages of a next hop
in hand when a primary returns, and malloc keeps what they needed: the first long
outage is paid for, the next ones are not (700 messages of this mix behind each:
17 MiB before, 45 after the first, 44 after the seventh).  A worker remembers 10,000
answers of each virus engine and 2,000 of the spam engine until a reload: 4 and 2 MiB
when they are full, which they are not here, where it is told to reload each 45 s.
The supervisor's pages are shared until a process writes to them: some MiB in the
first minutes.  So a short run grows more than a long one.

BUGS
    A primary that is killed may have a message whose 250 we never read: it gets
    it again.  Such second copies are counted, not forbidden (RFC 5321 6.1).
"""

import argparse
import errno
import itertools
import os
import random
import re
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP
from statistics import linear_regression, median

from benchmarks.servers import machine, wait
from tests.journeys.appliance import Appliance
from tests.journeys.client import message
from tests.journeys.patience import eventually
from tests.neighbours.clamd import EICAR, clamd
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import free_port

INSIDE = "BACKUPMX_SOAK_NAMESPACE"
ALL = "all processes"
DISK = 512 << 20
SETTINGS = {
    "smtp": {"workers": 2},
    "relay": {"probe_interval": "5s"},
    "queue": {"min_free": "32MiB", "retry_min": "5s", "retry_max": "30s"},
    "quarantine": {"max_size": "32MiB"},
}
DOMAINS = ("example.jp", "example.net")
SIZES = (1_000, 4_000, 4_000, 4_000, 20_000, 100_000)
LARGE, VIRUS, HANGUP = 0.01, 0.02, 0.01
"""Shares of the messages."""
TOLD = {"taken": "taken", "refused": "refused", "unknown": "whose reply was lost"}


# Senders


@dataclass
class Senders:
    port: int
    rate: float
    told: dict[str, str] = field(default_factory=dict)
    """Subject -> "taken", "refused" or "unknown" (the connection went after the dot)."""
    viruses: set[str] = field(default_factory=set)
    replies: Counter[int] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._ending.clear()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        chance = random.Random(sender)
        while not self._ending.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self.port, f"c{sender}.sender.test", 60) as smtp:
                    smtp.ehlo()
                    for _ in range(chance.choice((1, 1, 10))):
                        self._one(smtp, chance, f"soak {next(self._numbers)}")
                        if self._ending.wait(chance.expovariate(self.rate / 4)):
                            break
            except (OSError, smtplib.SMTPException):
                self._ending.wait(0.1)

    def _one(self, smtp: smtplib.SMTP, chance: random.Random, subject: str) -> None:
        self.told[subject] = "refused"
        size = 1_000_000 if chance.random() < LARGE else chance.choice(SIZES)
        domain = chance.choice(DOMAINS)
        text = "a line of an ordinary message\n" * (size // 30)
        if chance.random() < VIRUS:
            self.viruses.add(subject)
            text = EICAR.replace(rb"\$", b"$").decode() + "\n" + text
        content = message(subject, text, f"bob@{domain}")
        for command, expected in (
            ("MAIL FROM:<alice@sender.test>", 250), (f"RCPT TO:<bob@{domain}>", 250), ("DATA", 354)
        ):  # fmt: skip
            code, _ = smtp.docmd(command)
            self.replies[code] += 1
            if code != expected:
                smtp.rset()
                return
        if chance.random() < HANGUP:
            smtp.send(content[: len(content) // 2])
            smtp.close()
            raise smtplib.SMTPServerDisconnected("hung up")
        self.told[subject] = "unknown"
        smtp.send(content + b".\r\n")
        code, _ = smtp.getreply()
        self.replies[code] += 1
        self.told[subject] = "taken" if code == 250 else "refused"


# What happens meanwhile


@dataclass
class Engine:
    """It can be away for a while."""

    running: Callable[[], AbstractContextManager[object]]
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self._stack.enter_context(self.running())

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """A file that takes what is left there."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        yield
    ballast.unlink()


Away = Engine | SmtpSink


def storms(minutes: float, parts: dict[str, Away], mx: Appliance) -> Iterator[tuple[float, str, Callable[[], None]]]:
    """(seconds from the beginning, words, what to do), in order."""
    events: list[tuple[float, str, Callable[[], None]]] = []
    for name, (each, away, first) in {
        "primary example.jp": (60, 25, 10),
        "primary example.net": (90, 15, 40),
        "clamd": (180, 40, 30),
        "spamd": (240, 40, 100),
    }.items():
        for at in range(first, int(minutes * 60) - away, each):
            events += [(at, f"{name} away", parts[name].stop), (at + away, f"{name} back", parts[name].start)]
    events += [(at, "reload", lambda: mx.tell(SIGHUP)) for at in range(45, int(minutes * 60), 45)]
    state = full(mx.folder / "state")
    events += [
        (minutes * 30, "disk full", state.__enter__),
        (minutes * 30 + 60, "disk has room", lambda: state.__exit__(None, None, None) and None),
    ]
    yield from sorted(events, key=lambda event: event[0])


# What is looked at


@dataclass(frozen=True, slots=True)
class Process:
    mib: float
    """Its share of the memory that is in no file."""
    open: Counter[str]
    """Descriptors, by what they lead to."""


@dataclass(frozen=True, slots=True)
class Look:
    at: float
    processes: Mapping[str, Process]
    """By what they are called in the log: "relay", "worker 1"."""

    def mib(self, name: str = ALL) -> float:
        return sum(process.mib for other, process in self.processes.items() if name in (ALL, other))

    def open(self) -> int:
        return sum(process.open.total() for process in self.processes.values())


@dataclass
class Watch:
    """Looks at the processes of an appliance."""

    mx: Appliance
    _names: dict[int, str] = field(default_factory=dict)

    def look(self, at: float) -> Look:
        assert self.mx.process is not None
        children = self.mx.children()
        if not self._names.keys() >= set(children):
            self._names = {int(pid): name for name, pid in re.findall(r"started: (.+), pid (\d+)", self.mx.log)}
        names = {self.mx.process.pid: "supervisor", **{pid: self._names.get(pid, f"pid {pid}") for pid in children}}
        return Look(at, {name: process(Path(f"/proc/{pid}")) for pid, name in names.items()})

    def at_rest(self) -> Look:
        """When descriptors have stopped changing: connections to primaries and engines are given up when idle."""
        looks = [self.look(0)]
        until = time.monotonic() + 90
        while len(looks) < 20 or any(_opened(one) != _opened(looks[-1]) for one in looks[-20:]):
            if time.monotonic() > until:
                break
            time.sleep(0.5)
            looks.append(self.look(0))
        return looks[-1]


def _opened(look: Look) -> dict[str, Counter[str]]:
    return {name: process.open for name, process in look.processes.items()}


def process(folder: Path) -> Process:
    """Of its folder in /proc.  A library's pages are left out: what they cost depends on who else runs Python here."""
    rollup = dict(re.findall(r"^(Pss_\w+): +(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE))
    opened = Counter(leads_to(link) for link in (folder / "fd").iterdir())
    return Process((int(rollup["Pss_Anon"]) + int(rollup["Pss_Shmem"])) / 1024, opened)


def leads_to(link: Path) -> str:
    """A file's path, or "socket", "pipe"."""
    try:
        return os.readlink(link).partition(":")[0]
    except FileNotFoundError:
        return "closed meanwhile"


def left_open(before: Look, after: Look) -> dict[str, Counter[str]]:
    """Pure.  Descriptors that are more than before, by process.

    What a process's siblings had open before it may open later, once: files that are opened when first asked.
    A database twice: what is closed while another connection of the process has its lock SQLite keeps for the next.
    """
    kinds = {kind for process in before.processes.values() for kind in process.open}
    usual = Counter({kind: 2 if kind.endswith(".db") else 1 for kind in kinds})
    had = {name: process.open | usual for name, process in before.processes.items()}
    more = {name: process.open - had.get(name, usual) for name, process in after.processes.items()}
    return {name: opened for name, opened in more.items() if opened}


def weather(minutes: float, parts: dict[str, Away], mx: Appliance, watch: Watch) -> list[Look]:
    """Lets it all happen.  -> a look each five seconds"""
    began, looks, next_look = time.monotonic(), [], 0.0
    events = list(storms(minutes, parts, mx))
    while (now := time.monotonic() - began) < minutes * 60 or events:
        while events and events[0][0] <= now:
            _, words, act = events.pop(0)
            print(f"{now / 60:5.1f} min  {words}", file=sys.stderr, flush=True)
            act()
        if now >= next_look:
            looks.append(watch.look(now))
            next_look = now + 5
        coming = min(next_look, events[0][0] if events else minutes * 60)
        time.sleep(max(0.0, coming - (time.monotonic() - began)))
    return looks


# The account


@dataclass(frozen=True, slots=True)
class Result:
    minutes: float
    looks: Sequence[Look]
    before: Look
    after: Look
    told: Counter[str]
    replies: Counter[int]
    lost: Sequence[str]
    uninvited: Sequence[str]
    """Refused, or called a virus, and arrived."""
    twice: int
    ledger: str
    balanced: bool
    alarms: str

    def memory(self, name: str = ALL) -> tuple[float, float]:
        """MiB, in the second and in the last fifth."""
        fifth = len(self.looks) // 5
        early, late = self.looks[fifth : 2 * fifth], self.looks[-fifth:]
        return median(one.mib(name) for one in early), median(one.mib(name) for one in late)

    def slope(self, name: str = ALL) -> float:
        """MiB an hour, after the first fifth."""
        late = self.looks[len(self.looks) // 5 :]
        return linear_regression([one.at / 3600 for one in late], [one.mib(name) for one in late]).slope

    def grown(self) -> str:
        """Rows: all processes, and each."""
        return "\n".join(
            f"| memory of {name} | {early:.1f} MiB in the second fifth, {late:.1f} in the last;"
            f" {self.slope(name):+.1f} MiB an hour |"
            for name in (ALL, *self.looks[0].processes)
            for early, late in (self.memory(name),)
        )

    def wrong(self) -> list[str]:
        early, late = self.memory()
        left = left_open(self.before, self.after)
        return [
            words
            for words, bad in (
                (f"memory grew from {early:.1f} to {late:.1f} MiB", late > early * 1.05),
                (f"descriptors left open: {left}", bool(left)),
                (f"lost: {', '.join(self.lost[:10])}", bool(self.lost)),
                (f"arrived uninvited: {', '.join(self.uninvited[:10])}", bool(self.uninvited)),
                (f"ledger: {self.ledger}", not self.balanced),
            )
            if bad
        ]  # fmt: skip

    def page(self) -> str:
        told = ", ".join(f"{self.told[what]:,} {words}" for what, words in TOLD.items())
        return f"""\
# Half an hour of everything

What `python -m benchmarks.soak` wrote: mail without pause while primaries go away and return, clamd and spamd are
away, the configuration is read anew and, for a minute, the disk is full. Two workers and a relay; engines and
primaries beside them.

{self.minutes:g} minutes on {machine()}

| what | came out |
| --- | --- |
| messages offered | {self.told.total():,}: {told} |
| replies | {", ".join(f"{code}: {count:,}" for code, count in sorted(self.replies.items()))} |
| taken and neither delivered nor kept | {len(self.lost)} |
| refused or a virus, and delivered | {len(self.uninvited)} |
| second copies (the primary was killed before its 250) | {self.twice} |
| ledger | {self.ledger} |
{self.grown()}
| descriptors at rest | {self.before.open()} before, {self.after.open()} after |
| {"wrong" if self.wrong() else "verdict"} | {"; ".join(self.wrong()) or "nothing grew, nothing is missing"} |
"""


def accounted(mx: Appliance, senders: Senders, sinks: Sequence[SmtpSink]) -> dict[str, object]:
    arrived = Counter(subject for sink in sinks for dump in sink.messages() for subject in dump.values("Subject"))
    kept = {item.get("subject", "") for item in mx.quarantine()}
    taken = {subject for subject, what in senders.told.items() if what == "taken"}
    refused = {subject for subject, what in senders.told.items() if what == "refused"}
    ledger = mx.cli("ledger")
    return {
        "lost": sorted(taken - set(arrived) - kept - senders.viruses),
        "uninvited": sorted(refused & set(arrived) | senders.viruses & set(arrived)),
        "twice": sum(count - 1 for count in arrived.values()),
        "ledger": "; ".join(line.strip() for line in ledger.stdout.splitlines()),
        "balanced": ledger.returncode == 0,
        "alarms": mx.cli("status").stdout,
    }


def soak(minutes: float, rate: float, folder: Path) -> Result:
    with ExitStack() as stack:
        for name in ("state", "clamd", "spamd"):
            (folder / name).mkdir()
        port = free_port()
        sinks = [stack.enter_context(smtp_sink(folder / f"sink-{domain}")) for domain in DOMAINS]
        parts: dict[str, Away] = {f"primary {domain}": sink for domain, sink in zip(DOMAINS, sinks, strict=True)}
        parts["clamd"] = Engine(lambda: clamd(folder / "clamd", 30 << 20))
        parts["spamd"] = Engine(lambda: spamd(folder / "spamd", port=port))
        for name in ("clamd", "spamd"):
            parts[name].start()
            stack.callback(parts[name].stop)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder / "state"], check=True)
        stack.callback(subprocess.run, ["umount", folder / "state"], check=True)
        checks = {
            "virus": {"engine": "clamd", "address": f"unix:{folder}/clamd/clamd.sock", "on_error": "defer"},
            "spam": {"engine": "spamd", "address": f"tcp:127.0.0.1:{port}"},
            **{name: {"enabled": False} for name in ("spf", "dkim", "dmarc", "arc")},
        }
        map_ = "".join(f"{d} smtp:[127.0.0.1]:{sink.port}\n" for d, sink in zip(DOMAINS, sinks, strict=True))
        mx = Appliance(folder, {**SETTINGS, "checks": checks}, map_).start()
        stack.callback(mx.stop)
        senders = Senders(mx.port, rate)
        senders.start()  # so that all is loaded that will be
        wait(lambda: len(senders.told) >= rate * min(60, minutes * 6))
        senders.stop()
        mx.empty(120)
        watch = Watch(mx)
        before = watch.at_rest()
        senders.start()
        looks = weather(minutes, parts, mx, watch)
        senders.stop()
        mx.cli("flush", timeout=300)
        eventually(lambda: not mx.queue(), 300, lambda: f"{len(mx.queue())} are still queued")
        return Result(
            minutes, looks, before, watch.at_rest(), Counter(senders.told.values()), senders.replies,
            **accounted(mx, senders, sinks),  # type: ignore[arg-type]
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupmx-soak-") as name:
        Path(name).chmod(0o755)
        result = soak(given.minutes, given.rate, Path(name))
    print(result.page())
    if given.report:
        given.report.write_text(result.page())
    return 1 if result.wrong() else 0


if __name__ == "__main__":
    if os.environ.get(INSIDE):
        sys.exit(main())
    command = ["unshare", "-m", sys.executable, "-m", "benchmarks.soak", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode)
