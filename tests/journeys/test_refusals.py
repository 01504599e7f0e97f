"""Journey 2, what the primary does not want: one outcome a recipient, notices to senders, an operator's word.

The primary is a real Postfix that refuses one recipient for good, one for now, and one kind of content.
"""

import email
import email.policy
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.appliance import HOSTNAME, OFF, Appliance, bound_to
from tests.journeys.arrivals import arrived, subjects
from tests.journeys.client import SENDER, message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.smtp_sink import Dump, SmtpSink, smtp_sink

pytestmark = pytest.mark.neighbours

REPLIES = {"gone@example.jp": "550 5.1.1 Gone for good", "busy@example.jp": "450 4.2.1 Busy just now"}


@pytest.fixture(scope="module")
def choosy() -> Iterator[Primary]:
    """It refuses as REPLIES says, and every message with "refuse me" in its Subject."""
    rules = "pcre:{ {/^Subject: .*refuse me/ REJECT Not in this house} }"
    with real_primary(replies=REPLIES, header_checks=rules) as running:
        yield running


@pytest.fixture
def senders_mx(tmp_path: Path) -> Iterator[SmtpSink]:
    """Where notices for sender.test go, by its MX record."""
    with smtp_sink(tmp_path / "sender") as running:
        yield running


@pytest.fixture
def mx(serve: Serve, choosy: Primary, senders_mx: SmtpSink, request: pytest.FixtureRequest) -> Appliance:
    settings: dict[str, Any] = getattr(request, "param", {})
    relay = {"transport_map": "transport.map", "relay_domains": list(DOMAINS), **settings.get("relay", {})}
    checks = {**OFF, "spf": {"enabled": True}}  # it vouches for sender.test, and not for forger.test
    routes = bound_to(DOMAINS, choosy.port) + f"sender.test  smtp:sender.test:{senders_mx.port}\n"
    return serve(routes, **{**settings, "relay": relay, "checks": checks})


def states(mx: Appliance, id: str) -> dict[str, tuple[str, str]]:
    """address -> (state, reason) of those who still wait."""
    shown = mx.cli("queue", "show", id).stdout
    lines = [line.split(maxsplit=2)[1:] for line in shown.splitlines() if line.startswith("recipient ")]
    return {address: (rest.split()[0], rest) for address, rest in lines}


def notice(senders_mx: SmtpSink, recipient: str) -> tuple[Dump, EmailMessage]:
    """The one about this recipient, as its own headers and parts."""

    def look() -> Dump | None:
        return next((d for d in senders_mx.messages() if f"rfc822; {recipient}".encode() in d.raw), None)

    dump = eventually(look, 30, lambda: [d.raw for d in senders_mx.messages()])
    assert dump is not None
    parsed = email.message_from_bytes(dump.raw[dump.raw.index(b"\nReceived: ") + 1 :], policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return dump, parsed


def fields(report: EmailMessage) -> tuple[dict[str, str], dict[str, str]]:
    """Of message/delivery-status: those of the message, those of the first recipient."""
    (status,) = [part for part in report.walk() if part.get_content_type() == "message/delivery-status"]
    groups = [{name.lower(): str(value) for name, value in group.items()} for group in status.get_payload()]
    whole, recipient = groups[:2]
    return whole, recipient


def test_three_recipients(mx: Appliance, choosy: Primary, senders_mx: SmtpSink) -> None:
    """Of three recipients one is delivered, one deferred and one refused and kept, each with the primary's words."""
    sent = send(mx.port, message("three"), ["bob@example.jp", "busy@example.jp", "gone@example.jp"])
    assert (sent.code, sent.refused) == (250, {})
    assert arrived(choosy, "three").recipient == "bob@example.jp"
    found = eventually(lambda: len(s := states(mx, sent.queue_id)) == 2 and s)
    assert found["busy@example.jp"][0] == "deferred"
    assert "said: 450 4.2.1" in found["busy@example.jp"][1]
    assert "Busy just now" in found["busy@example.jp"][1]
    assert found["gone@example.jp"][0] == "refused"
    assert "said: 550 5.1.1" in found["gone@example.jp"][1]
    (waiting,) = mx.queue()
    assert waiting["queue_name"] == "refused"
    assert senders_mx.messages() == []
    (account,) = mx.objects("flush")
    assert (account["waiting"], account["deferred"]) == (1, 1)


def test_refused_and_kept(mx: Appliance, choosy: Primary, senders_mx: SmtpSink) -> None:
    """A primary that refuses the content after our 250: the mail is kept with its words; nobody gets a bounce."""
    sent = send(mx.port, message("please refuse me"))
    mx.logged(rf"{sent.queue_id}: to=<bob@example\.jp>, .*status=refused \(.*Not in this house")
    assert states(mx, sent.queue_id)["bob@example.jp"][0] == "refused"
    assert mx.objects("status")[0]["next_hops"] != []
    assert mx.cli("queue", "retry", sent.queue_id).returncode == 0
    eventually(lambda: mx.log.count("status=refused") == 2)
    assert mx.cli("queue", "delete", sent.queue_id).returncode == 0
    assert mx.queue() == []
    assert senders_mx.messages() == []
    assert "please refuse me" not in subjects(choosy)


def test_returned_by_an_operator(mx: Appliance, senders_mx: SmtpSink) -> None:
    """`queue return` tells the sender in the standard form and takes the mail out of the queue."""
    sent = send(mx.port, message("give it back"), "gone@example.jp")
    mx.logged("status=refused")
    assert mx.cli("queue", "return", sent.queue_id).returncode == 0
    dump, report = notice(senders_mx, "gone@example.jp")
    assert (dump.sender, dump.recipients) == ("", [SENDER])
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert report["Auto-Submitted"] == "auto-replied"
    whole, recipient = fields(report)
    assert whole["reporting-mta"] == f"dns; {HOSTNAME}"
    assert recipient["final-recipient"] == "rfc822; gone@example.jp"
    assert (recipient["action"], recipient["status"][0]) == ("failed", "5")
    assert any(
        "give it back" in str(part) for part in report.walk() if part.get_content_type() == "text/rfc822-headers"
    )
    mx.empty()
    assert mx.cli("queue", "return", sent.queue_id).returncode == 1


@pytest.mark.parametrize("mx", [{"relay": {"on_refusal": "bounce"}}], indirect=True)
def test_bounced(mx: Appliance, choosy: Primary, senders_mx: SmtpSink) -> None:
    """on_refusal = "bounce": the sender's MX gets one notice about the one recipient, with the primary's words."""
    sent = send(mx.port, message("bounced in part"), ["bob@example.jp", "gone@example.jp"])
    dump, report = notice(senders_mx, "gone@example.jp")
    assert (dump.sender, dump.recipients) == ("", [SENDER])
    _, recipient = fields(report)
    assert recipient["action"] == "failed"
    assert recipient["status"] == "5.1.1"
    assert recipient["diagnostic-code"].startswith("smtp; 550 5.1.1")
    assert "Gone for good" in recipient["diagnostic-code"]
    assert recipient["remote-mta"].startswith("dns; ")
    assert b"bob@example.jp" not in dump.raw.partition(b"message/delivery-status")[2].partition(b"rfc822-headers")[0]
    assert arrived(choosy, "bounced in part").recipient == "bob@example.jp"
    mx.logged(rf"{sent.queue_id}: sender non-delivery notification: \S+")
    mx.empty()
    assert len(senders_mx.messages()) == 1


@pytest.mark.parametrize("mx", [{"relay": {"on_refusal": "bounce"}}], indirect=True)
def test_no_notice_for_a_notice(mx: Appliance, senders_mx: SmtpSink) -> None:
    """Mail from the null sender that would bounce is kept without a word: a notice never answers a notice."""
    sent = send(mx.port, message("a notice itself"), "gone@example.jp", sender="")
    mx.logged(rf"{sent.queue_id}: .*status=unreturned \(not returned, it has no sender")
    assert [m["queue_id"] for m in mx.quarantine()] == [sent.queue_id]
    refused = mx.cli("queue", "return", sent.queue_id, "--force")
    assert (refused.returncode, "it has no sender to be returned to" in refused.stderr) == (1, True)
    send(mx.port, message("asked for silence"), "gone@example.jp", sender="alice@sender.test")
    notice(senders_mx, "gone@example.jp")
    mx.empty()
    assert len(senders_mx.messages()) == 1


@pytest.mark.parametrize("mx", [{"relay": {"on_refusal": "bounce"}}], indirect=True)
def test_forged_sender(mx: Appliance, choosy: Primary, senders_mx: SmtpSink) -> None:
    """A sender that SPF fails for gets no notice, refused at RCPT or after DATA; who passes gets one each."""
    mx.transport_map += f"forger.test  smtp:sender.test:{senders_mx.port}\n"
    mx.write()
    mx.reload()
    for to, subject in (("gone@example.jp", "to nobody"), ("bob@example.jp", "please refuse me")):
        forged = send(mx.port, message(subject), to, sender="victim@forger.test")
        mx.logged(
            rf"{forged.queue_id}: to=<{to}>.*status=unreturned \(not returned, nobody vouched for the sender: host"
        )
        aligned = send(mx.port, message(subject), to)
        mx.logged(rf"{aligned.queue_id}: sender non-delivery notification")
        warned = mx.cli("queue", "return", forged.queue_id)
        assert (warned.returncode, "--force" in warned.stderr) == (1, True)
    mx.empty()
    assert [(d.sender, d.recipients) for d in senders_mx.messages()] == [("", [SENDER])] * 2
    assert len(mx.quarantine()) == 2
    assert mx.cli("ledger").stdout.startswith(
        "4 in, 4 accounted\n  2 in quarantine: 2 unreturned\n  2 ended: 2 bounced"
    )
    assert mx.cli("queue", "return", "--force", mx.quarantine()[0]["queue_id"]).returncode == 0
    eventually(lambda: [d.recipients for d in senders_mx.messages()][2:] == [["victim@forger.test"]])


@pytest.mark.parametrize(
    "mx", [{"queue": {"min_free": 0, "lifetime": "3s", "retry_min": "1s", "retry_max": "1s"}}], indirect=True
)
def test_expired(mx: Appliance, senders_mx: SmtpSink) -> None:
    """What is older than queue.lifetime goes back to its sender with the last reason."""
    send(mx.port, message("too old"), "busy@example.jp")
    _, report = notice(senders_mx, "busy@example.jp")
    _, recipient = fields(report)
    assert (recipient["action"], recipient["status"]) == ("failed", "4.2.1")  # the last reason
    assert "Busy just now" in recipient["diagnostic-code"]
    mx.logged("status=expired")
    mx.empty()


def test_hold_and_release(mx: Appliance, choosy: Primary) -> None:
    """One recipient of a message can be held, released and deleted on its own; a flush leaves what is held."""
    sent = send(mx.port, message("one by one"), ["busy@example.jp", "gone@example.jp"])
    eventually(lambda: {s for s, _ in states(mx, sent.queue_id).values()} == {"deferred", "refused"})
    assert mx.cli("queue", "hold", f"{sent.queue_id}:busy@example.jp").returncode == 0
    assert states(mx, sent.queue_id)["busy@example.jp"][0] == "held"
    (account,) = mx.objects("flush")
    assert account["waiting"] == 0
    assert mx.cli("queue", "delete", f"{sent.queue_id}:gone@example.jp").returncode == 0
    assert list(states(mx, sent.queue_id)) == ["busy@example.jp"]
    assert mx.cli("queue", "release", f"{sent.queue_id}:busy@example.jp").returncode == 0
    eventually(lambda: mx.log.count("status=deferred") >= 2)
    assert mx.cli("queue", "hold", "no-such-id").returncode == 1
    assert mx.cli("queue", "delete", "--all").returncode == 2
    assert mx.cli("queue", "delete", "--all", "--yes").returncode == 0
    assert mx.queue() == []


@pytest.mark.parametrize("mx", [{"relay": {"on_refusal": "bounce"}}], indirect=True)
def test_no_second_notice(mx: Appliance, senders_mx: SmtpSink) -> None:
    """Killed while it bounces, again and again: each sender has one notice, and the account balances."""
    senders_mx.stop()  # so that notices wait while we die
    sent = [send(mx.port, message(f"bounce {n}"), "gone@example.jp").queue_id for n in range(5)]
    for _ in range(3):
        mx.kill_all()
        mx.start()
        sent.append(send(mx.port, message("one more"), "gone@example.jp").queue_id)
    eventually(lambda: not {one["queue_id"] for one in mx.queue()} & set(sent))
    senders_mx.start()
    assert mx.cli("flush").returncode == 0
    mx.empty()
    told = [_of(dump) for dump in senders_mx.messages()]
    assert sorted(told) == sorted(sent)
    assert mx.cli("ledger").returncode == 0


def _of(dump: Dump) -> str:
    """The queue id that a notice names."""
    return dump.raw.partition(b"X-backupmx-Queue-ID: ")[2].split()[0].decode()


def test_digest(mx: Appliance, choosy: Primary) -> None:
    """What was refused is told to the postmaster by way of the primary, once, also when it is started again."""
    sent = send(mx.port, message("to nobody"), "gone@example.jp")
    mx.logged(rf"{sent.queue_id}: .*status=refused")
    for _ in range(2):
        mx.stop()
        if not any("1 refused" in subject for subject in subjects(choosy)):
            with closing(sqlite3.connect(mx.folder / "state" / "queue.db")) as db, db:
                db.execute("UPDATE fact SET value = value - 172800 WHERE name = 'digest'")
        mx.start()
        eventually(lambda: any(f"{HOSTNAME}: 1 refused" in subject for subject in subjects(choosy)))
    assert [subject for subject in subjects(choosy) if HOSTNAME in subject] == [f"{HOSTNAME}: 1 refused"]
    (listed,) = [a for a in choosy.messages() if f"{HOSTNAME}: 1 refused" in a.values("Subject")]
    assert (listed.recipient, listed.sender) == ("postmaster@example.jp", "")
    assert b"1 =C3=97 unknown user" in listed.content or "1 × unknown user".encode() in listed.content
