"""Shell completion and plain output: what a shell and a pipe get."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPLETE = """
cd "$1"
PATH="$1:$PATH"
eval "$(_BACKUPMX_COMPLETE=bash_source backupmx)"
COMP_WORDS=(backupmx {words}) COMP_CWORD={at}
_backupmx_completion backupmx
echo "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """`backupmx` as a shell finds it."""
    path = tmp_path / "backupmx"
    path.write_text(f"#!{sys.executable}\nfrom backupmx.operate.cli import main\nmain()\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [("qua", 1, "quarantine"), ("queue re", 2, "release retry return"), ("check ser", 2, "services"),
     ("flush --no", 2, "--no-wait")],
)  # fmt: skip
def test_bash(program: Path, words: str, at: int, expected: str) -> None:
    """bash completes commands, verbs and options."""
    shell = shutil.which("bash") or pytest.skip("no bash here")
    done = subprocess.run(
        [shell, "-c", COMPLETE.format(words=words, at=at), "bash", str(program.parent)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert sorted(done.stdout.split()) == expected.split(), done.stderr


def colours(program: Path, **environ: str) -> bool:
    """Whether `demo` on a terminal begins with colours; only its first words are waited for."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [program, "demo", "--port", "0"], stdout=theirs, stderr=theirs, stdin=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environ},
    ) as shown:  # fmt: skip
        os.close(theirs)
        said = b""
        while b"step" not in said and len(said) < 3000:
            try:
                said += os.read(ours, 4096)
            except OSError:
                break
        shown.terminate()
    os.close(ours)
    return re.search(rb"\x1b\[(?:\d+;)*(?:[39][0-7]|38;[\d;]+)(?:;\d+)*m", said) is not None


def test_no_color(program: Path) -> None:
    """A terminal gets colours, one with NO_COLOR none."""
    assert not colours(program, NO_COLOR="1")
    assert colours(program, NO_COLOR="")
