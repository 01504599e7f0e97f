"""File descriptors: none is lost, and when there are none mail waits instead of failing."""

import re
import resource
import smtplib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours


@pytest.fixture
def mx(serve: Serve) -> Iterator[Appliance]:
    """One worker that has met its first client."""
    running = serve(bound_to(["example.jp"], free_port()))
    assert send(running.port, message("first")).code == 250
    eventually(lambda: re.search(r"disconnect from", running.log))
    yield running
    assert "Traceback" not in running.log


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_clients_that_connect_and_close_at_once(mx: Appliance) -> None:
    """Five thousand of them, half with a reset, leave no descriptor behind."""
    worker = mx.child("worker 1")
    before = open_files(worker)
    for n in range(5000):
        client = socket.create_connection(("127.0.0.1", mx.port))
        if n % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    eventually(lambda: open_files(worker) <= before, why=lambda: f"{before} became {open_files(worker)}")
    assert send(mx.port, message("after them")).code == 250


def test_no_descriptors_left(mx: Appliance) -> None:
    """A worker that has no descriptor says so, loses no client it has, and serves again when there are some."""
    worker = mx.child("worker 1")
    usual = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    with smtplib.SMTP("127.0.0.1", mx.port, "client.sender.test", 30) as old:
        highest = max(int(fd.name) for fd in Path(f"/proc/{worker}/fd").iterdir())
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (highest + 1, usual[1]))
        with ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", mx.port)))
            mx.logged("error: no new clients: Too many open files")
            assert old.ehlo()[0] == 250
        resource.prlimit(worker, resource.RLIMIT_NOFILE, usual)
        assert old.noop()[0] == 250
    eventually(lambda: send(mx.port, message("again")).code == 250)
