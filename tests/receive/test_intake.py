"""The first story: from the final dot to our reply."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backupmx.check.run import Checks
from backupmx.config import Checks as CheckSettings
from backupmx.journal import RULE_HITS, VERDICTS, Journal, silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Content
from backupmx.mail.verdict import Fate, Verdict
from backupmx.queue.entry import NewRecipient, QueueFull, State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.receive.assess import assess
from backupmx.receive.intake import Intake, Policy, destinations
from backupmx.route.routes import Routes
from backupmx.route.transport_map import parse
from backupmx.rules.engine import Tables
from backupmx.rules.table import load

CLIENT = Client("192.0.2.1", 2525, "mail.upstream.example", "mail.upstream.example", "ESMTP")
ENVELOPE = Envelope("s@upstream.example", (Recipient("u@example.jp"), Recipient("v@example.jp", "NEVER")))
ROUTES = Routes(parse("example.jp smtp:[primary1.example.net]\n"))
MESSAGE = (
    b"From: s@upstream.example\r\nSubject: t\r\nX-Spam-Level: **\r\nMessage-ID: <m@upstream.example>\r\n\r\nhi\r\n"
)


def policy(rules: bytes = b"", *, quarantine: bool = True) -> Policy:
    tables = Tables(header=load(rules, "header_checks"), milter=load(rules, "header_checks"))
    off = Checks(CheckSettings(), silent())
    return Policy("mx2.example.net", tables, ROUTES, off, quarantine=quarantine)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db")
    yield opened
    await opened.close()


async def stored(queue: SqliteQueue) -> bytes:
    (claim,) = await queue.claim("smtp:[primary1.example.net]", 10, 1e12, 60)
    return b"".join(bytes(chunk) for chunk in claim.message.chunks())


async def test_what_no_rule_touches_arrives_as_it_came(queue: SqliteQueue) -> None:
    """Our Received on top, then every byte the client sent."""
    reply = await Intake(policy(), queue, silent()).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    assert str(reply) == "250 2.0.0 Ok: queued as QID"
    head, _, rest = (await stored(queue)).partition(b"From: ")
    assert b"From: " + rest == MESSAGE
    assert head.startswith(
        b"Received: from mail.upstream.example (mail.upstream.example [192.0.2.1])\r\n"
        b"\tby mx2.example.net (backupmx) with ESMTP id QID;\r\n\t"
    )


async def test_ignore_removes_a_header(queue: SqliteQueue) -> None:
    """IGNORE: the line is gone, the mail goes on."""
    await Intake(policy(b"/^X-Spam-Level:/ IGNORE\n"), queue, silent()).accept(
        CLIENT, ENVELOPE, Content(MESSAGE), "QID"
    )
    assert b"X-Spam" not in await stored(queue)


async def test_every_hit_and_every_verdict_is_counted(queue: SqliteQueue) -> None:
    """Also of rules that leave no line in the log, a HOLD behind a HOLD, and an action that cannot be taken."""
    journal = Journal(sink=lambda line: None)
    rules = b"/^From:/ DUNNO\n/^Subject:/ HOLD\n/^X-Spam-Level:/ IGNORE\n/^Message-ID:/ HOLD\n/^Received:/ BCC nobody\n"
    await Intake(policy(rules), queue, journal).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    await Intake(policy(), queue, journal).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID2")
    counts = journal.counts
    assert {key[2]: count for key, count in counts.items() if key[0] == RULE_HITS} == dict.fromkeys("12345", 1)
    assert [counts[VERDICTS, fate] for fate in ("hold", "accept")] == [1, 1]


async def test_reject_keeps_nothing(queue: SqliteQueue) -> None:
    """REJECT: the client reads 550, the queue is empty."""
    reply = await Intake(policy(b"/^Subject: t/ REJECT not here\n"), queue, silent()).accept(
        CLIENT, ENVELOPE, Content(MESSAGE), "QID"
    )
    assert str(reply) == "550 5.7.1 not here"
    assert list(await queue.waiting()) == []


@pytest.mark.parametrize(("quarantine", "kept"), [(True, ["QID"]), (False, [])])
async def test_discard_reads_250(queue: SqliteQueue, quarantine: bool, kept: list[str]) -> None:
    """DISCARD: the client reads the same 250; the mail is in quarantine, or nowhere if policy says drop."""
    rules = policy(b"/^Subject: t/ DISCARD\n", quarantine=quarantine)
    reply = await Intake(rules, queue, silent()).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    assert str(reply) == "250 2.0.0 Ok: queued as QID"
    assert [entry.id for entry in await queue.quarantined()] == kept
    assert list(await queue.waiting()) == []
    (life,) = await queue.trace("QID")
    assert {(fate.state, fate.ended is None, fate.reason) for fate in life.fates} == {
        ("discarded", quarantine, "header_checks:1")
    }


async def test_hold_is_kept(queue: SqliteQueue) -> None:
    """HOLD: 250, and nothing to deliver until an operator releases it."""
    await Intake(policy(b"/^Subject: t/ HOLD\n"), queue, silent()).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    (entry,) = await queue.waiting()
    assert {r.state for r in entry.recipients} == {State.HELD}
    assert list(await queue.due(1e12)) == []


async def test_mail_that_goes_in_a_circle(queue: SqliteQueue) -> None:
    """More than 50 Received: fields are a loop: 554 5.4.0."""
    content = Content(b"Received: from x\r\n" * 50 + MESSAGE)
    reply = await Intake(policy(), queue, silent()).accept(CLIENT, ENVELOPE, content, "QID")
    assert (reply.code, reply.status) == (554, "5.4.0")


async def test_a_full_disk_is_the_queues_own_reply(tmp_path: Path) -> None:
    """Below queue.min_free: 452 4.3.1, told in the log, nothing stored."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", min_free=1 << 60)
    lines: list[bytes] = []
    intake = Intake(policy(), queue, Journal(sink=lines.append, stamped=False))
    with pytest.raises(QueueFull) as caught:
        await intake.accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    assert caught.value.reply.code == 452
    assert b"queue: " in lines[-1]
    await queue.close()


async def test_what_a_rule_did_is_in_the_log(queue: SqliteQueue) -> None:
    """The header, who sent it, and the line of the table."""
    lines: list[bytes] = []
    intake = Intake(policy(b"/^Subject: t/ DISCARD\n"), queue, Journal(sink=lines.append, stamped=False))
    await intake.accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    assert (
        b"QID: discard: header Subject: t from mail.upstream.example[192.0.2.1]; from=<s@upstream.example>" in lines[0]
    )
    assert b"[header_checks:1]" in lines[0]
    assert lines[-1].endswith(b"nrcpt=2 (quarantine)\n")


def who(verdict: Verdict, addresses: Sequence[str] = ("u@example.jp", "u@example.jp")) -> list[NewRecipient]:
    envelope = Envelope("s@upstream.example", tuple(Recipient(address) for address in addresses))
    return list(destinations(envelope, verdict, ROUTES.next_hop))


PRIMARY = "smtp:[primary1.example.net]"


def test_a_recipient_named_twice_gets_it_once() -> None:
    """RFC 5321 has no use for two copies; the account knows that it was named twice."""
    assert who(Verdict()) == [NewRecipient("u@example.jp", PRIMARY, many=2)]


@pytest.mark.parametrize(
    ("captured", "who", "state"),
    [
        (b"w", "w@example.jp", State.QUEUED),
        (b"w> NOTIFY=NEVER", '"w> NOTIFY=NEVER"@example.jp', State.QUEUED),
        (b"w\r\n\tDATA", '"w  DATA"@example.jp', State.QUEUED),
        (b"-w", "u@example.jp", State.HELD),
        (b"\xff", "u@example.jp", State.HELD),
    ],
)
async def test_a_redirect_takes_no_command_from_a_message(captured: bytes, who: str, state: State) -> None:
    """What a rule captured is one address, quoted where it has to be; to none the mail is held for its recipients."""
    content = Content(b"X-To: " + captured + b"\r\n\r\nhi\r\n")
    ruled = policy(b"/^X-To: (.*)/ REDIRECT $1@example.jp\n")
    assessed = await assess(ruled, silent(), CLIENT, ENVELOPE, content, "QID", 0.0)
    first = next(iter(destinations(ENVELOPE, assessed.verdict, ROUTES.next_hop)))
    assert (first.address, first.state) == (who, state)


def test_redirect_is_one_delivery() -> None:
    """REDIRECT puts one address in place of all, and it stands for all."""
    expected = [NewRecipient("w@example.jp", PRIMARY, many=3)]
    assert who(Verdict(Fate.REDIRECT, redirect_to="w@example.jp"), ("a@x.jp", "b@x.jp", "c@x.jp")) == expected


def test_a_copy_hears_of_no_failure() -> None:
    """BCC adds a recipient with NOTIFY=NEVER."""
    assert who(Verdict(bcc=("w@example.jp", "u@example.jp"))) == [
        NewRecipient("u@example.jp", PRIMARY, many=2),
        NewRecipient("w@example.jp", PRIMARY, "NEVER"),
    ]


@pytest.mark.parametrize(
    ("filter_to", "hop"), [("smtp:[127.0.0.1]:10025", "smtp:[127.0.0.1]:10025"), ("smtp:", "smtp:example.jp")]
)
def test_filter_is_another_next_hop(filter_to: str, hop: str) -> None:
    """FILTER beats transport.map, now and when it changes; without a destination it is the recipient's domain."""
    verdict = Verdict(Fate.FILTER, filter_to=filter_to, bcc=("w@example.jp",))
    assert who(verdict) == [
        NewRecipient("u@example.jp", hop, fixed=True, many=2),
        NewRecipient("w@example.jp", hop, "NEVER", fixed=True),
    ]


def test_held_mail_keeps_its_way() -> None:
    """A held mail that was redirected goes there when it is released."""
    (recipient,) = who(Verdict(Fate.HOLD, redirect_to="w@example.jp"))
    assert (recipient.address, recipient.state) == ("w@example.jp", State.HELD)


async def test_quarantine_keeps_all_of_it(queue: SqliteQueue) -> None:
    """A message that a rule discarded at its second header is whole when it is released."""
    await Intake(policy(b"/^Subject: t/ DISCARD\n"), queue, silent()).accept(CLIENT, ENVELOPE, Content(MESSAGE), "QID")
    await queue.change("QID", "", State.QUEUED, now=0.0)
    assert (await stored(queue)).endswith(MESSAGE)
