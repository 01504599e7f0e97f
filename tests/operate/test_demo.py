"""The demo from outside: a pipe, a terminal, a signal, and a policy that is not what it should be."""

import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backupmx.operate.demo.run import run
from backupmx.operate.demo.scene import Scene
from backupmx.operate.demo.screen import Plain

pytestmark = pytest.mark.slow

BACKUPMX = Path(sys.executable).with_name("backupmx")


@pytest.fixture(autouse=True)
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its folder: other demos may run on this machine."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_in_a_pipe(own_tmp: Path) -> None:
    """Every step is as expected, in plain text; nothing is left behind."""
    ran = subprocess.run([BACKUPMX, "demo", "--port", "0"], capture_output=True, text=True, timeout=180)
    assert (ran.returncode, ran.stderr) == (0, "")
    right, of = re.fullmatch(r"demo: (\d+) of (\d+) steps as expected", ran.stdout.splitlines()[-1]).groups()  # type: ignore[union-attr]
    assert right == of == str(len(re.findall(r"^\[ ?\d+/\d+\] ok ", ran.stdout, re.MULTILINE)))
    assert "\x1b" not in ran.stdout
    assert list(own_tmp.iterdir()) == []


def test_on_a_terminal() -> None:
    """On a terminal it has colour, and the same last line."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [BACKUPMX, "demo", "--port", "0"], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # EIO: the other end of a terminal is closed
    os.close(ours)
    assert process.wait(10) == 0
    assert b"\x1b[" in shown
    assert re.search(rb"demo: (\d+) of \1 steps as expected", shown)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_in_the_middle(number: signal.Signals, own_tmp: Path) -> None:
    """A demo that is told to stop takes its appliance, its servers and its folder along."""
    process = subprocess.Popen(
        [BACKUPMX, "demo", "--port", "0"], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a job of a shell may ignore it
    )  # fmt: skip
    assert process.stdout
    port = int(re.search(r"127\.0\.0\.1:(\d+),", process.stdout.readline())[1])  # type: ignore[index]
    for line in process.stdout:
        if line.startswith("[ 2/"):
            break
    assert is_open(port)
    process.send_signal(number)
    process.stdout.read()
    process.stdout.close()
    assert process.wait(30) != 0
    assert not is_open(port)
    assert list(own_tmp.iterdir()) == []


def test_a_policy_that_lets_spam_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line that discards spam taken out the demo says so, step by step, and its status is 1."""
    dress = Scene.dress

    def without_the_rule(scene: Scene) -> None:
        dress(scene)
        text = scene.header_checks.read_text()
        scene.header_checks.write_text(text.replace(r"/^X\-Spam\-Flag:\s+YES/m", r"#^X\-Spam\-Flag:\s+YES/m"))

    monkeypatch.setattr(Scene, "dress", without_the_rule)
    out = io.StringIO()
    assert run(0, False, Plain(out)) == 1
    wrong = re.findall(r"^\[[ 0-9/]+\] NOT  (\S+):", out.getvalue(), re.MULTILINE)
    assert wrong[:2] == ["flagged-elsewhere.eml", "gtube.eml"], out.getvalue()
    assert "the verdict: expected 'discard', saw 'accept'" in out.getvalue()
