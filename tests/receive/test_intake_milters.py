"""Milters in the first story: what becomes of a message, of its recipients and of our reply."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backupmx.check.milter_listed import Milter
from backupmx.check.milters import Milters
from backupmx.check.run import Checks
from backupmx.config import Checks as CheckSettings
from backupmx.journal import Journal, silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import Timeouts
from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.receive.intake import Intake, Policy
from backupmx.route.routes import Routes
from backupmx.route.transport_map import parse
from backupmx.rules.engine import Tables
from backupmx.rules.table import load
from tests.net.scripted_milter import CLOSE, ScriptedMilter, add, change, insert, reply

CLIENT = Client("192.0.2.1", 2525, "mail.upstream.example", "mail.upstream.example", "ESMTP")
ENVELOPE = Envelope("s@upstream.example", (Recipient("u@example.jp"), Recipient("v@example.jp", "NEVER")))
ROUTES = Routes(parse("example.jp smtp:[primary1.example.net]\n"))
MESSAGE = b"From: s@upstream.example\r\nSubject: t\r\nX-Spam-Level: **\r\n\r\nhi\r\n"
FIRST_USERS_RULES = (
    b"/^From:\\s*<>/m DISCARD\n/^X\\-Spam\\-Flag:\\s+YES/m DISCARD\n/^X\\-Virus\\-Status:\\s+Yes/m DISCARD\n"
    b"/^X\\-Spam\\-Level:/m IGNORE\n/^X\\-Spam\\-Checker\\-Version:/m IGNORE\n/^X\\-Spam\\-Status:\\s+No/m IGNORE\n"
    b"/^X\\-Virus\\-Scanned:/m IGNORE\n/^X\\-Virus\\-Status:\\s+Clean/m IGNORE\n"
)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db")
    yield opened
    await opened.close()


async def accepted(
    queue: SqliteQueue,
    milter: ScriptedMilter,
    rules: bytes = FIRST_USERS_RULES,
    lines: list[bytes] | None = None,
    added: bytes | None = None,
) -> Reply:
    """`added`: milter_header_checks, when it is another table than header_checks."""
    journal = Journal(sink=lines.append) if lines is not None else silent()
    header = load(rules, "header_checks")
    tables = Tables(header=header, milter=header if added is None else load(added, "milter_header_checks"))
    listed = [Milter("x", Endpoint.parse(milter.address, "inet"), Timeouts(20, 20, 20))]
    milters = Milters(listed, "mx2.example.net", journal)
    off = Checks(CheckSettings(), silent())
    policy = Policy("mx2.example.net", tables, ROUTES, off, milters=milters)
    return await Intake(policy, queue, journal).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")


async def states(queue: SqliteQueue) -> list[tuple[str, State, str]]:
    entries = [*await queue.waiting(), *await queue.quarantined()]
    return [(r.address, r.state, r.reason) for entry in entries for r in entry.recipients]


async def stored(queue: SqliteQueue) -> list[bytes]:
    """The header fields after our Received, of what is due."""
    (claim,) = await queue.claim("smtp:[primary1.example.net]", 10, 1e12, 60)
    head = b"".join(bytes(chunk) for chunk in claim.message.chunks()).partition(b"\r\n\r\n")[0]
    return head.replace(b"\r\n\t", b" ").split(b"\r\n")


async def test_the_first_user_s_rules_see_milters(queue: SqliteQueue) -> None:
    """What spamass-milter and clamav-milter say of a clean message is stripped, as the author wished."""
    edits = [add(b"X-Spam-Status", b"No, score=0"), add(b"X-Spam-Level", b""), add(b"X-Virus-Status", b"Clean"),
             add(b"X-Virus-Scanned", b"clamav-milter"), insert(1, b"X-Kept", b"yes")]  # fmt: skip
    async with ScriptedMilter(edits=edits) as milter:
        reply = await accepted(queue, milter)
    assert str(reply) == "250 2.0.0 Ok: queued as QID"
    assert (await stored(queue))[1:] == [b"X-Kept: yes", b"From: s@upstream.example", b"Subject: t"]


async def test_spam_by_a_milter_is_discarded(queue: SqliteQueue) -> None:
    """X-Spam-Flag: YES from spamass-milter meets the author's first rule; the client reads 250."""
    lines: list[bytes] = []
    async with ScriptedMilter(edits=[add(b"X-Spam-Flag", b"YES")]) as milter:
        reply = await accepted(queue, milter, lines=lines)
    assert str(reply) == "250 2.0.0 Ok: queued as QID"
    assert [state for _, state, _ in await states(queue)] == [State.DISCARDED, State.DISCARDED]
    assert any(b"QID: milter-header-discard: header X-Spam-Flag: YES from mail" in line for line in lines)


async def test_ignore_on_a_change_keeps_the_old_one(queue: SqliteQueue) -> None:
    """As in Postfix: the change is dropped, what came from outside stays."""
    added = b"/^Subject:/ IGNORE\n"
    async with ScriptedMilter(edits=[change(1, b"Subject", b"new"), change(1, b"X-Spam-Level", b"")]) as milter:
        await accepted(queue, milter, rules=b"", added=added)
    assert (await stored(queue))[1:] == [b"From: s@upstream.example", b"Subject: t"]


@pytest.mark.parametrize(
    ("rule", "reply", "state"),
    [
        (b"/^X-New:/ REJECT 5.7.9 no", "550 5.7.9 no", []),
        (b"/^X-New:/ REJECT 4.7.1 later", "451 4.7.1 later", []),
        (b"/^X-New:/ HOLD", "250 2.0.0 Ok: queued as QID", [State.HELD, State.HELD]),
        (b"/^X-New:/ REDIRECT w@example.jp", "250 2.0.0 Ok: queued as QID", [State.QUEUED]),
    ],
)
async def test_rules_decide_on_what_a_milter_writes(
    queue: SqliteQueue, rule: bytes, reply: str, state: Sequence[State]
) -> None:
    """milter_header_checks may still reject, hold or redirect."""
    async with ScriptedMilter(edits=[add(b"X-New", b"1"), add(b"X-Later", b"2")]) as milter:
        assert str(await accepted(queue, milter, rules=b"", added=rule + b"\n")) == reply
    assert [each for _, each, _ in await states(queue)] == state


@pytest.mark.parametrize(
    "rule", [b"/^Subject:/ PASS", b"/^Subject:/ REDIRECT w@example.jp", b"/^Subject:/ DISCARD", b"/^Subject:/ REJECT"]
)
async def test_rules_keep_milters_out(queue: SqliteQueue, rule: bytes) -> None:
    """After PASS, REDIRECT, DISCARD and REJECT in header_checks no milter is asked, as in Postfix."""
    async with ScriptedMilter() as milter:
        await accepted(queue, milter, rules=rule + b"\n")
        assert milter.connections == 0


async def test_a_held_message_is_shown_to_milters(queue: SqliteQueue) -> None:
    """HOLD does not keep them out, and their word counts beside it."""
    async with ScriptedMilter({b"E": [b"d"]}) as milter:
        await accepted(queue, milter, rules=b"/^Subject:/ HOLD\n")
        assert milter.connections == 1
    assert [state for _, state, _ in await states(queue)] == [State.DISCARDED, State.DISCARDED]


async def test_a_refused_recipient_stays_with_the_milter_s_words(queue: SqliteQueue) -> None:
    """The other one is due; the refused one waits for an operator."""
    async with ScriptedMilter({b"R": [reply("550 5.1.1 no such person"), b"c"]}) as milter:
        assert (await accepted(queue, milter)).code == 250
    assert await states(queue) == [
        ("v@example.jp", State.QUEUED, ""),
        ("u@example.jp", State.REFUSED, "milter x said: 550 5.1.1 no such person"),
    ]
    (claim,) = await queue.claim("smtp:[primary1.example.net]", 10, 1e12, 60)
    assert [(r.address, r.notify) for r in claim.recipients] == [("v@example.jp", "NEVER")]


async def test_the_envelope_that_is_relayed(queue: SqliteQueue) -> None:
    """A changed sender and an added recipient are what the primary hears; strangers are not added."""
    edits = [b"e<new@upstream.example>\0", b"+<w@example.jp>\0", b"+<spy@elsewhere.example>\0", b"-<u@example.jp>\0"]
    async with ScriptedMilter(edits=edits) as milter:
        await accepted(queue, milter)
    (claim,) = await queue.claim("smtp:[primary1.example.net]", 10, 1e12, 60)
    assert claim.sender == "new@upstream.example"
    assert [r.address for r in claim.recipients] == ["v@example.jp", "w@example.jp"]


async def test_quarantine_is_hold(queue: SqliteQueue) -> None:
    """As in Postfix; the reason is the milter's."""
    async with ScriptedMilter(edits=[b"qlooks bad\0"]) as milter:
        await accepted(queue, milter)
    assert [state for _, state, _ in await states(queue)] == [State.HELD, State.HELD]
    assert [entry.reason for entry in await queue.waiting()] == ["milter x: looks bad"]


async def test_lost_in_a_new_body_leaves_the_old_one(queue: SqliteQueue) -> None:
    """A milter that dies in the middle of replacing the body: the message is relayed as it came."""
    async with ScriptedMilter({b"E": [CLOSE]}, edits=[change(1, b"Subject", b"new"), b"bhalf"]) as milter:
        await accepted(queue, milter, rules=b"")
    (claim,) = await queue.claim("smtp:[primary1.example.net]", 10, 1e12, 60)
    assert b"".join(bytes(chunk) for chunk in claim.message.chunks()).endswith(MESSAGE)
