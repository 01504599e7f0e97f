"""Sockets from systemd, real and odd ones."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from backupmx.operate.serve.activation import descriptors

SHOW = """
from backupmx.config import ConfigTrouble
from backupmx.operate.serve import activation, ports
try:
    sockets = ports.listening(["127.0.0.1:0"], 3)
except ConfigTrouble as trouble:
    print("; ".join(trouble.errors))
else:
    activation.done()
    print(ports.shown(sockets), len(sockets), len(activation.descriptors()), *(s.getblocking() for s in sockets[2]))
"""


def told(given: Sequence[socket.socket | int], pid: str = "$$", count: str = "") -> str:
    """What a process makes of these sockets as its descriptors 3 and up."""
    # Far from 3 and up: none is overwritten before it is moved.
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 60) for each in given]
    places = " ".join(f"{n}<&{each}" for n, each in enumerate(high, 3))
    script = f'LISTEN_PID={pid} LISTEN_FDS={count or len(given)} exec "$0" -c "$1" {places}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, SHOW], pass_fds=high, capture_output=True, text=True, timeout=30
    )
    for each in high:
        os.close(each)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def listening(family: int = socket.AF_INET, only: int = 1) -> socket.socket:
    opened = socket.socket(family)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    # Only "::" can be both.
    opened.bind(("127.0.0.1" if family == socket.AF_INET else "::1" if only else "::", 0))
    opened.listen()
    return opened


def test_every_worker_has_them() -> None:
    """Three workers share two sockets, smtp.listen is not looked at, and no child would take them for its own."""
    with listening() as one, listening(socket.AF_INET6) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
        assert told([one, two]) == f"127.0.0.1:{ports[0]}, [::1]:{ports[1]} 3 0 False False"


def test_sockets_for_another_process() -> None:
    """LISTEN_PID names whom they are for; nonsense is nobody."""
    with listening() as one:
        mine = one.getsockname()[1]
        for pid, count in (("1", ""), ("$$", "nonsense"), ("''", "")):
            assert not told([one], pid, count).startswith(f"127.0.0.1:{mine} ")


def test_what_cannot_be_served() -> None:
    """Each wrong socket is named with what to write in the unit."""
    read, write = os.pipe()
    with socket.socket() as idle, listening(socket.AF_INET6, 0) as both, socket.socket(type=socket.SOCK_DGRAM) as udp:
        idle.bind(("127.0.0.1", 0))
        errors = told([idle, both, udp, read], count="4").split("; descriptor ")
        os.close(read)
        os.close(write)
    assert [error.removeprefix("descriptor ").partition(" from systemd: ")[0] for error in errors] == list("3456")
    for error, words in zip(errors, ("Accept=no", "ipv6-only", "ListenStream", "not a socket"), strict=True):
        assert words.lower() in error.lower().replace("socket operation on non-socket", "not a socket")


def test_nothing_was_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by hand there are none."""
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert len(descriptors()) == 0
