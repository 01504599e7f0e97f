"""relay/bounce.py beside Debian's Postfix: the same mail fails for the same reasons, and senders read the same."""

import asyncio
import email
import email.policy
import smtplib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.queue.entry import NewEntry, NewRecipient, new_id
from tests.neighbours.postfix import postfix
from tests.neighbours.smtp_sink import Dump, SmtpSink, smtp_sink
from tests.neighbours.unbound import free_port
from tests.relay.samples import CLIENT
from tests.relay.scene import Scene, scene

pytestmark = [pytest.mark.neighbours, pytest.mark.slow]

SENDER, HOSTNAME = "a@client.example", "mx2.example.net"
HEADERS = (b"From: a@client.example", b"Subject: a test", b"Message-ID: <x@client.example>")


@dataclass(frozen=True, slots=True)
class Case:
    recipient: str
    ret: str = ""
    envid: str = ""
    notify: str = ""
    orcpt: str = ""


CASES = {
    "refused": Case("gone@example.jp", "HDRS", "QQ+2B314159", "FAILURE,DELAY", "rfc822;orig+2Bx@old.example"),
    "returned whole": Case("gone@example.jp", "FULL"),
    "not wanted": Case("gone@example.jp", notify="NEVER"),
    "too old": Case("u@down.jp"),
    "relayed": Case("bob@example.jp", notify="SUCCESS"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where both send to."""

    map: str
    sink: SmtpSink
    folder: Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "sink").mkdir()
    quiet = {"smtpd_discard_ehlo_keywords": "dsn"}
    with (
        smtp_sink(tmp_path / "sink") as sink,
        postfix(tmp_path, reject=["gone@example.jp"], settings=quiet) as primary,
    ):
        map = (
            f"example.jp smtp:[127.0.0.1]:{primary.port}\ndown.jp smtp:[127.0.0.1]:{free_port()}\n"
            f"client.example smtp:[127.0.0.1]:{sink.port}\n"
        )
        yield Place(map, sink, tmp_path)


async def by_postfix(place: Place) -> None:
    """Send each case through a Postfix that relays."""
    maps = place.folder / "transport"
    maps.write_text(place.map)
    settings = {
        "myhostname": HOSTNAME, "relay_domains": "example.jp, down.jp", "transport_maps": f"texthash:{maps}",
        "smtpd_recipient_restrictions": "reject_unauth_destination", "maximal_queue_lifetime": "1s",
        "minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s",
        "bounce_queue_lifetime": "1h", "header_checks": "",
    }  # fmt: skip
    content = b"\r\n".join((*HEADERS, b"", b"secret words", b""))
    with postfix(place.folder / "other", domains=[], settings=settings) as relay:
        with smtplib.SMTP("127.0.0.1", relay.port) as smtp:
            smtp.ehlo()
            for case in CASES.values():
                words = [f"{key}={value}" for key, value in (("RET", case.ret), ("ENVID", case.envid)) if value]
                more = [f"{key}={value}" for key, value in (("NOTIFY", case.notify), ("ORCPT", case.orcpt)) if value]
                smtp.mail(SENDER, words)
                smtp.rcpt(case.recipient, more)
                smtp.data(content)
        await until(place, 4)


async def by_us(place: Place, s: Scene) -> None:
    for case in CASES.values():
        now = s.clock()
        age = 3600.0 if case.recipient.endswith("down.jp") else 0.0
        new = NewRecipient(case.recipient, s.routes.next_hop(case.recipient), case.notify, case.orcpt)
        envelope = Envelope(SENDER, (Recipient(case.recipient),), ret=case.ret, envid=case.envid)
        message = Message(HEADERS, (b"\r\nsecret words\r\n",))
        await s.queue.put(NewEntry(new_id(now), now - age, envelope, (new,), message, CLIENT, vouched=True))
    s.relay.wake()
    await s.settled()
    await until(place, 8)


async def until(place: Place, many: int) -> None:
    async with asyncio.timeout(40):
        while len(place.sink.messages()) < many:  # noqa: ASYNC110  another program's folder has no event
            await asyncio.sleep(0.1)


def report(dump: Dump) -> EmailMessage:
    raw = dump.raw[dump.raw.index(b"\nReceived: ") + 1 :]
    parsed = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    assert [part.defects for part in parsed.walk() if part.defects] == []
    return parsed


def read(dump: Dump) -> dict[str, object]:
    """What a person's or a list's program takes from a notice."""
    parsed = report(dump)
    parts: Sequence[EmailMessage] = list(parsed.iter_parts())  # type: ignore[arg-type]
    whole, recipient = (
        {k.lower(): " ".join(str(v).split()) for k, v in g.items()}
        for g in parts[1].get_payload()  # type: ignore[union-attr]
    )
    diagnostic_kind, _, words = recipient["diagnostic-code"].partition(";")
    return {
        "envelope": (dump.sender, dump.recipients),
        **{name: str(parsed[name]) for name in ("From", "To", "Subject", "Auto-Submitted")},
        "types": [part.get_content_type() for part in (parsed, *parts)],
        "report-type": parsed.get_param("report-type"),
        "descriptions": [bool(part["Content-Description"]) for part in parts],
        "whole": {k: whole.get(k) for k in ("reporting-mta", "original-envelope-id")},
        "arrival": "arrival-date" in whole,
        "recipient": {k: recipient.get(k) for k in ("final-recipient", "action", "status", "remote-mta")},
        "diagnostic": (diagnostic_kind.replace("Postfix", "backupmx"), words.partition(": queued as ")[0].strip()),
        "body": "secret words" in dump.raw.decode(),
    }


async def test_what_senders_read(place: Place) -> None:
    """Envelope, header, parts and every field of the report are Postfix's; so is who hears nothing."""
    (place.folder / "other").mkdir()
    await by_postfix(place)
    theirs = place.sink.messages()
    async with scene(place.folder, place.map, lifetime=60.0, on_refusal="bounce") as s:
        await by_us(place, s)
    ours = [dump for dump in place.sink.messages() if dump.raw not in {d.raw for d in theirs}]

    def in_order(dumps: Sequence[Dump]) -> list[dict[str, object]]:
        return sorted((read(dump) for dump in dumps), key=lambda one: (str(one["recipient"]), str(one["types"])))

    assert (len(theirs), len(ours)) == (4, 4)
    for postfixs, own in zip(in_order(theirs), in_order(ours), strict=True):
        if postfixs["recipient"]["action"] == "failed" and not own["body"]:  # type: ignore[index]
            # Postfix returns the whole message unless asked for the header; we the header unless asked for all.
            postfixs = {**postfixs, "types": own["types"], "body": False}
        assert own == postfixs


async def test_original_recipient(place: Place) -> None:
    """ORCPT is told as it was given, decoded; we tell none that nobody gave."""
    async with scene(place.folder, place.map, lifetime=60.0, on_refusal="bounce") as s:
        for case in (CASES["refused"], CASES["returned whole"]):
            now = s.clock()
            new = NewRecipient(case.recipient, s.routes.next_hop(case.recipient), case.notify, case.orcpt)
            envelope = Envelope(SENDER, (Recipient(case.recipient),), ret=case.ret, envid=case.envid)
            await s.queue.put(
                NewEntry(new_id(now), now, envelope, (new,), Message(HEADERS, (b"\r\n",)), CLIENT, vouched=True)
            )
        s.relay.wake()
        await s.settled()
        await until(place, 2)
    told = {dump.raw.count(b"\nOriginal-Recipient: rfc822; orig+x@old.example\n") for dump in place.sink.messages()}
    assert told == {0, 1}
