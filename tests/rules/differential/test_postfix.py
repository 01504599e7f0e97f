"""The engine against the Postfix that Debian ships: a few hundred random cases, each asked of both."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.neighbours.postfix_lab import PostfixLab

from .compare import differences
from .generate import case

CASES = int(os.environ.get("BACKUPMX_DIFFERENTIAL", "200"))


@pytest.fixture(scope="module")
def lab() -> Iterator[PostfixLab]:
    with (
        tempfile.TemporaryDirectory(prefix="postfix-lab-", dir="/tmp") as folder,
        PostfixLab.running(Path(folder)) as it,
    ):
        yield it


@pytest.mark.neighbours
@pytest.mark.timeout(max(120, CASES))
def test_random_cases_have_the_same_outcome_as_in_postfix(lab: PostfixLab) -> None:
    """Whatever tables and messages chance brings, the verdict, every decision and every byte are Postfix's."""
    first = Random().randrange(10**9)
    found = {}
    for seed in range(first, first + CASES):
        made = case(Random(seed))
        if differs := differences(lab.ask(made), made):
            found[seed] = differs
    assert found == {}
