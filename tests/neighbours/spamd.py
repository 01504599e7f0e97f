"""spamd: Debian's SpamAssassin daemon with rules of its own, on a loopback port.

It knows GTUBE and two header rules, asks no network and reads nobody's preferences.
"""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.neighbours.unbound import free_port, required

_RULES = r"""
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
describe GTUBE Generic Test for Unsolicited Bulk Email
score GTUBE 1000
header SUBJECT_OFFER Subject =~ /offer/i
score SUBJECT_OFFER 2.5
header NO_MESSAGE_ID Message-ID =~ /^UNSET$/ [if-unset: UNSET]
score NO_MESSAGE_ID 1.25
"""
_SITE = """
required_score 5.0
report_safe 0
use_bayes 0
use_auto_whitelist 0
skip_rbl_checks 1
"""


@contextmanager
def spamd(folder: Path, more: str = "", *, stock: bool = False, children: int = 1, port: int = 0) -> Iterator[str]:
    """-> "tcp:127.0.0.1:PORT" while it runs.  `more`: lines of its local.cf.  `stock`: with Debian's own rules."""
    program = required("spamd")
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="spamd-") as rules:  # not below pytest's: its children drop to nobody
        _write(Path(rules), more)
        command = [
            program, "--nouser-config", "--local", f"--max-children={children}", f"--listen=127.0.0.1:{port}",
            *([] if stock else [f"--configpath={rules}/rules", f"--siteconfigpath={rules}/site"]),
            f"--helper-home-dir={rules}",
            "--username=nobody", "--syslog=stderr", f"--pidfile={folder}/pid",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _wait_for(port, process, folder / "log")
            yield f"tcp:127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _write(rules: Path, more: str) -> None:
    for name, files in {
        "rules": {"10_rules.cf": _RULES},
        "site": {"local.cf": _SITE + more, "init.pre": _PLUGINS},
    }.items():
        (rules / name).mkdir()
        for file, text in files.items():
            (rules / name / file).write_text(text)
    rules.chmod(0o755)


_PLUGINS = "loadplugin Mail::SpamAssassin::Plugin::Check\n"


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"spamd ended: {log.read_text()}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("spamd did not start")
