"""Addresses that a program prints."""

import os
import sys
import time
from pathlib import Path

import pytest

from backupmx.recipients.source import SourceTrouble
from backupmx.recipients.source_command import CommandSource


def printing(code: str, timeout: float = 20.0, **settings: object) -> CommandSource:
    return CommandSource("hr", (sys.executable, "-c", code), timeout=timeout, **settings)  # type: ignore[arg-type]


def test_a_list() -> None:
    """One address a line; what stands behind a blank, comments and empty lines are passed over."""
    fetched = printing(r"print('# people\n\nA@example.jp OK\n@all.example.jp\n  b@example.jp\tx')").fetch()
    assert fetched.addresses == {"a@example.jp", "@all.example.jp", "b@example.jp"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('a@example.jp'); sys.exit('no database')", "ended with status 1: no database"),
        ("import os; print('a@example.jp', flush=True); os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import sys; sys.stdout.buffer.write(b'\\xff@example.jp')", "not UTF-8"),
        ("import sys\nwhile True: sys.stdout.write('a@example.jp\\n' * 100000)", "printed more than 64 MiB"),
        ("import sys\nwhile True: sys.stderr.write('no ' * 100000)", "printed more than 64 MiB"),
        ("print('<html>')", "line 1: '<html>': an address is local-part@domain"),
    ],
)
def test_trouble(code: str, words: str) -> None:
    """Half a list is none."""
    with pytest.raises(SourceTrouble, match=words):
        printing(code).fetch()


def test_no_such_program() -> None:
    with pytest.raises(SourceTrouble, match="hr: /nonexistent cannot be run: No such file"):
        CommandSource("hr", ("/nonexistent",)).fetch()


def test_too_slow_takes_its_children_with_it(tmp_path: Path) -> None:
    """A program that hangs is ended with all that it started."""
    told = tmp_path / "pid"
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(told)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    with pytest.raises(SourceTrouble, match="took longer than 2 s"):
        printing(code, timeout=2.0).fetch()
    if told.exists() and (pid := told.read_text()):  # a machine too slow to have come so far proves nothing
        assert gone(int(pid))


def gone(pid: int) -> bool:
    """Killed, a process takes a moment to go."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X"):
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_not_by_a_shell() -> None:
    """What looks like shell is an argument."""
    fetched = CommandSource("hr", (sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME@example.jp")).fetch()
    assert fetched.addresses == {"$home@example.jp"}
    assert os.environ.get("HOME")
