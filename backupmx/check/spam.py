"""spam: asks the engine for a score and writes X-Spam-* in SpamAssassin's own shape.

    X-Spam-Checker-Version: SpamAssassin 4.0.1 on mx2.example.net
    X-Spam-Level: ****
    X-Spam-Status: No, score=4.2 required=17.0 tests=HTML_MESSAGE,MISSING_MID
    X-Spam-Flag: YES                                (only when it is)

The score is the engine's, the threshold ours: `checks.spam.required_score`,
not the one in spamd's local.cf.  What the primary's sieve scripts test in
X-Spam-Status is what they would test in SpamAssassin's.
"""

import math
import re
import time
from dataclasses import dataclass
from typing import Protocol

from backupmx.check.field import plain
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable

_TEST = re.compile(r"[A-Za-z0-9_]{1,80}")
_MOST_TESTS = 200
_MOST_STARS = 50


@dataclass(frozen=True, slots=True)
class Score:
    """What the engine says of one message."""

    score: float
    tests: tuple[str, ...]
    version: str
    """"SpamAssassin 4.0.1"."""


class SpamEngine(Protocol):
    name: str
    """The configuration's word: spamd, builtin."""

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        """Raises EngineAway, Unscannable, TooLarge."""
        ...

    async def ping(self) -> str:
        """Its version.  Raises EngineAway, Unscannable."""
        ...


class Spam:
    """The spam check."""

    name = "spam"

    def __init__(self, engine: SpamEngine, required: float, hostname: str) -> None:
        self.engine = engine
        self._required = required
        self._hostname = hostname

    async def look(self, mail: Mail, authentication: Findings) -> Finding:
        started = time.monotonic()

        def without(seen: Seen, why: Exception) -> Finding:
            facts = {"away": (name,)} if seen is Seen.AWAY else {}
            return Finding("spam", name, seen, plain(str(why)), facts=facts, seconds=time.monotonic() - started)

        name = self.engine.name
        try:
            score = await self.engine.score(mail, authentication)
        except TooLarge as large:
            return without(Seen.SKIPPED, large)
        except EngineAway as trouble:
            return without(Seen.AWAY, trouble)
        except Unscannable as trouble:
            return without(Seen.UNSCANNABLE, trouble)
        return judged(score, self._required, self._hostname, name, time.monotonic() - started)


def judged(score: Score, required: float, hostname: str, engine: str, seconds: float = 0.0) -> Finding:
    """Pure.  A score against our threshold, with its fields."""
    spam = score.score >= required
    shown = _shown(score.score, spam)
    tests = tuple(t for t in score.tests if _TEST.fullmatch(t))[:_MOST_TESTS]
    stars = "*" * max(0, min(int(score.score), _MOST_STARS))
    fields = [
        f"X-Spam-Checker-Version: {plain(score.version)} on {plain(hostname)}".encode(),
        f"X-Spam-Level: {stars}".rstrip().encode(),
        _status(spam, shown, required, tests),
    ]
    if spam:
        fields.append(b"X-Spam-Flag: YES")
    return Finding(
        "spam",
        engine,
        Seen.FOUND if spam else Seen.CLEAN,
        f"score {shown} of {required:.1f}: {','.join(tests) or 'none'}",
        tuple(fields),
        facts={"score": score.score, "tests": tests, "answered": (engine,)},
        seconds=seconds,
    )


def _status(spam: bool, shown: str, required: float, tests: tuple[str, ...]) -> bytes:
    """tests=A,B,C folds after a comma, as SpamAssassin folds it."""
    word = "Yes" if spam else "No"
    listed = [t + "," for t in tests[:-1]] + [tests[-1] if tests else "none"]
    line = f"X-Spam-Status: {word}, score={shown} required={required:.1f} tests="
    lines = [line]
    for test in listed:
        if len(lines[-1]) + len(test) > 78 and lines[-1] != line:
            lines.append("\t" + test)
        else:
            lines[-1] += test
    return "\n".join(lines).encode()


def _shown(score: float, spam: bool) -> str:
    """One digit; below the threshold rounded down, so that no reader sees "No, score=17.0 required=17.0"."""
    return f"{score:.1f}" if spam else f"{math.floor(score * 10 + 1e-9) / 10:.1f}"
