"""Journey 7: a full disk, and a primary that never answers."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to
from tests.journeys.arrivals import all_arrived, arrived, subjects
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.neighbours.smtp_sink import smtp_sink
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting wants root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [1_000, 300_000, 3_000_000])
def test_full_disk(serve: Serve, tmp_path: Path, small_disk: Path, size: int) -> None:
    """With a full disk the client reads 452, the process lives, and what read 250 arrives when there is room again."""
    with smtp_sink(tmp_path / "sink") as sink:
        sink.stop()
        mx = serve(bound_to(["example.jp"], sink.port), state_dir=str(small_disk))
        assert send(mx.port, message("before")).code == 250
        mx.logged("status=deferred")
        fill(small_disk / "filler")
        full = [send(mx.port, large(f"full {n}", size)) for n in range(5)]
        taken = [f"full {n}" for n, sent in enumerate(full) if sent.code == 250]
        assert {(sent.code, sent.text[:5]) for sent in full if sent.code != 250} <= {(452, "4.3.1")}
        assert full[-1].code == 452
        mx.logged("error: queue: |warning: .*room|No space|4.3.1")
        (small_disk / "filler").unlink()
        assert send(mx.port, large("after", size)).code == 250
        sink.start()
        mx.cli("flush")
        all_arrived(sink, ["before", *taken, "after"])
        assert mx.process is not None
        assert mx.process.poll() is None
        assert "died" not in mx.log
        assert "Traceback" not in mx.log
        assert mx.cli("queue", "check").returncode == 0


def fill(path: Path) -> None:
    """Until not an octet more is free."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            pass  # that was the last one


def large(subject: str, size: int) -> bytes:
    return message(subject) + (b"0123456789" * 7 + b"\r\n") * (size // 72)


def test_min_free(serve: Serve, tmp_path: Path) -> None:
    """With less room than queue.min_free new mail is put off, 452, and what is queued goes out."""
    free = shutil.disk_usage(tmp_path).free
    with smtp_sink(tmp_path / "sink") as sink:
        mx = serve(bound_to(["example.jp"], sink.port))
        assert send(mx.port, message("with room")).code == 250
        arrived(sink, "with room")
        mx.stop()
        mx.settings = {**mx.settings, "queue": {"min_free": free * 2}}
        mx.write()
        mx.start()
        sent = send(mx.port, message("without room"))
        assert (sent.code, sent.text[:5]) == (452, "4.3.1")


@contextmanager
def silent_server() -> Iterator[int]:
    """It takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                pass  # closed: the end of the test

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for each in held:
        each.close()


@pytest.mark.slow
def test_silent_primary(serve: Serve, tmp_path: Path) -> None:
    """A primary that takes connections and never answers holds up its own mail and nobody else's."""
    with silent_server() as port, smtp_sink(tmp_path / "sink") as sink:
        mx = serve(bound_to(["example.net"], port) + bound_to(["example.jp"], sink.port), smtp={"workers": 2})
        for n in range(30):
            assert send(mx.port, message(f"stalled {n}"), "bob@example.net").code == 250
        began = time.monotonic()
        for n in range(30):
            assert send(mx.port, message(f"flows {n}"), "bob@example.jp").code == 250
        all_arrived(sink, [f"flows {n}" for n in range(30)], 20)
        assert time.monotonic() - began < 20
        assert len([m for m in mx.queue() if m["recipients"][0]["address"] == "bob@example.net"]) == 30
        assert subjects(sink) != []
        assert mx.stop() == 0


def test_no_primary_at_all(serve: Serve) -> None:
    """Thousands may wait for a primary that is down: the door stays quick and the queue says how many."""
    mx = serve(bound_to(["example.jp"], free_port()))
    for n in range(20):
        assert send(mx.port, message(f"waits {n}")).code == 250
    (status,) = [h for o in mx.objects("status") for h in o["next_hops"]]
    assert status["state"] == "down"
