"""breaker: an engine that fails again and again is left alone, and asked now and then whether it is back.

    in use ──3 failures in a row, and no answer to a ping──► left alone
       ▲                                                         │ the first message after 5 s pings it
       └──────────────────────── it answers ─────────────────────┘

While it is left alone a message waits for nothing: it is AWAY at once and
`on_error` decides.  One message in five seconds waits up to two for a ping, and
is looked at if there is an answer.  Those that wait in the engine when it is
given up are let go as well.  The journal has one line for each change.

A failure is: nobody there (EngineAway), or the engine hung or closed the
connection (Lost).  An answer, also "I cannot scan this", ends the row.

Why the ping?  Whoever can write three messages that hang a scanner must not
get the fourth past it: an engine that answers pings is not away, and each
message that it does not answer for stays UNSCANNABLE.

Why no task that pings all the time?  Without mail nobody needs to know.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from backupmx.check.field import plain
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.journal import Journal

_FAILURES = 3
_PING_SECONDS = 2.0
_PROBE_SECONDS = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EngineState:
    """What one process knows of an engine: for an operator."""

    name: str
    up: bool
    """Not known to be away."""
    since: float
    """Seconds since the epoch."""
    why: str = ""
    """What it died of."""


class Breaker:
    """Between the messages of one process and one engine."""

    def __init__(
        self,
        name: str,
        ping: Callable[[], Awaitable[object]],
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._ping, self._journal, self._clock, self._now = name, ping, journal, clock, now
        self.state = EngineState(name, True, now())
        self._row = 0
        self._probe_at = 0.0
        self._pinging: asyncio.Task[bool] | None = None
        self._waiting: set[asyncio.Timeout] = set()

    async def run(self, ask: Callable[[], Awaitable[T]], *, proves: bool = True) -> T:
        """What the engine answers.  Raises EngineAway at once while it is left alone, else what `ask` raises.

        `proves`: an answer means that it works; not so of one that may be remembered.
        """
        if not (self.state.up or await self._is_back()):
            raise EngineAway(self.state.why)
        try:
            answer = await self._until_given_up(ask)
        except (EngineAway, Lost) as trouble:
            await self._failed(trouble)
            raise
        except Unscannable:
            self._row = 0
            raise
        if proves:
            self._row = 0
        return answer

    async def _until_given_up(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(None) as limit:
                self._waiting.add(limit)
                try:
                    return await ask()
                finally:
                    self._waiting.discard(limit)
                    del limit  # it knows the task, that knows the trouble, which knows this frame
        except TimeoutError:
            raise EngineAway(self.state.why) from None

    async def _failed(self, trouble: Exception) -> None:
        self._row += 1
        if self._row < _FAILURES or not self.state.up:
            return
        if await self._answers():
            self._row = 0
        elif self.state.up:
            self._change(False, plain(str(trouble)))
            for limit in self._waiting:
                limit.reschedule(asyncio.get_running_loop().time())

    async def _is_back(self) -> bool:
        if self._clock() < self._probe_at:
            return False
        self._probe_at = self._clock() + _PROBE_SECONDS
        if not await self._answers():
            return False
        if not self.state.up:
            self._change(True)
        return True

    def _change(self, up: bool, why: str = "") -> None:
        self.state = EngineState(self._name, up, self._now(), why)
        self._row = 0
        self._probe_at = self._clock() + _PROBE_SECONDS
        if up:
            self._journal.engine_up(self._name)
        else:
            self._journal.engine_down(self._name, why)

    async def _answers(self) -> bool:
        """Several who want to know ask once."""
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.ensure_future(self._asked())
        return await asyncio.shield(self._pinging)

    async def _asked(self) -> bool:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._ping()
        except (EngineAway, Unscannable, TimeoutError):
            return False
        return True
