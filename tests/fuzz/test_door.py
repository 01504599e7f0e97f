"""A sample of what `python -m tests.fuzz.door` does for as long as one likes."""

import random

import pytest

from tests.fuzz.dialogue import LONGEST, mutated, recorded
from tests.fuzz.door import fuzz


@pytest.mark.parametrize("seed", [1, 2])
async def test_mutated_dialogues(seed: int) -> None:
    """The door answers what no client should say, stores what it said it would, and goes on."""
    figures = await fuzz(seed, dialogues=300)
    assert figures.replies > 1000
    assert figures.stored > 10


def test_the_same_seed_gives_the_same_dialogues() -> None:
    """What was found can be found again."""
    one, other = ([mutated(recorded(), random.Random(seed)) for seed in range(100)] for _ in range(2))
    assert one == other
    assert len(set(one)) > 90
    assert max(len(dialogue.octets) for dialogue in one) <= LONGEST
