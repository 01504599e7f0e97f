"""smtp_sink: Postfix's black hole as a fast primary that keeps what it took, one file a message."""

import getpass
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.neighbours.unbound import free_port, required


@dataclass(frozen=True, slots=True)
class Dump:
    """One message as it stands in its file, LF line ends; the envelope is X-Mail-Args and X-Rcpt-Args."""

    when: float
    raw: bytes

    def values(self, name: str) -> list[str]:
        """Values of a header field, or of the envelope."""
        head = self.raw.partition(b"\n\n")[0]
        found = re.findall(rb"(?im)^" + re.escape(name.encode()) + rb": *((?:.*)(?:\n[ \t].*)*)", head)
        return [value.decode("utf-8", "surrogateescape").rstrip() for value in found]

    @property
    def sender(self) -> str:
        return self.values("X-Mail-Args")[0].partition(">")[0].lstrip("<")

    @property
    def recipients(self) -> list[str]:
        return [value.partition(">")[0].lstrip("<") for value in self.values("X-Rcpt-Args")]


@dataclass
class SmtpSink:
    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Returns when it takes connections."""
        command = [required("smtp-sink"), "-u", getpass.getuser(), "-d", f"{self.folder}/%H%M%S.", *self.options]
        self.process = subprocess.Popen(
            [*command, f"127.0.0.1:{self.port}", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError("smtp-sink did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=10)
            self.process = None

    def messages(self) -> list[Dump]:
        """What arrived, oldest first."""
        paths = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [Dump(path.stat().st_mtime, path.read_bytes()) for path in paths]


@contextmanager
def smtp_sink(folder: Path, *options: str) -> Iterator[SmtpSink]:
    """-> it, while it runs; `options` are smtp-sink's own (man smtp-sink)."""
    folder.mkdir(exist_ok=True)
    sink = SmtpSink(folder, free_port(), options)
    try:
        sink.start()
        yield sink
    finally:
        sink.stop()
