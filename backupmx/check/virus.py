"""virus: asks the engines, the first hit wins, and writes X-Virus-*.

    X-Virus-Scanned: ClamAV 1.4.6/27815 on mx2.example.net
    X-Virus-Status: Clean | Yes (SIGNATURE)

All engines of `checks.virus.engine` look at once.  One that finds something
settles it; of several the first in the list is named.  Clean is said only
when every engine said so.  If one failed or is away and none found anything,
the message says neither Clean nor Yes; `on_error` and `on_unscannable` decide.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from backupmx.check.field import plain
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.mail.message import Message


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

    async def scan(self, message: Message) -> Scan:
        """Raises EngineAway, Unscannable."""
        ...

    async def ping(self) -> str:
        """Its version.  Raises EngineAway, Unscannable."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """One engine's part of the finding."""

    engine: str
    seen: Seen
    detail: str
    version: str = ""


class Virus:
    """The virus check."""

    name = "virus"

    def __init__(self, engines: Sequence[VirusEngine], hostname: str) -> None:
        self.engines = tuple(engines)
        self._hostname = hostname

    async def look(self, mail: Mail) -> Finding:
        """Every engine at once; the time is that of the slowest."""
        started = time.monotonic()
        looks = await asyncio.gather(*(_look(engine, mail.message) for engine in self.engines))
        return combined(looks, self._hostname, time.monotonic() - started)


async def _look(engine: VirusEngine, message: Message) -> Look:
    try:
        scan = await engine.scan(message)
    except EngineAway as trouble:
        return Look(engine.name, Seen.AWAY, plain(str(trouble)))
    except Unscannable as trouble:
        return Look(engine.name, Seen.UNSCANNABLE, plain(str(trouble)))
    if scan.signature:
        return Look(engine.name, Seen.FOUND, plain(scan.signature), scan.version)
    return Look(engine.name, Seen.CLEAN, "clean", scan.version)


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
        "away": tuple(look.engine for look in looks if look.seen is Seen.AWAY),
        "answered": tuple(look.engine for look in looks if look.seen is not Seen.AWAY),
    }
    return Finding("virus", engine, first.seen, first.detail, fields, facts=facts, seconds=seconds)
