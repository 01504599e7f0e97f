"""The demo's screen says the same to a terminal and to a pipe, and ends with its count."""

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from backupmx.operate.demo.run import play, run
from backupmx.operate.demo.screen import Plain, Screen, Terminal, screen
from backupmx.operate.demo.step import Planned, Step, Trouble


def good(step: Step) -> None:
    step.tell("reply", "250 [red]2.0.0[/red] Ok")
    step.expect("sum", 4, 2 + 2)


def bad(step: Step) -> None:
    step.expect("sum", 5, 2 + 2)


def broken(step: Step) -> None:
    raise Trouble("nobody answers")


def terminal(out: io.StringIO) -> Terminal:
    return Terminal(Console(file=out, force_terminal=True, width=100, highlight=False))


@pytest.mark.parametrize("make", [Plain, terminal])
def test_every_step_is_told(make: type[Plain]) -> None:
    """Each step is shown with what it told and what was not as expected; brackets in mail are no markup."""
    out = io.StringIO()
    view: Screen = make(out)
    right = play([Planned("first", good), Planned("second", bad), Planned("third", broken)], view)
    view.closing(right, 3)
    text = out.getvalue()
    for words in ("first", "250 [red]2.0.0[/red] Ok", "second", "sum: expected 5, saw 4", "third", "nobody answers"):
        assert words in text
    assert "demo: 1 of 3 steps as expected" in text.splitlines()[-1]


def test_after_a_needed_step_fails_no_more_are_tried() -> None:
    """What makes no sense without a step is not tried after it; it does not count as right."""
    out = io.StringIO()
    assert play([Planned("a", good), Planned("b", broken, needed=True), Planned("c", good)], Plain(out)) == 1
    assert "c" not in [line[12:] for line in out.getvalue().splitlines() if line.startswith("[")]


def test_a_pipe_gets_plain_text() -> None:
    """Where standard output is no terminal there is no colour and no spinner."""
    assert isinstance(screen(io.StringIO()), Plain)


def test_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is said at once, and the status is not 0."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        status = run(port, keep=False, screen=screen(sys.stdout))
    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        f"backupmx demo: 127.0.0.1:{port}: another program listens there; "
        "choose another port with --port N (0: any free one)",
        "demo: 0 of 1 steps as expected",
    ]


def test_help_needs_nothing() -> None:
    """`backupmx demo --help` says what it does."""
    ran = subprocess.run([Path(sys.executable).with_name("backupmx"), "demo", "--help"], capture_output=True, text=True)
    assert (ran.returncode, "--port" in ran.stdout) == (0, True)
