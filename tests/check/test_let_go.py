"""A message that an engine did not answer for goes with the reply to its client, not when Python looks for cycles.

While an engine is away that is every message, of any size.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.run import Checks
from backupmx.check.spam import Score, Spam
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.check.virus import Scan, Virus
from backupmx.check.virus_sessions import Sessions
from backupmx.check.wire import places
from backupmx.config import Checks as Settings
from backupmx.journal import silent
from backupmx.mail.message import Message
from tests.check.messages import mail
from tests.check.test_virus_sessions import HANG, PING, clamd
from tests.leftovers import cycles

HOST = "mx2.example.net"


class Engine:
    """Of viruses and of spam."""

    name = "engine"
    too_old = ""
    largest = 1 << 20

    def __init__(self, trouble: Exception | None = None, *, hangs: bool = False) -> None:
        self._trouble, self._hangs = trouble, hangs

    async def _work(self) -> None:
        await asyncio.sleep(3600 if self._hangs else 0)
        if self._trouble:
            raise type(self._trouble)(*self._trouble.args)

    async def signatures(self) -> str:
        return "1"

    async def scan(self, message: Message) -> Scan:
        await self._work()
        return Scan("Eicar", "engine 1")

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        await self._work()
        return Score(0.0, (), "engine 1")

    def depends_on(self, mail: Mail) -> str:
        return ""

    async def ping(self) -> str:
        await self._work()
        return "1"


def checks(virus: Engine, spam: Engine, deadline: float = 5.0) -> Checks:
    return Checks(Settings(deadline=deadline), silent(), virus=Virus([virus], HOST), spam=Spam(spam, 5.0, HOST))


async def asked(checks: Checks, settles: Callable[[Finding], bool] | None = None) -> set[Seen]:
    """More than the breaker's row, at once and one after the other."""
    found = [await checks.run(mail(b"%d" % n), settles) for n in range(5)]
    found += await asyncio.gather(*(checks.run(mail(b"same"), settles) for _ in range(3)))
    return {one.seen for each in found for one in each}


@pytest.mark.parametrize("trouble", [EngineAway("gone"), Lost("closed"), Unscannable("no")], ids=repr)
async def test_trouble(trouble: Exception) -> None:
    """An engine is away, goes away with the message, cannot scan it."""
    with cycles() as left:
        seen = await asked(checks(Engine(trouble), Engine(trouble)))
    assert not seen & {Seen.CLEAN, Seen.FOUND}
    assert messages(left) == []


async def test_the_deadline() -> None:
    """An engine hangs, and is not waited for any longer."""
    with cycles() as left:
        seen = await asked(checks(Engine(hangs=True), Engine(hangs=True), 0.02))
    assert seen == {Seen.AWAY}
    assert messages(left) == []


async def test_spared() -> None:
    """A virus was found, and the spam check is cancelled."""
    with cycles() as left:
        seen = await asked(checks(Engine(), Engine(hangs=True)), lambda virus: True)
    assert seen == {Seen.FOUND, Seen.SKIPPED}
    assert messages(left) == []


async def test_clamd_goes_down_with_it(tmp_path: Path) -> None:
    """It ends with the message in its hands, over a kept connection, and nobody is there any more."""
    with cycles() as left:
        async with clamd(tmp_path, [b"1: stream: OK\0", HANG]) as address:
            asking = await _second(Sessions(address, 5, places()))
            (tmp_path / "clamd").unlink()
        assert isinstance(await _failed(asking), Lost)
        del asking
        await asyncio.sleep(0)  # the loop holds what it runs
    assert [one for one in left if isinstance(one, Lost)] == []


async def _second(sessions: Sessions) -> "asyncio.Task[bytes]":
    await sessions.ask(lambda: PING)
    asking = asyncio.create_task(sessions.ask(lambda: PING))
    await asyncio.sleep(0.01)
    return asking


async def _failed(asking: "asyncio.Task[bytes]") -> BaseException | None:
    await asyncio.wait([asking])
    return asking.exception()


def messages(left: list[object]) -> list[object]:
    return [one for one in left if isinstance(one, Mail | Message)]
