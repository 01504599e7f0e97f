"""Pure.  step: the steps of a rehearsal and the report of them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    """ready, accepted, held, delivered, cleared"""
    good: bool
    text: str
    seconds: float
    """It took."""
    at: float
    """When it ended, since the epoch."""

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.gmtime(self.at))
        return f"{clock}Z {'ok ' if self.good else 'BAD'} {self.name}: {self.text} ({self.seconds:.2f}s)"


def report(hostname: str, address: str, steps: Sequence[Step]) -> Iterator[str]:
    """The lines of the dated file."""
    began = steps[0].at - steps[0].seconds if steps else 0.0
    when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(began))
    yield f"rehearsal of {hostname} for {address}, {when}"
    yield ""
    yield from map(str, steps)
    yield ""
    yield outcome(steps)


def passed(steps: Sequence[Step]) -> bool:
    return bool(steps) and all(step.good for step in steps)


def outcome(steps: Sequence[Step]) -> str:
    bad = [step.name for step in steps if not step.good]
    return (
        "rehearsal passed: the mail was taken, kept and brought"
        if not bad
        else f"rehearsal FAILED at: {', '.join(bad)}"
    )
