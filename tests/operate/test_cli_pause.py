"""pause, resume: and what status, queue list and flush say of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble
from tests.operate.desk import Desk
from tests.queue.samples import entry


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_pause_and_resume(desk: Desk) -> None:
    """A pause says how much waits and how to end it; a second resume has nothing to do."""
    desk.put(entry())
    paused = desk.says("pause", "Example.JP.")
    assert (paused.exit_code, paused.stdout) == (
        0, "example.jp: paused, 1 waiting; `backupmx resume example.jp` ends it\n",
    )  # fmt: skip
    resumed = desk.says("resume", "example.jp")
    assert (resumed.exit_code, resumed.stdout) == (0, "example.jp: resumed, 1 waiting\n")
    again = desk.says("resume", "example.jp")
    assert (again.exit_code, again.stdout) == (0, "example.jp is not paused\n")


def test_for_programs(desk: Desk) -> None:
    """With --json each is one object."""
    desk.put(entry())
    said = [json.loads(desk.says(verb, "example.jp", "--json").stdout) for verb in ("pause", "resume")]
    assert said == [
        {"domain": "example.jp", "paused": True, "waiting": 1},
        {"domain": "example.jp", "paused": False, "waiting": 1},
    ]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_not_ours(desk: Desk, verb: str) -> None:
    """A domain that is not among our relay domains is no domain to pause."""
    desk.put(entry())
    result = desk.says(verb, "example.org")
    assert (result.exit_code, "not among our relay domains" in result.stderr) == (1, True)


def test_seen_in_list_and_status(desk: Desk) -> None:
    """`queue list` gives the pause as the reason, `status` the domain, since when and how much waits."""
    desk.put(entry())
    desk.says("pause", "example.jp")
    (listed,) = [json.loads(line) for line in desk.says("queue", "list", "--json").stdout.splitlines()]
    assert listed["recipients"][0]["delay_reason"] == "example.jp is paused"
    status = json.loads(desk.says("status", "--json").stdout)
    assert [(p["domain"], p["waiting"]) for p in status["paused"]] == [("example.jp", 1)]
    assert "example.jp: paused for 0s, 1 waiting" in desk.says("status").stdout


@pytest.mark.parametrize("arguments", [(), ("example.jp",)])
def test_flush_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """`flush` leaves a paused domain alone, says so, and its status is 1."""
    monkeypatch.setattr("backupmx.operate.cli.flush.is_running", lambda config: True)
    desk.put(entry())
    desk.says("pause", "example.jp")
    result = desk.says("flush", *arguments, "--json")
    assert result.exit_code == 1
    assert "example.jp is paused: 1 waiting there stay; `backupmx resume example.jp` ends it" in result.stderr
    said = json.loads(result.stdout)
    assert (said["waiting"], said["delivered"], said["paused"]) == (0, 0, 1)
    assert desk.says("flush", *arguments).stdout == "Nothing may go: 1 waiting, all of it of paused domains.\n"


BROKEN_MAP = [
    ("flush", "example.jp"), ("pause", "example.jp"), ("resume", "example.jp"), ("recipients", "list"),
    ("recipients", "show", "bob@example.jp"), ("page", "token", "example.jp"), ("rehearse", "example.jp"),
]  # fmt: skip


@pytest.mark.parametrize("words", BROKEN_MAP, ids=" ".join)
def test_a_mistake_in_the_map(desk: Desk, words: tuple[str, ...]) -> None:
    """A command that must know our domains names the line of transport.map that is wrong, and ends with 2."""
    desk.put(entry())
    (desk.config.parent / "transport.map").write_text("example.jp smtp:[primary1.example.net]\nexample.net smtp:[\n")
    result = desk.says(*words)
    assert isinstance(result.exception, ConfigTrouble)
    assert "transport.map:2" in str(result.exception)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("example.jp smtp:[\n")])
def test_status_with_a_mistake_in_the_map(desk: Desk, spoil: Callable[[Path], object]) -> None:
    """`status` is what one asks when a reload failed: it answers all the same, says which line, and is 1."""
    desk.put(entry())
    spoil(desk.config.parent / "transport.map")
    said = desk.says("status")
    assert said.exit_code == 1
    assert "waiting: 1 queued" in said.stdout
    assert "transport.map" in said.stdout
    assert "neither a reload nor a start takes it" in said.stdout
    assert "transport.map" in json.loads(desk.says("status", "--json").stdout)["remarks"][0]
