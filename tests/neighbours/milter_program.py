"""milter_program: starts a milter of Debian's and waits until it listens; what the four have in common."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(command: Sequence[str], address: str, log: Path, seconds: float = 60) -> Iterator[str]:
    """-> `address` (unix:PATH or inet:HOST:PORT) while the program runs."""
    with log.open("wb") as out:
        process = subprocess.Popen(list(command), stdout=out, stderr=out)
    try:
        _wait_for(address, process, log, time.monotonic() + seconds)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def _wait_for(address: str, process: "subprocess.Popen[bytes]", log: Path, until: float) -> None:
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{address}: ended with {process.returncode}: {log.read_text('utf-8', 'replace')}")
        if listens(address):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{address}: did not start: {log.read_text('utf-8', 'replace')}")


def listens(address: str) -> bool:
    kind, _, place = address.partition(":")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(place) == 0
    host, _, port = place.rpartition(":")
    with socket.socket() as s:
        return s.connect_ex((host, int(port))) == 0
