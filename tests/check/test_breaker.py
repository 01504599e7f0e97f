"""An engine that fails again and again is left alone, and asked whether it is back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backupmx.check.breaker import Breaker
from backupmx.check.finding import Seen
from backupmx.check.trouble import EngineAway, Lost, TooLarge, Unscannable
from backupmx.check.virus import Virus
from backupmx.check.virus_clamd import Clamd
from backupmx.journal import Journal
from backupmx.net.endpoint import Endpoint
from tests.check.faults import engine, hangs
from tests.check.messages import mail


class Scene:
    """An engine that does what it is told, at a time that is told."""

    def __init__(self) -> None:
        self.time = 100.0
        self.trouble: Exception | None = None
        self.dead = False
        self.asked = self.pinged = 0
        self.lines: list[bytes] = []
        journal = Journal(sink=self.lines.append, stamped=False)
        self.breaker = Breaker("clamd", self.ping, journal, clock=lambda: self.time, now=lambda: self.time)

    async def ask(self) -> str:
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return "clean"

    async def ping(self) -> str:
        self.pinged += 1
        if self.dead:
            raise EngineAway("gone")
        return "here"

    async def said(self) -> str:
        try:
            return await self.breaker.run(self.ask)
        except (EngineAway, Unscannable, TooLarge) as trouble:
            return f"{type(trouble).__name__}: {trouble}"

    @property
    def told(self) -> list[str]:
        return [line.decode().partition("]: ")[2].strip() for line in self.lines]


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_it_is_left_alone(scene: Scene) -> None:
    """After three failures nobody waits for it; one line tells when it goes, one when it is back."""
    scene.trouble, scene.dead = EngineAway("refused"), True
    assert [await scene.said() for _ in range(10)] == ["EngineAway: refused"] * 10
    assert (scene.asked, scene.breaker.state.up, scene.breaker.state.why) == (3, False, "refused")
    scene.trouble, scene.dead = None, False
    assert await scene.said() == "EngineAway: refused"
    scene.time += 5
    assert await scene.said() == "clean"
    assert (scene.breaker.state.up, scene.breaker.state.since) == (True, 105.0)
    assert scene.told == ["warning: clamd is away: refused", "clamd answers again"]


async def test_one_message_in_five_seconds_asks(scene: Scene) -> None:
    """While it is away it is pinged once in five seconds, however many messages come."""
    scene.trouble, scene.dead = EngineAway("refused"), True
    for _ in range(3):
        await scene.said()
    scene.pinged = 0
    for scene.time in (101, 104, 105, 106, 109.9, 110, 111):
        await asyncio.gather(scene.said(), scene.said())
    assert (scene.asked, scene.pinged) == (3, 2)


async def test_messages_that_hang_it_do_not_switch_it_off(scene: Scene) -> None:
    """An engine that answers pings is there: each message it does not answer for stays unscannable."""
    scene.trouble = Lost("no answer in 30 s")
    assert [await scene.said() for _ in range(9)] == ["Lost: no answer in 30 s"] * 9
    assert (scene.asked, scene.pinged, scene.told) == (9, 3, [])


async def test_an_answer_ends_the_row(scene: Scene) -> None:
    """Two failures, an answer, two failures: nothing is wrong with the engine.  A refusal to scan is an answer."""
    scene.dead = True
    for trouble in (Lost("x"), Lost("x"), Unscannable("too large for it"), Lost("x"), EngineAway("x"), None, Lost("x")):
        scene.trouble = trouble
        await scene.said()
    assert (scene.asked, scene.pinged, scene.breaker.state.up) == (7, 0, True)


async def test_what_proves_nothing(scene: Scene) -> None:
    """A remembered answer does not end the row; a message that is not sent says nothing of the engine."""
    scene.dead = True
    for trouble in (EngineAway("x"), TooLarge("x"), EngineAway("x"), TooLarge("x"), EngineAway("x")):
        scene.trouble = trouble
        await scene.said()
        scene.trouble = None
        if scene.breaker.state.up:
            await scene.breaker.run(scene.ask, proves=False)
    assert not scene.breaker.state.up


async def test_those_that_wait_are_let_go(scene: Scene) -> None:
    """Messages that hang in an engine when it is given up do not wait for its time to run out."""

    async def hang() -> str:
        await asyncio.sleep(3600)
        return ""

    waiting = [asyncio.ensure_future(_outcome(scene.breaker, hang)) for _ in range(20)]
    await asyncio.sleep(0)
    scene.trouble, scene.dead = Lost("no answer in 30 s"), True
    for _ in range(3):
        await scene.said()
    assert await asyncio.gather(*waiting) == ["no answer in 30 s"] * 20


async def _outcome(breaker: Breaker, ask: Callable[[], Awaitable[str]]) -> str:
    try:
        return await breaker.run(ask)
    except EngineAway as trouble:
        return str(trouble)


async def test_many_fail_at_once(scene: Scene) -> None:
    """A flood that finds it gone is one line and one ping."""
    scene.trouble, scene.dead = EngineAway("refused"), True
    await asyncio.gather(*(scene.said() for _ in range(50)))
    assert (scene.pinged, scene.told) == (1, ["warning: clamd is away: refused"])


async def test_a_bug_is_not_hidden(scene: Scene) -> None:
    """What is no trouble of an engine goes up as it is."""
    scene.trouble = LookupError("a bug")
    with pytest.raises(LookupError):
        await scene.breaker.run(scene.ask)


async def test_a_clamd_that_hangs(tmp_path: Path) -> None:
    """It takes connections and says nothing: after three messages the next do not wait for it."""
    async with engine(tmp_path, hangs) as address:
        virus = Virus([Clamd(address, 0.2)], "mx2.example.net")
        found = [await virus.look(mail(b"%d" % n)) for n in range(6)]
    assert {f.seen for f in found} == {Seen.AWAY}
    assert max(f.seconds for f in found[3:]) < 0.1
    assert not virus.breakers["clamd"].state.up


async def test_a_clamd_that_comes_back(tmp_path: Path) -> None:
    """Nobody listens, then somebody does: state and time tell."""
    virus = Virus([Clamd(Endpoint(path=str(tmp_path / "none")), 5)], "mx2.example.net")
    for _ in range(3):
        await virus.look(mail())
    state = virus.breakers["clamd"].state
    assert (state.name, state.up, "No such file" in state.why) == ("clamd", False, True)
