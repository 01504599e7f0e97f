"""Journey 5: engines and DNS go away: mail still gets its answer in time, the one that on_error says."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.appliance import OFF, Appliance, alive, bound_to, kill
from tests.journeys.arrivals import arrived
from tests.journeys.client import Sent, message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.clamd import EICAR, clamd
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import required

pytestmark = pytest.mark.neighbours


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


def family(word: str) -> list[int]:
    """Processes with this word in their command line, and their children: a neighbour by its private folder."""
    parents = {}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if word in (entry / "cmdline").read_text().replace("\0", " ") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return [*found, *(pid for pid, parent in parents.items() if parent in found and pid not in found)]


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """They hang: they take connections and do nothing."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGCONT)


def virus_only(address: str, **more: str) -> dict[str, Any]:
    return {**OFF, "virus": {"engine": "clamd", "address": address, **more}, "deadline": "8s"}


def says(mx: Appliance, **checks: Any) -> None:
    """New [checks], by SIGHUP."""
    mx.settings = {**mx.settings, "checks": checks}
    mx.write()
    mx.reload()


def until_told(mx: Appliance, subject: str, code: int) -> Sent:
    """A reload reaches the worker a moment after the log says so."""
    tries = iter(range(1000))
    sent: list[Sent] = []

    def told() -> bool:
        sent.append(send(mx.port, message(f"{subject} {next(tries)}")))
        return sent[-1].code == code

    eventually(told, 10, lambda: sent)
    return sent[-1]


def test_clamd_stopped(serve: Serve, sink: SmtpSink, tmp_path: Path) -> None:
    """Without clamd on_error decides: defer is 451, reject 550, quarantine holds, accept goes on and says nothing."""
    folder = tmp_path / "clamd"
    folder.mkdir()
    with clamd(folder) as (address, _):
        mx = serve(bound_to(["example.jp"], sink.port), checks=virus_only(address, on_error="defer"))
        assert send(mx.port, message("a virus", EICAR.decode())).code == 250
        assert "Eicar" in mx.quarantine()[0]["reason"]
        assert send(mx.port, message("scanned")).code == 250
        arrived(sink, "scanned")
    for n in range(3):  # after so many it is left alone, and the log says so
        sent = send(mx.port, message(f"away, defer {n}"))
        assert (sent.code, sent.text) == (451, "4.7.1 Service unavailable - try again later")
    mx.logged(r"warning: clamd is away")
    says(mx, **virus_only(address, on_error="reject"))
    assert until_told(mx, "away, reject", 550).text.startswith("5.7.1")
    says(mx, **virus_only(address, on_error="quarantine"))
    held = until_told(mx, "away, quarantine", 250)
    (waiting,) = [m for m in mx.queue() if m["queue_id"] == held.queue_id]
    assert waiting["queue_name"] == "hold"
    assert "virus" in waiting["recipients"][0]["delay_reason"]
    assert mx.cli("queue", "release", held.queue_id).returncode == 0
    eventually(lambda: mx.queue() == [])
    says(mx, **virus_only(address, on_error="accept"))
    accepted = until_told(mx, "away, accept", 250)
    eventually(lambda: mx.queue() == [])
    assert [d.values("X-Virus-Status") for d in sink.messages()] == [[]] * len(sink.messages())
    mx.logged(rf"{accepted.queue_id}: to=<bob@example.jp>, .*status=sent")


def test_clamd_comes_back(serve: Serve, sink: SmtpSink, tmp_path: Path) -> None:
    """An engine that answers again is used again, and the log says both once."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    link = tmp_path / "clamd.sock"
    link.symlink_to(first / "clamd.sock")
    mx = serve(bound_to(["example.jp"], sink.port), checks=virus_only(f"unix:{link}"))
    for n in range(3):
        assert send(mx.port, message(f"nobody there {n}")).code == 250
    mx.logged(r"warning: clamd is away")
    with clamd(second):
        link.unlink()
        link.symlink_to(second / "clamd.sock")
        eventually(lambda: send(mx.port, message("virus", EICAR.decode())).code == 250 and mx.quarantine(), 40)
        mx.logged(r"clamd answers again")


def test_clamd_killed_in_mid_scan(serve: Serve, sink: SmtpSink, tmp_path: Path) -> None:
    """clamd dies with a message in its hands: that one is put off (on_unscannable), the next accepted (on_error)."""
    folder = tmp_path / "clamd"
    folder.mkdir()
    with clamd(folder) as (address, _):
        mx = serve(bound_to(["example.jp"], sink.port), checks=virus_only(address))
        assert send(mx.port, message("before")).code == 250  # and its connection is kept
        pids = family(str(folder))
        answers: list[Sent] = []
        with frozen(pids):
            sender = threading.Thread(target=lambda: answers.append(send(mx.port, message("in its hands"))))
            sender.start()
            eventually(lambda: unread(folder / "clamd.sock") > 0)
            for pid in pids:
                kill(pid)
        sender.join(20)
        assert [(a.code, a.text[:5]) for a in answers] == [(451, "4.7.1")]
    assert send(mx.port, message("after")).code == 250
    arrived(sink, "after")


def unread(path: Path) -> int:
    """Octets that wait in connections to a socket of that name."""
    told = subprocess.run([required("ss"), "-xnH"], capture_output=True, text=True, check=True).stdout
    fields = (line.split() for line in told.splitlines())
    return sum(int(field[2]) for field in fields if field[1] == "ESTAB" and field[4] == str(path))


def test_spamd_hangs(serve: Serve, sink: SmtpSink, tmp_path: Path) -> None:
    """spamd takes the message and never answers: after its timeout the mail goes on without a word of spam."""
    folder = tmp_path / "spamd"
    folder.mkdir()
    with spamd(folder) as address:
        checks = {**OFF, "spam": {"engine": "spamd", "address": address, "timeout": "2s"}, "deadline": "8s"}
        mx = serve(bound_to(["example.jp"], sink.port), checks=checks, header_checks="")
        assert send(mx.port, message("answered")).code == 250
        assert arrived(sink, "answered").values("X-Spam-Status")[0].startswith("No, score=")
        with frozen(family(str(folder))):
            began = time.monotonic()
            assert send(mx.port, message("hanging")).code == 250
            assert time.monotonic() - began < 8
        assert arrived(sink, "hanging").values("X-Spam-Status") == []


def test_dns_is_dead(serve: Serve, sink: SmtpSink) -> None:
    """No resolver answers: the client is "unknown", SPF says temperror, and the mail is taken in time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        checks = {"virus": {"engine": "off"}, "spam": {"engine": "off"}, "deadline": "3s"}
        mx = serve(bound_to(["example.jp"], sink.port), dns={"servers": [server]}, checks=checks)
        began = time.monotonic()
        assert send(mx.port, message("no names")).code == 250
        assert time.monotonic() - began < 15
        mail = arrived(sink, "no names")
        assert "spf=temperror" in mail.values("Authentication-Results")[0]
        assert "(unknown [127.0.0.5])" in mail.raw.decode()
