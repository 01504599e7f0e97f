"""What session.py and wire.py lean on in aiosmtpd.  Fails when an upgrade changes it.

When it fails: read the new aiosmtpd/smtp.py, above all what Wire and Session
override (their class heads) and what they inherit (`smtp_HELP`,
`_create_session`, `_syntax_available`, the attributes that `__init__` sets),
mend what must be mended, then write the new numbers here.
"""

import asyncio
import hashlib
import inspect

import aiosmtpd.smtp
import pytest
from aiosmtpd.smtp import SMTP
from aiosmtpd.smtp import Session as State

from backupmx.mail.reply import Reply
from backupmx.receive.session import Session
from backupmx.receive.transfer import Transfer
from backupmx.receive.wire import Wire
from tests.receive.doors import running

READ = {
    "SMTP.__init__": "8a9ca80f23ad",
    "SMTP._create_session": "22b243e82ff1",
    "SMTP._syntax_available": "ead0425e5d55",
    "SMTP.check_auth_needed": "812bbc794078",
    "SMTP.smtp_HELP": "658586a0cbd7",
    "SMTP.push": "15f4f1de5e30",
    "SMTP.handle_exception": "33be80d97d2d",
    "SMTP.__del__": "bdfddff9796a",
    "State.__init__": "8fc3f3270fb8",
    "smtp.syntax": "9f7312554162",
}
INHERITED = {
    "__del__", "_auth_interact", "_authenticate", "_call_handler_hook", "_cb_client_connected", "_create_envelope",
    "_create_session", "_getaddr", "_getparams", "_handle_client", "_reset_timeout", "_set_post_data_state",
    "_set_rset_state", "_strip_command_keyword", "_syntax_available", "_timeout_cb", "auth_LOGIN", "auth_PLAIN",
    "challenge_auth", "check_auth_needed", "check_helo_needed", "smtp_AUTH", "smtp_EXPN", "smtp_HELP",
}  # fmt: skip


def digest(name: str) -> str:
    owner = {"SMTP": SMTP, "State": State, "smtp": aiosmtpd.smtp}[name.partition(".")[0]]
    return hashlib.sha256(inspect.getsource(getattr(owner, name.partition(".")[2])).encode()).hexdigest()[:12]


def test_the_source_is_the_one_we_read() -> None:
    """aiosmtpd's methods that ours lean on are word for word those of 1.4.6."""
    assert {name: digest(name) for name in READ} == READ, aiosmtpd.__version__


def test_nothing_else_is_inherited() -> None:
    """What an upgrade adds to aiosmtpd's class is noticed: here is all of it that a session has without its own."""
    mine = {name for owner in (Session, Transfer, Wire) for name in vars(owner)}
    assert {name for name in vars(SMTP) if callable(getattr(SMTP, name))} - mine == INHERITED


def test_no_verb_is_left_to_aiosmtpd_by_accident() -> None:
    """Each verb of aiosmtpd's is answered by ours, by HELP's wrapper, or refused."""
    theirs = {name.removeprefix("smtp_").encode() for name in dir(SMTP) if name.startswith("smtp_")}
    assert set() == theirs - set(Session.verbs)
    inherited = {
        name for name in dir(SMTP) if name.startswith("smtp_") and getattr(SMTP, name) is getattr(Session, name)
    }
    assert {"smtp_AUTH", "smtp_EXPN", "smtp_HELP"} == inherited


async def test_the_pattern_holds_all_state() -> None:
    """A session has every attribute that aiosmtpd's constructor makes, and shares nothing that is closed."""
    async with running() as door:
        pattern = Session.pattern(door.door.service, asyncio.get_running_loop())
        made = vars(SMTP(None, hostname="x", loop=asyncio.get_running_loop()))
        assert set() == set(made) - set(pattern)
        assert None is pattern["_closed"]


@pytest.mark.parametrize(
    ("pushed", "expected"),
    [
        ("250 Supported commands", "250 2.0.0 Supported commands"),
        ("503 Error: send HELO first", "503 5.5.1 Error: send HELO first"),
        ("501 Syntax: X", "501 5.5.4 Syntax: X"),
        ("454 TLS not available", "454 4.0.0 TLS not available"),
        ("550 5.7.1 No", "550 5.7.1 No"),
        ("354 Go ahead", "354 Go ahead"),
    ],
)
async def test_an_added_verb(pushed: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb written as aiosmtpd's are, a coroutine that pushes, works here and gets its enhanced code."""

    async def smtp_XTRA(self: Session, argument: bytes) -> None:
        await self.push(pushed)

    monkeypatch.setitem(Session.verbs, b"XTRA", ("XTRA", smtp_XTRA))
    async with running() as door:
        talk = await door.connect()
        assert expected == await talk.say("XTRA 1")
        assert await talk.say("NOOP") == "250 2.0.0 Ok"
        await talk.close()


async def test_handle_exception() -> None:
    """aiosmtpd's seam for exceptions says 451 too."""
    async with running() as door:
        session = Session(door.door.service, Session.pattern(door.door.service, asyncio.get_running_loop()))
        assert str(Reply(451, "4.3.0", "Error: internal trouble, try again later")) == await session.handle_exception(
            ValueError("secret")
        )
