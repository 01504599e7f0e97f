"""The same milter, asked by Debian's Postfix and by us, about the same message: it hears and does the same."""

import asyncio
import re
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from backupmx.check.finding import Mail
from backupmx.check.milter_listed import Milter
from backupmx.check.milters import Milters
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import Timeouts
from tests.check.test_milters import Open
from tests.neighbours.postfix import Postfix, postfix
from tests.neighbours.unbound import free_port
from tests.net.scripted_milter import Raw, Script, ScriptedMilter, Words, add, change, insert, reply

pytestmark = pytest.mark.neighbours

HEADERS = (
    b"Received: from elsewhere.test", b"From: a@sender.test", b"Subject: one\n\ttwo", b"X-A:  two blanks",
    b"X-B:none", b"X-A: again", b"X-C:\ttab", b"Message-ID: <1@sender.test>",
    b"To: u@example.jp", b"Date: Tue, 24 Nov 2026 04:00:00 +0000",
)  # fmt: skip
BODY = b"line\r\n\r\n.dot\r\n"


@dataclass(frozen=True, slots=True)
class Lab:
    postfix: Postfix
    port: int
    """Where its milter is."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    port = free_port()
    settings = {
        "smtpd_milters": f"inet:127.0.0.1:{port}", "milter_default_action": "accept", "header_checks": "",
        "milter_command_timeout": "20s", "milter_content_timeout": "20s", "smtpd_peername_lookup": "no",
    }  # fmt: skip
    with postfix(tmp_path_factory.mktemp("postfix"), settings=settings) as instance:
        yield Lab(instance, port)


class Places:
    """Postfix asks no rule about whom a milter adds."""

    def is_ours(self, address: str) -> bool:
        return True

    def is_routed(self, address: str) -> bool:
        return False

    def next_hop(self, address: str) -> str:
        return "virtual:example.jp" if address.endswith("@example.jp") else "smtp:sender.test"


@dataclass(frozen=True, slots=True)
class Result:
    reply: str
    """"" for a 250."""
    message: list[bytes]
    """Its lines, our own Received as one of two words; [] when nothing was delivered."""
    recipients: tuple[str, ...]
    sender: str


async def by_postfix(lab: Lab, milter: ScriptedMilter, to: list[str], delivered: int) -> Result:
    before = len(lab.postfix.contents())
    said = await asyncio.to_thread(_send, lab.postfix.port, to)
    until = time.monotonic() + 10
    while len(lab.postfix.contents()) < before + delivered and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # another program's mailbox tells nobody
    arrived = lab.postfix.contents()[before:]
    recipients = sorted(re.search(rb"(?m)^Delivered-To: (.*)$", each)[1].decode() for each in arrived)  # type: ignore[index]
    sender = re.search(rb"(?m)^Return-Path: <(.*)>$", arrived[0]) if arrived else None
    message = re.sub(rb"(?m)^(Return-Path|X-Original-To|Delivered-To): .*\n", b"", arrived[0]) if arrived else b""
    message = re.sub(rb"(?m)^Received: from client.sender.test .*\n(?:[ \t].*\n)*", b"Received: ours\n", message)
    return Result(said, message.splitlines(), tuple(recipients), sender[1].decode() if sender else "")


def _send(port: int, to: list[str]) -> str:
    content = b"\r\n".join(header.replace(b"\n", b"\r\n") for header in HEADERS) + b"\r\n\r\n" + BODY
    with smtplib.SMTP("127.0.0.1", port, "client.sender.test", 20) as smtp:
        smtp.ehlo()
        try:
            smtp.sendmail("a@sender.test", to, content, ["BODY=8BITMIME"])
        except smtplib.SMTPRecipientsRefused as refused:
            code, text = next(iter(refused.recipients.values()))
            return f"{code} {text.decode()}"
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error
            return f"{error.smtp_code} {text.decode() if isinstance(text, bytes) else text}"
    return ""


async def by_us(milter: ScriptedMilter, to: list[str]) -> Result:
    message = Message((b"Received: ours", *HEADERS), (b"\r\n", BODY))
    client = Client("127.0.0.1", 40000, "unknown", "client.sender.test", "ESMTP", daemon=("127.0.0.1", 25))
    envelope = Envelope("a@sender.test", tuple(map(Recipient, to)), "8BITMIME")
    listed = [Milter("x", Endpoint.parse(milter.address, "inet"), Timeouts(20, 20, 20))]
    milters = Milters(listed, "primary.test", silent())
    milked = await milters.run(Mail(message, envelope, client, "QID"), 1, 1, Open(), Places())
    if milked.verdict.ends:
        return Result(str(milked.verdict.reply or ""), [], (), "")
    content = b"".join(bytes(chunk) for chunk in milked.message.chunks()).replace(b"\r\n", b"\n")
    recipients = sorted(recipient.address for recipient in milked.envelope.recipients)
    return Result("", content.splitlines(), tuple(recipients), milked.envelope.sender)


async def both(
    lab: Lab, script: Script, edits: list[bytes | Raw], to: list[str], **options: int
) -> tuple[Result, Result, ScriptedMilter, ScriptedMilter]:
    async with ScriptedMilter(script, edits=edits, port=lab.port, **options) as ours:  # type: ignore[arg-type]
        result = await by_us(ours, to)
    async with ScriptedMilter(script, edits=edits, port=lab.port, **options) as theirs:  # type: ignore[arg-type]
        measured = await by_postfix(lab, theirs, to, len(result.recipients))
    return result, measured, ours, theirs


U, V, W = "u@example.jp", "v@example.jp", "w@example.jp"

EDITS: dict[str, list[bytes | Raw]] = {
    "nothing": [],
    "add": [add(b"X-N", b"1"), add(b"X-N", b"2")],
    "add folded": [add(b"X-N", b"1\n\t2\n 3")],
    "add with blanks": [add(b"X-N", b"  1 ")],
    "add empty": [add(b"X-N", b"")],
    "insert on top": [insert(0, b"X-N", b"1")],
    "insert under ours": [insert(1, b"X-N", b"1")],
    "insert further down": [insert(3, b"X-N", b"1")],
    "insert too far down": [insert(99, b"X-N", b"1")],
    "insert two under ours": [insert(1, b"X-N", b"1"), insert(1, b"X-N", b"2")],
    "insert and add": [insert(2, b"X-N", b"1"), add(b"X-N", b"2"), insert(9, b"X-N", b"3")],
    "change": [change(1, b"Subject", b"new")],
    "change the second": [change(2, b"x-a", b"new")],
    "change none of that name": [change(1, b"X-N", b"new")],
    "change beyond the last": [change(5, b"X-A", b"new")],
    "change index 0": [change(0, b"X-A", b"new")],
    "change received": [change(1, b"Received", b"new")],
    "delete": [change(1, b"X-A", b"")],
    "delete all from the last": [change(2, b"X-A", b""), change(1, b"X-A", b"")],
    "delete twice the first": [change(1, b"X-A", b""), change(1, b"X-A", b"")],
    "delete none of that name": [change(1, b"X-N", b"")],
    "delete received": [change(1, b"Received", b"")],
    "delete and add": [change(1, b"Subject", b""), add(b"Subject", b"new")],
    "change what was added": [add(b"X-N", b"1"), change(1, b"X-N", b"2")],
    "change what was inserted": [insert(1, b"X-N", b"1"), change(1, b"X-N", b"2")],
    "new body": [b"bnew\r\nbody\r\n"],
    "new body in pieces": [b"bnew\r", b"b\nbo", b"bdy\r\n"],
    "new body with LF": [b"bnew\nbody\n"],
    "new body without an end": [b"bnew"],
    "new body and header": [b"bnew\r\n", add(b"X-N", b"1")],
    "add a recipient": [b"+<w@example.jp>\0"],
    "add a recipient with parameters": [b"2<w@example.jp>\0NOTIFY=NEVER\0"],
    "delete a recipient": [b"-<v@example.jp>\0"],
    "delete and add recipients": [b"-<v@example.jp>\0", b"+<w@example.jp>\0", b"-<x@example.jp>\0"],
    "change the sender": [b"e<b@sender.test>\0"],
    "null sender": [b"e<>\0"],
}


@pytest.mark.parametrize("name", sorted(EDITS))
async def test_edits_do_the_same(lab: Lab, name: str) -> None:
    """Headers, body and envelope are what Postfix makes of them, octet for octet."""
    ours, theirs, _, _ = await both(lab, {}, EDITS[name], [U, V])
    assert ours == theirs


ANSWERS: dict[str, Script] = {
    "accept": {b"E": [b"a"]},
    "accept at once": {b"M": [b"a"]},
    "reject": {b"E": [b"r"]},
    "tempfail": {b"E": [b"t"]},
    "reply": {b"E": [reply("554 5.6.0 not this")]},
    "reply with percent": {b"E": [reply("554 5.6.0 100%% sure")]},
    "reject a header": {b"L": [reply("550 5.7.1 no")]},
    "reject the body": {b"B": [b"r"]},
    "reject data": {b"T": [reply("550 5.7.1 no")]},
    "reject all recipients": {b"R": [reply("550 5.1.1 no")]},
    "reject one recipient": {b"R": [b"c", reply("550 5.1.1 no")]},
    "discard": {b"E": [b"d"]},
    "skip": {b"B": [b"s"]},
    "closes at connect": {b"C": ["close"]},
}


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_answers_do_the_same(lab: Lab, name: str) -> None:
    """The client reads the same reply, and the same recipients get the same message."""
    script: dict[bytes, list[Words]] = {command: list(words) for command, words in ANSWERS[name].items()}
    ours, theirs, _, _ = await both(lab, script, [add(b"X-N", b"1")], [U, V])
    assert ours == theirs


async def test_where_we_differ(lab: Lab) -> None:
    """Lost at its last word: Postfix has made the edits by then, we none.  Added twice: there twice, here once."""
    for word in ("close", b"?"):
        ours, theirs, _, _ = await both(lab, {b"E": [word]}, [add(b"X-N", b"1")], [U])
        assert (b"X-N: 1" in ours.message, b"X-N: 1" in theirs.message) == (False, True)
    async with ScriptedMilter(edits=[b"+<u@example.jp>\0"], port=lab.port) as milter:
        assert (await by_us(milter, [U])).recipients == (U,)
    async with ScriptedMilter(edits=[b"+<u@example.jp>\0"], port=lab.port) as milter:
        assert (await by_postfix(lab, milter, [U], 2)).recipients == (U, U)


STEPS = {
    "all": 0, "leading space": 0x100000, "no answers": 0xFF080, "no headers": 0x20, "no body": 0x10,
    "the envelope only": 0x70, "nothing but the end": 0x27F,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STEPS))
async def test_it_hears_the_same(lab: Lab, name: str) -> None:
    """The same steps in the same order with the same data; the same macros but for what only Postfix knows."""
    _, _, ours, theirs = await both(lab, {}, [add(b"X-N", b"1")], [U, V], steps=STEPS[name])
    assert _heard(ours) == _heard(theirs)


def _heard(milter: ScriptedMilter) -> list[tuple[bytes, bytes]]:
    """In order.  Of macros the names, without those that only Postfix has; no SIZE, which we do not keep."""
    told = []
    for command, data in milter.heard:
        if command in b"OQA":
            continue
        if command == b"D":
            values = data[1:].split(b"\0")
            names = [name for name in values[:-1:2] if name not in (b"{cert_subject}", b"i")]
            data = data[:1] + b" ".join(names)
            if len(data) == 1:
                continue
        data = re.sub(rb"\x004..127", b" PORT 127", data, flags=re.DOTALL)
        told.append((command, re.sub(rb"\0size=\d+", b"", data)))
    return told
