"""virus: asks the engines, the first hit wins, and writes X-Virus-*.

    X-Virus-Scanned: ClamAV 1.4.6/27815 on mx2.example.net
    X-Virus-Status: Clean | Yes (SIGNATURE)

All engines of `checks.virus.engine` look at once.  One that finds something
settles it; of several the first in the list is named.  Clean is said only
when every engine said so.  If one failed or is away and none found anything,
the message says neither Clean nor Yes; `on_error` and `on_unscannable` decide.

What an engine said of the same octets with the same signatures holds for ten
minutes (`remembered`); an engine that is away is left alone (`breaker`).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backupmx.check.breaker import Breaker
from backupmx.check.field import plain
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.check.remembered import Remembered, digest
from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.journal import Journal, silent
from backupmx.mail.message import Message

_REMEMBERED_SECONDS = 600.0
_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Scan:
    """What one engine says of one message."""

    signature: str
    """"" for clean."""
    version: str
    """As it calls itself: "ClamAV 1.4.6/27815"."""


class VirusEngine(Protocol):
    name: str
    """The configuration's word: clamd, yara."""
    too_old: str
    """What is wrong with the age of its signatures, as it last told; "" for nothing."""

    async def scan(self, message: Message) -> Scan:
        """Raises EngineAway, Unscannable."""
        ...

    async def signatures(self) -> str:
        """What its word depends on beside the message: program and signatures.  Raises EngineAway."""
        ...

    async def ping(self) -> str:
        """Its version, for an operator.  Raises EngineAway, Unscannable."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """One engine's part of the finding."""

    engine: str
    seen: Seen
    detail: str
    version: str = ""
    again: bool = False
    """Remembered: it was not asked for this message."""


class Virus:
    """The virus check."""

    name = "virus"

    def __init__(self, engines: Sequence[VirusEngine], hostname: str, journal: Journal | None = None) -> None:
        self.engines = tuple(engines)
        self._journal = journal or silent()
        self.breakers = {engine.name: Breaker(engine.name, engine.ping, self._journal) for engine in engines}
        self._remembered: Remembered[Scan] = Remembered(_REMEMBERED_SECONDS)
        self._hostname = hostname
        self._warned: dict[str, float] = {}

    async def look(self, mail: Mail) -> Finding:
        """Every engine at once; the time is that of the slowest."""
        started = time.monotonic()
        content = await digest(mail)
        looks = await asyncio.gather(*(self._look(engine, mail.message, content) for engine in self.engines))
        return combined(looks, self._hostname, time.monotonic() - started)

    async def _look(self, engine: VirusEngine, message: Message, content: bytes) -> Look:
        try:
            scan, again = await self._scan(engine, message, content)
        except EngineAway as trouble:
            return Look(engine.name, Seen.AWAY, plain(str(trouble)))
        except Unscannable as trouble:
            return Look(engine.name, Seen.UNSCANNABLE, plain(str(trouble)))
        if scan.signature:
            return Look(engine.name, Seen.FOUND, plain(scan.signature), scan.version, again)
        return Look(engine.name, Seen.CLEAN, "clean", scan.version, again)

    async def _scan(self, engine: VirusEngine, message: Message, content: bytes) -> tuple[Scan, bool]:
        breaker = self.breakers[engine.name]
        signatures = await breaker.run(engine.signatures, proves=False)
        self._warn(engine)

        async def ask() -> Scan:
            return await breaker.run(lambda: engine.scan(message))

        return await self._remembered.get((content, engine.name, signatures), ask)

    def _warn(self, engine: VirusEngine) -> None:
        """Once a day."""
        if engine.too_old and time.monotonic() >= self._warned.get(engine.too_old, 0.0):
            self._warned = {engine.too_old: time.monotonic() + _DAY}
            self._journal.warned(f"{engine.name}: {engine.too_old}")


_WEIGHT = {Seen.FOUND: 0, Seen.UNSCANNABLE: 1, Seen.AWAY: 2, Seen.CLEAN: 3}


def combined(looks: Sequence[Look], hostname: str, seconds: float = 0.0) -> Finding:
    """Pure.  What several engines saw, as one finding: a hit, else trouble, else clean."""
    first = min(looks, key=lambda look: _WEIGHT[look.seen])
    engine = first.engine if first.seen is not Seen.CLEAN else "+".join(look.engine for look in looks)
    versions = " + ".join(look.version for look in looks if look.seen in (Seen.FOUND, Seen.CLEAN))
    fields: tuple[bytes, ...] = ()
    if first.seen in (Seen.FOUND, Seen.CLEAN):
        status = "Clean" if first.seen is Seen.CLEAN else f"Yes ({first.detail})"
        fields = (
            f"X-Virus-Scanned: {plain(versions)} on {plain(hostname)}".encode(),
            f"X-Virus-Status: {status}".encode(),
        )
    facts: dict[str, str | float | tuple[str, ...]] = {
        "signature": first.detail if first.seen is Seen.FOUND else "",
        "troubles": tuple(look.seen.value for look in looks if look.seen in (Seen.AWAY, Seen.UNSCANNABLE)),
        "remembered": tuple(look.engine for look in looks if look.again),
    }
    detail = first.detail + (", remembered" if all(look.again for look in looks) else "")
    return Finding("virus", engine, first.seen, detail, fields, facts=facts, seconds=seconds)
