"""patience: waiting for what will be so, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(claim: Callable[[], T], seconds: float = 20.0, why: Callable[[], object] | str = "") -> T:
    """The first true answer of `claim`; AssertionError with `why` when there is none in time."""
    until = time.monotonic() + seconds
    while True:
        if answer := claim():
            return answer
        if time.monotonic() > until:
            raise AssertionError(why() if callable(why) else why or f"not within {seconds:.0f}s: {claim}")
        time.sleep(0.02)
