"""pause, resume: and what status, queue list and flush say of it."""

import json
from pathlib import Path

import pytest

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
