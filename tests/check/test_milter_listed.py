"""One milter of the list: many messages at once, and what happens when it hangs."""

import asyncio
import socket
from pathlib import Path

import pytest

from backupmx.check.finding import Mail
from backupmx.check.milter_draft import draft
from backupmx.check.milter_listed import Listed, Milter
from backupmx.check.milter_macros import Macros
from backupmx.check.milter_replay import Said
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import MilterAway, MilterLost, Timeouts
from tests.check.messages import mail
from tests.net.scripted_milter import HANG, ScriptedMilter


async def asked(listed: Listed, message: Mail | None = None, seconds: float = 60.0) -> Said:
    message = message or mail()
    macros = Macros(message, "mx2.example.net", lambda address: "smtp:")
    said, _ = await listed.ask(message, draft(message.message, message.envelope, 0, 0), macros, 1 << 20, seconds)
    return said


def listed(address: str, seconds: float = 20.0) -> Listed:
    return Listed(Milter("x", Endpoint.parse(address, "inet"), Timeouts(seconds, seconds, seconds)))


async def test_it_is_asked() -> None:
    """What it says comes back, and it is held to be up."""
    async with ScriptedMilter() as milter:
        here = listed(milter.address)
        assert (await asked(here)).step.name == "END-OF-MESSAGE"
        assert (here.state.name, here.state.up) == ("x", True)


async def test_at_most_fifty_at_once() -> None:
    """The others wait for their turn."""
    async with ScriptedMilter({b"E": [HANG]}) as milter:
        here = listed(milter.address)
        asking = [asyncio.ensure_future(asked(here)) for _ in range(60)]
        while len(milter.of(b"E")) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the milter is the test's own, and tells nobody
        await asyncio.sleep(0.05)
        assert milter.connections == 50
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_time_for_all_ends() -> None:
    """What is left of the nine minutes is all it gets."""
    async with ScriptedMilter({b"E": [HANG]}) as milter:
        with pytest.raises(MilterLost, match="no time left"):
            await asked(listed(milter.address), seconds=0.1)


async def test_one_that_hangs_over_messages_is_still_asked() -> None:
    """It takes connections, so it is not away: each message that it does not answer for is lost with it."""
    async with ScriptedMilter({b"E": [HANG]}) as milter:
        here = listed(milter.address, 0.2)
        for _ in range(5):
            with pytest.raises(MilterLost):
                await asked(here)
        assert (here.state.up, len(milter.of(b"E"))) == (True, 5)


async def test_one_that_is_frozen_is_left_alone(tmp_path: Path) -> None:
    """It says nothing to anybody: after three messages the others wait no more."""
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(f"{tmp_path}/frozen")
        frozen.listen(100)
        here = listed(f"unix:{tmp_path}/frozen", 0.2)
        for _ in range(3):
            with pytest.raises(MilterLost, match="after the negotiation: no answer"):
                await asked(here)
        assert not here.state.up
        with pytest.raises(MilterAway, match="no answer"):
            await asked(here)


async def test_one_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    """Away, with the reason."""
    here = listed(f"unix:{tmp_path}/none")
    for _ in range(4):
        with pytest.raises(MilterAway, match="No such file"):
            await asked(here)
    assert not here.state.up
