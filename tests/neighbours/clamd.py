"""clamd: Debian's ClamAV daemon with a signature file of its own, on a socket in a private directory.

It knows EICAR and nothing else, so it needs no download and starts in a second.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.unbound import free_port, required

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
STREAM_MAX = 1 << 20

_CONFIGURATION = """\
DatabaseDirectory {folder}/db
LocalSocket {folder}/clamd.sock
TCPSocket {port}
TCPAddr 127.0.0.1
LogFile {folder}/log
Foreground yes
StreamMaxLength {stream_max}
MaxThreads 4
SelfCheck 0
"""


@contextmanager
def clamd(folder: Path, stream_max: int = STREAM_MAX, more: str = "") -> Iterator[tuple[str, str]]:
    """-> its two addresses, as the configuration writes them, while it runs.  `more`: lines of its configuration."""
    program = required("clamd")
    port = free_port()
    (folder / "db").mkdir(exist_ok=True)  # it may have run here before
    (folder / "db" / "test.ndb").write_text(f"Eicar-Test-Signature:0:*:{EICAR.hex()}\n")
    configuration = _CONFIGURATION.format(folder=folder, port=port, stream_max=stream_max) + more
    (folder / "clamd.conf").write_text(configuration)
    process = subprocess.Popen(
        [program, "-c", str(folder / "clamd.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(folder / "clamd.sock", process, folder / "log")
        yield f"unix:{folder}/clamd.sock", f"tcp:127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"clamd ended: {log.read_text() if log.exists() else process.returncode}")
        with socket.socket(socket.AF_UNIX) as s:
            if s.connect_ex(str(path)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("clamd did not start")
