"""step: what one step saw, and what was not as expected."""

from collections.abc import Callable
from dataclasses import dataclass, field


class Trouble(Exception):
    """A step could not be done: the sentence says what did not happen."""


@dataclass(slots=True)
class Step:
    """One step of the demo.  It is told by `tell`, and judged by `expect` alone."""

    title: str
    told: list[tuple[str, str]] = field(default_factory=list)
    """(label, sentence) in order."""
    wrong: list[str] = field(default_factory=list)
    """What was not as expected; empty: all was."""
    compared: int = 0
    """How many comparisons were made; a step without one is not ok."""

    def tell(self, label: str, sentence: str) -> None:
        self.told.append((label, sentence))

    def expect(self, what: str, expected: object, actual: object) -> None:
        self.compared += 1
        if expected != actual:
            self.wrong.append(f"{what}: expected {_short(expected)}, saw {_short(actual)}")

    @property
    def ok(self) -> bool:
        return bool(self.compared) and not self.wrong


@dataclass(frozen=True, slots=True)
class Planned:
    """A step before it is done."""

    title: str
    act: Callable[[Step], None]
    needed: bool = False
    """Without it the rest of the demo makes no sense."""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:120]} ... {text[-60:]} ({len(text)} characters)"
