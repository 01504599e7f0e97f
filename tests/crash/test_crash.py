"""A sample of the crash suite, another one each time; `python -m tests.crash` is the whole.

What must hold after every crash is in examine.py: each message that read 250 is delivered, returned, in
quarantine or still queued, octet for octet; what was refused is nowhere; `queue check` finds nothing.
"""

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.appliance import appliance_kills
from tests.crash.boundaries import kills, kills_in_a_crowd
from tests.crash.faults import faults
from tests.crash.mutations import MUTATIONS, Mutation, prove
from tests.crash.power import forgetful_disks, power_cuts
from tests.crash.result import Crash, Tally

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not there")


def survived(crashes: Iterable[Crash], at_least: int) -> None:
    tally = Tally()
    assert sum(1 for _ in tally.counting(crashes)) >= at_least
    assert tally.wrongs == []


@pytest.mark.parametrize("story", ["evening", "morning", "inherited", "crowd", "pair"])
def test_power_cut(tmp_path: Path, story: str) -> None:
    """At whatever moment the power fails, and whatever the disk did unasked: nothing promised is lost, nothing half."""
    survived(power_cuts(story, tmp_path, every=25, start=random.randrange(25), seed=random.randrange(99)), 21)


def test_power_cut_after_a_failed_fsync(tmp_path: Path) -> None:
    """A disk that failed once has forgotten what it was asked for; nothing is promised that builds on it."""
    some = forgetful_disks(
        "morning", tmp_path, every=30, start=random.randrange(30), chosen=lambda all: random.sample(all, 4)
    )
    survived(some, 4)


@pytest.mark.parametrize("story", ["evening", "morning", "inherited"])
def test_killed_at_a_call(tmp_path: Path, story: str) -> None:
    """Killed exactly before a write, an fsync or an unlink, the queue is whole at the next start."""
    survived(kills(story, tmp_path, every=60, start=random.randrange(60)), 4)


@pytest.mark.parametrize("story", ["crowd", "pair"])
def test_killed_at_any_moment(tmp_path: Path, story: str) -> None:
    """Of two processes full of work one or both are killed: what they had promised is there, whole."""
    survived(kills_in_a_crowd(story, tmp_path, times=5, chance=random.Random()), 5)


@pytest.mark.parametrize("story", ["evening", "morning", "inherited"])
def test_a_disk_that_says_no(tmp_path: Path, story: str) -> None:
    """Full, over quota, broken or read-only at any call: refused politely, nothing lost, and mail flows afterwards."""
    survived(faults(story, tmp_path, every=400, start=random.randrange(400)), 4)


@pytest.mark.slow
@pytest.mark.parametrize("mutation", random.sample(MUTATIONS, 2), ids=["one", "another"])
def test_a_promise_taken_out(tmp_path: Path, mutation: Mutation) -> None:
    """Without one of its waits for the disk the queue does not pass."""
    proof = prove(mutation, tmp_path)
    assert proof.found is not None, f"nobody misses {mutation.promise}"


@pytest.mark.slow
@pytest.mark.neighbours
def test_processes_killed_under_load(tmp_path: Path) -> None:
    """A worker, the relay, the supervisor, all of them, a command: killed under load, nothing is lost."""
    survived(appliance_kills(tmp_path, rounds=2), 10)
