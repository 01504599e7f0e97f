"""spam: asks the engine for a score and writes X-Spam-* in SpamAssassin's own shape.

    X-Spam-Checker-Version: SpamAssassin 4.0.1 on mx2.example.net
    X-Spam-Level: ****
    X-Spam-Status: No, score=4.2 required=17.0 tests=HTML_MESSAGE,MISSING_MID
    X-Spam-Flag: YES                                (only when it is)

The score is the engine's, the threshold ours: `checks.spam.required_score`,
not the one in spamd's local.cf; for some recipients' domains it may be another
(`required_score_for`), and of several the highest counts, because one message
has one header.  What the primary's sieve scripts test in X-Spam-Status is what
they would test in SpamAssassin's.

What an engine said of the same octets from the same client and sender holds
for five minutes (`remembered`); one that is away is left alone (`breaker`).
"""

import math
import re
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from backupmx.check.breaker import Breaker
from backupmx.check.field import plain
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.remembered import Remembered, digest
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable
from backupmx.journal import Journal, silent
from backupmx.mail.address import domain_of

_REMEMBERED_SECONDS = 300.0

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
    certain: bool = False
    """The engine was told to refuse such mail, whatever its score (rspamd: a forced reject)."""
    action: str = ""
    """rspamd's own word for what it would do: "add header"; for a person."""


class SpamEngine(Protocol):
    name: str
    """The configuration's word: spamd, rspamd, builtin."""
    largest: int
    """Octets of a message; it looks at no larger one."""

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        """Raises EngineAway, Unscannable, TooLarge."""
        ...

    def depends_on(self, mail: Mail) -> Hashable:
        """What its score depends on beside the content; None: it is not worth remembering."""
        ...

    async def ping(self) -> str:
        """Its version.  Raises EngineAway, Unscannable."""
        ...


class Spam:
    """The spam check."""

    name = "spam"

    def __init__(
        self,
        engine: SpamEngine,
        required: float,
        hostname: str,
        journal: Journal | None = None,
        required_for: Mapping[str, float] | None = None,
    ) -> None:
        self.engine = engine
        self.breaker = Breaker(engine.name, engine.ping, journal or silent())
        self._remembered: Remembered[Score] = Remembered(_REMEMBERED_SECONDS, most=2000)
        self._required, self._required_for = required, required_for or {}
        self._hostname = hostname

    async def look(self, mail: Mail, authentication: Findings) -> Finding:
        started = time.monotonic()

        def without(seen: Seen, why: Exception) -> Finding:
            return Finding("spam", name, seen, plain(str(why)), seconds=time.monotonic() - started)

        name = self.engine.name
        try:
            score, again = await self._score(mail, authentication)
        except TooLarge as large:
            return without(Seen.SKIPPED, large)
        except EngineAway as trouble:
            return without(Seen.AWAY, trouble)
        except Unscannable as trouble:
            return without(Seen.UNSCANNABLE, trouble)
        required = threshold(mail.envelope.addresses, self._required, self._required_for)
        return judged(score, required, self._hostname, name, time.monotonic() - started, again)

    async def _score(self, mail: Mail, authentication: Findings) -> tuple[Score, bool]:
        async def ask() -> Score:
            score = await self.breaker.run(lambda: self.engine.score(mail, authentication))
            return replace(score, tests=score.tests[:_MOST_TESTS])

        if mail.message.size > self.engine.largest:
            raise TooLarge(f"{mail.message.size} octets, {self.engine.name} gets at most {self.engine.largest}")
        if (depends_on := self.engine.depends_on(mail)) is None:
            return await ask(), False
        return await self._remembered.get((await digest(mail), depends_on), ask)


def threshold(recipients: Iterable[str], required: float, required_for: Mapping[str, float]) -> float:
    """Pure.  The highest of those of the recipients' domains: nobody loses mail to another one's low threshold."""
    if not required_for:
        return required
    domains = {domain_of(address) for address in recipients}
    return max((required_for.get(domain, required) for domain in domains), default=required)


def judged(
    score: Score, required: float, hostname: str, engine: str, seconds: float = 0.0, again: bool = False
) -> Finding:
    """Pure.  A score against our threshold, with its fields."""
    spam = score.certain or score.score >= required
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
        plain(f"score {shown} of {required:.1f}: {','.join(tests) or 'none'}{_more(score, again)}", 8 << 10),
        tuple(fields),
        facts={"score": score.score, "tests": tests, "remembered": (engine,) if again else ()},
        seconds=seconds,
    )


def _more(score: Score, again: bool) -> str:
    return (f", action {score.action}" if score.action else "") + (", remembered" if again else "")


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
