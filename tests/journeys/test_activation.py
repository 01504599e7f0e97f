"""systemd opens the port, the appliance serves it."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to, environment
from tests.journeys.arrivals import all_arrived
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.smtp_sink import smtp_sink

pytestmark = pytest.mark.neighbours


def activate(mx: Appliance) -> "subprocess.Popen[bytes]":
    """systemd's own tool opens the port and starts the appliance when the first client comes."""
    program = shutil.which("systemd-socket-activate") or pytest.skip("no systemd here")
    kept = [f"-E{name}={value}" for name, value in environment().items() if name in ("PYTHONPATH", "PATH")]
    with (mx.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [program, *kept, f"-l127.0.0.1:{mx.port}", sys.executable, "-m", "backupmx", "serve", "-c", str(mx.config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip


def test_the_first_client_starts_it(serve: Serve, tmp_path: Path) -> None:
    """The client that wakes it gets its mail through; two workers share the socket; smtp.listen is nothing it needs."""
    with smtp_sink(tmp_path / "sink") as sink:
        mx = serve(bound_to(["example.jp"], sink.port), started=False, smtp={"workers": 2, "listen": ["192.0.2.1:25"]})
        process = activate(mx)
        try:
            mx.logged(r"Listening on")
            subjects = [f"message {n}" for n in range(20)]
            for subject in subjects:
                assert send(mx.port, message(subject)).code == 250
            all_arrived(sink, subjects)
            assert f"2 workers on 127.0.0.1:{mx.port}, one relay" in mx.log
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        eventually(lambda: "stopped: backupmx" in mx.log)
