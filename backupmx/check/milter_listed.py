"""milter_listed: one milter of the list: where it is, whose turn it is, and whether it is left alone.

A process shows a milter at most 50 messages at once: more would only fill its
backlog.  One that fails three times in a row and does not answer a new
connection either is left alone, so that a milter that hangs holds up three
messages and not every one; one message in five seconds asks whether it is back
(breaker).

Trouble
    MilterTrouble   away, left alone, or lost in the middle of this message.
"""

import asyncio
from dataclasses import dataclass, field

from backupmx.check.breaker import Breaker, EngineState
from backupmx.check.finding import Mail
from backupmx.check.milter_draft import Draft
from backupmx.check.milter_macros import Macros
from backupmx.check.milter_replay import Said, replay
from backupmx.check.trouble import EngineAway, Lost
from backupmx.config import OnError
from backupmx.journal import silent
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import MilterAway, MilterLost, Timeouts, dialogue

_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Milter:
    """One section [[milter]]."""

    name: str
    endpoint: Endpoint
    timeouts: Timeouts = field(default_factory=Timeouts)
    on_error: OnError = "accept"
    alias: str = ""
    """In alarms and `status`, where an engine has the same name; "": as it is named."""

    @property
    def called(self) -> str:
        return self.alias or self.name


class Listed:
    """It, as one process knows it.  What it tells the journal is milters.py's business: hence the silent one."""

    def __init__(self, milter: Milter) -> None:
        self.milter = milter
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._breaker = Breaker(milter.called, self._ping, silent())

    @property
    def state(self) -> EngineState:
        return self._breaker.state

    async def ask(self, mail: Mail, draft: Draft, macros: Macros, largest: int, seconds: float) -> tuple[Said, bool]:
        """What it says of a message, and whether its values have their own leading blank.  Raises MilterTrouble."""

        async def told() -> tuple[Said, bool]:
            try:
                async with asyncio.timeout(seconds), self._turn, dialogue(*self._place) as opened:
                    return await replay(opened, mail, draft, macros, largest), opened.terms.leading_space
            except MilterAway as trouble:
                raise EngineAway(str(trouble)) from None
            except MilterLost as trouble:
                raise Lost(str(trouble)) from None
            except TimeoutError:
                raise Lost("no time left: all milters together get nine minutes") from None

        try:
            return await self._breaker.run(told)
        except EngineAway as trouble:
            raise MilterAway(str(trouble)) from None
        except Lost as trouble:
            raise MilterLost(str(trouble)) from None

    @property
    def _place(self) -> tuple[Endpoint, Timeouts]:
        return self.milter.endpoint, self.milter.timeouts

    async def _ping(self) -> None:
        try:
            async with dialogue(*self._place):
                pass
        except MilterAway as trouble:
            raise EngineAway(str(trouble)) from None
        except MilterLost as trouble:
            raise Lost(str(trouble)) from None
