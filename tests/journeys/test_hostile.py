"""Clients that hold on, at a real appliance: each is ended by a limit, and nobody else feels it."""

import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.arrivals import subjects
from tests.journeys.client import ADDRESS, message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.smtp_sink import smtp_sink
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

BEGIN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.jp>\r\nDATA\r\n"


@pytest.fixture
def mx(serve: Serve) -> Iterator[Appliance]:
    """A worker with little patience, for whom nobody is a friend."""
    running = serve(bound_to(["example.jp"], free_port()), smtp={"timeout": "2s", "limit_exceptions": []})
    yield running
    assert send(running.port, message("after them")).code == 250
    assert "Traceback" not in running.log


@contextmanager
def client(mx: Appliance, said: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", mx.port), 20, (ADDRESS, 0)) as opened:
        opened.sendall(said)
        yield opened


def trickle(opened: socket.socket, octet: bytes) -> float:
    """An octet ten times a second.  -> seconds until we are disconnected"""
    began = time.monotonic()
    opened.settimeout(0.1)
    while True:
        assert time.monotonic() - began < 15
        try:
            opened.sendall(octet)
            if not opened.recv(65536):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - began


@pytest.mark.parametrize(("said", "octet", "after"), [(b"", b"N", "CONNECT"), (BEGIN, b"x", "DATA")])
def test_an_octet_now_and_then(mx: Appliance, said: bytes, octet: bytes, after: str) -> None:
    """In a command or in a message: octets are no proof of life; smtp.timeout ends it."""
    with client(mx, said) as opened:
        trickle(opened, octet)
    mx.logged(rf"timeout after {after} from \S+\[127\.0\.0\.5\]")


def test_silence(mx: Appliance) -> None:
    """Forty clients that connect and say nothing are told so and gone when their time is over."""
    silent = [socket.create_connection(("127.0.0.1", mx.port), 20, (ADDRESS, 0)) for _ in range(40)]
    for each in silent:
        with each, each.makefile("rb") as said:
            assert said.readlines()[1:] == [b"421 4.4.2 mx2.example.test Error: timeout exceeded\r\n"]
    assert len(re.findall("timeout after CONNECT", mx.log)) == 40


def test_replies_that_nobody_reads(mx: Appliance) -> None:
    """A client that floods commands and reads nothing costs no memory and is dropped, for errors or for silence."""
    worker = mx.child("worker 1")

    def resident() -> int:
        return int(Path(f"/proc/{worker}/status").read_text().partition("RssAnon:")[2].split()[0])

    before = resident()
    with client(mx, b"EHLO x\r\n") as opened:
        opened.settimeout(0.5)
        try:
            for _ in range(1000):
                opened.sendall(b"EHLO x\r\n" * 10_000)
        except OSError:
            pass  # it is not read from any more, or dropped already
        assert resident() - before < 20_000
        mx.logged("(timeout|lost connection|too many errors) after EHLO", 30)
    eventually(lambda: "disconnect from client.sender.test[127.0.0.5]" in mx.log)


@pytest.mark.slow
def test_nonsense(mx: Appliance) -> None:
    """Ten thousand commands that are none end at the limit of errors, the later ones slowly."""
    with client(mx, b"NONSENSE\r\n" * 10_000) as opened:
        opened.settimeout(30)
        said = b"".join(iter(lambda: opened.recv(65536), b""))
    assert said.count(b"500 5.5.2 ") == 21
    assert said.endswith(b"421 4.7.0 mx2.example.test Error: too many errors\r\n")
    mx.logged(r"too many errors after UNKNOWN from \S+\[127\.0\.0\.5\]")


def test_hanging_up_behind_the_dot(serve: Serve, tmp_path: Path) -> None:
    """Who resets the connection in the moment of the commit: the message is there once or not at all."""
    with smtp_sink(tmp_path / "sink") as sink:
        mx = serve(bound_to(["example.jp"], sink.port))
        for n in range(40):
            with client(mx, BEGIN) as opened, opened.makefile("rb") as said:
                while not said.readline().startswith(b"354"):
                    continue
                opened.sendall(message(f"cut {n}") + b".\r\n")
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert send(mx.port, message("whole")).code == 250
        eventually(lambda: mx.log.count("disconnect from") == 41)
        queued = len(re.findall(r"nrcpt=1 \(queue active\)", mx.log))
        assert queued > 1
        eventually(lambda: len(sink.messages()) == queued)
        assert len(set(subjects(sink))) == queued
        assert "Traceback" not in mx.log
