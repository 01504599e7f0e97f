"""The man pages: made of --help and of the settings' sentences, and complete."""

import shutil
import subprocess
from pathlib import Path

import pytest

from backupmx.config import Config
from backupmx.operate.cli import cli
from backupmx.operate.manual import escaped, pages
from tests.test_docs import commands, keys

MAN = Path(__file__).parents[2] / "man"


def test_they_are_up_to_date() -> None:
    """man/ is what its sources say now; after a change of help or settings: make man."""
    assert {path.name: path.read_text("utf-8") for path in MAN.iterdir()} == pages(), "run `make man`"


def test_nothing_is_left_out() -> None:
    """Each command and each setting stands there with a sentence."""
    made = pages()
    for command in commands(cli):
        _, found, text = made["backupmx.1"].partition(f".SS {escaped(command)} ")
        assert found, command
        assert len(text.splitlines()[1]) > 10, command
    for key in keys(Config):
        _, found, text = made["backupmx.toml.5"].partition(f".B {escaped(key)}\n")
        assert found, key
        assert len(text.splitlines()[0]) > 15, key


@pytest.mark.parametrize("name", ["backupmx.1", "backupmx.toml.5"])
def test_man_reads_them(name: str, tmp_path: Path) -> None:
    """man(1) has no warning, and shows what was meant."""
    program = shutil.which("man") or pytest.skip("no man here")
    done = subprocess.run(
        [program, "--warnings", "-Tutf8", "-l", str(MAN / name)], capture_output=True, text=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "MANWIDTH": "100", "GROFF_NO_SGR": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    assert "NAME" in done.stdout.replace("\x08", "").replace("NNAAMMEE", "NAME")


def test_strange_words() -> None:
    """Nothing in a sentence is taken for a request or an escape of roff."""
    assert escaped(".so /etc/passwd\n'x\\fB -c") == "\\&.so /etc/passwd\n\\&'x\\efB \\-c"
