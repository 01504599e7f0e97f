"""Can a milter's connection serve a second message?  Why ours serve one."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from backupmx.check.milter_draft import draft
from backupmx.check.milter_macros import Macros
from backupmx.check.milter_replay import replay
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import Dialogue, MilterLost, Timeouts, dialogue
from backupmx.net.milter_codec import frame
from tests.check.messages import mail
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.clamd import clamd
from tests.neighbours.opendkim import opendkim
from tests.neighbours.rspamd import rspamd
from tests.neighbours.spamass_milter import spamass_milter
from tests.neighbours.spamd import spamd

pytestmark = pytest.mark.neighbours

QUIT_NC = frame(b"K")
New = Callable[[str], Path]


@contextmanager
def scanner(new: New) -> Iterator[str]:
    with clamd(new("clamd")) as (address, _), clamav_milter(new("clamav"), address) as milter:
        yield milter


@contextmanager
def assassin(new: New) -> Iterator[str]:
    with spamd(new("spamd")) as address, spamass_milter(new("spamass"), address) as milter:
        yield milter


async def told(milter: Dialogue) -> str:
    """What it says of a message: "Accept"."""
    message = mail()
    macros = Macros(message, "mx2.example.net", lambda address: "smtp:")
    said = await replay(milter, message, draft(message.message, message.envelope, 0, 0), macros, 1 << 20)
    return type(said.answer).__name__


async def ready(endpoint: Endpoint, word: str) -> None:
    """clamav-milter refuses until it has found its clamd."""
    async with asyncio.timeout(20):
        while True:
            async with dialogue(endpoint, Timeouts(20, 20, 20)) as milter:
                if await told(milter) == word:
                    return
            await asyncio.sleep(0.1)  # another program tells nobody when it is ready


@pytest.mark.parametrize(
    ("program", "word", "again"),
    [
        (lambda new: opendkim(new("opendkim")), "Accept", False),
        (scanner, "Accept", False),
        (assassin, "Continue", True),
        (lambda new: rspamd(new("rspamd")), "Accept", True),
    ],
    ids=["opendkim", "clamav-milter", "spamass-milter", "rspamd"],
)
async def test_a_second_message_on_a_connection(
    program: Callable[[New], AbstractContextManager[str]],
    word: str,
    again: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Those of libmilter that accept a message take no other after QUIT_NC, and say nothing for ever."""
    with ExitStack() as stack:
        endpoint = Endpoint.parse(stack.enter_context(program(tmp_path_factory.mktemp)), "inet")
        await ready(endpoint, word)
        async with dialogue(endpoint, Timeouts(20, 20, 20)) as milter:
            assert await told(milter) == word
            milter._out += QUIT_NC
            if again:
                assert await told(milter) == word
            else:
                milter._timeouts = Timeouts(1, 1, 1)
                with pytest.raises(MilterLost, match="after CONNECT: no answer"):
                    await told(milter)
