"""What a service manager is told."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupmx.operate.serve.notify import Manager


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """systemd's side: a datagram socket."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(5)
        yield path, ear


def test_each_word(listening: tuple[str, socket.socket]) -> None:
    """Ready, reloading with its time, stopping, a sign of life; a status only when it is another one."""
    path, ear = listening
    manager = Manager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})
    manager.ready()
    manager.told("5 processes")
    manager.told("5 processes")
    manager.told("ALARM: clamd is away\nREADY=1")
    manager.alive()
    manager.reloading()
    manager.stopping()
    heard = [ear.recv(4096).decode() for _ in range(6)]
    assert heard[:4] == ["READY=1", "STATUS=5 processes", "STATUS=ALARM: clamd is away?READY=1", "WATCHDOG=1"]
    assert heard[4].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[5] == "STOPPING=1"
    assert manager.every == 15.0


def test_no_watchdog_wanted(listening: tuple[str, socket.socket]) -> None:
    """Without WatchdogSec=, or with one meant for another process, there is no sign of life."""
    path, ear = listening
    for environ in ({}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}):
        manager = Manager({"NOTIFY_SOCKET": path, **environ}, pid=2)
        manager.alive()
        assert manager.every is None
    manager.ready()
    assert ear.recv(4096) == b"READY=1"


def test_abstract_name() -> None:
    """A name that begins with @ is in no file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("")  # the kernel chooses an abstract name
        ear.settimeout(5)
        name = ear.getsockname()
        Manager({"NOTIFY_SOCKET": "@" + name[1:].decode()}).ready()
        assert ear.recv(4096) == b"READY=1"


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    """A program that we start must not speak for us; a manager that is not there stops nothing."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "PATH": "/bin"}
    manager = Manager(environ)
    manager.ready()
    assert environ == {"PATH": "/bin"}
    assert not Manager({}).listens
