"""relay/bounce.py: the notice a sender gets, read by the standard library's own parser."""

import email
import email.policy
from email.message import EmailMessage

import pytest

from backupmx.mail.message import Message
from backupmx.queue.entry import Claim, NewEntry, State
from backupmx.relay import bounce
from tests.relay.samples import MESSAGE, claim, claimed, outcome


def told(mail: Claim, *outcomes: object, relayed: tuple[bool, ...] = ()) -> NewEntry | None:
    outcomes = outcomes or tuple(outcome(r.address) for r in mail.recipients)
    asked = bounce.asked(mail, outcomes, relayed or (False,) * len(outcomes))  # type: ignore[arg-type]
    if not asked:
        return None
    return bounce.notice(mail, asked, "mx2.example.net", lambda a: "smtp:" + a.split("@")[1], 2000.0)


def parsed(entry: NewEntry | None) -> EmailMessage:
    assert entry is not None
    message = email.message_from_bytes(b"".join(entry.message.chunks()), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert [part.defects for part in message.walk() if part.defects] == []
    return message


def status(entry: NewEntry | None) -> list[dict[str, str]]:
    part = parsed(entry).get_payload(1)
    return [dict(group.items()) for group in part.get_payload()]  # type: ignore[union-attr]


def test_shape() -> None:
    """A multipart/report from the null sender, by MX to the sender, that no robot answers."""
    entry = told(claim())
    report = parsed(entry)
    assert entry is not None
    assert (entry.envelope.sender, entry.envelope.addresses) == ("", ("a@client.example",))
    assert entry.recipients[0].next_hop == "smtp:client.example"
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    assert [part.get_content_type() for part in report.iter_parts()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers"]  # fmt: skip
    assert (report["To"], report["Auto-Submitted"]) == ("a@client.example", "auto-replied")
    assert report["From"] == "Mail Delivery System <MAILER-DAEMON@mx2.example.net>"
    assert report["Message-ID"] == entry.message_id


def test_every_line_is_canonical() -> None:
    """Lines end in CRLF and none is too long for SMTP."""
    long = outcome(reason="host p1[192.0.2.1] said: 550 5.1.1 " + "語" * 1000)
    entry = told(claim(), long)
    assert entry is not None
    content = b"".join(entry.message.chunks())
    assert content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r")
    assert max(len(line) for line in content.split(b"\r\n")) <= 998


def test_status_groups() -> None:
    """One group for the message, one for each recipient, with the primary's words and name."""
    mail = claim(claimed(orcpt="rfc822;u+2Bx@old.jp"), claimed("v@example.jp"), envid="QQ+2B314159")
    expired = outcome("v@example.jp", State.EXPIRED, "connect to p1[192.0.2.1]:25: Connection refused", "4.4.1", "none")
    first, u, v = status(told(mail, outcome(), expired))
    assert (first["Reporting-MTA"], first["Original-Envelope-Id"]) == ("dns; mx2.example.net", "QQ+314159")
    assert u == {
        "Final-Recipient": "rfc822; u@example.jp",
        "Original-Recipient": "rfc822; u+x@old.jp",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; p1",
        "Diagnostic-Code": "smtp; 550 5.1.1 no",
    }
    assert (v["Status"], v["Diagnostic-Code"]) == (
        "4.4.1", "X-backupmx; connect to p1[192.0.2.1]:25: Connection refused")  # fmt: skip


def test_headers_only() -> None:
    """The message itself is not sent around, only its header."""
    entry = told(claim())
    assert b"secret words" not in b"".join(entry.message.chunks() if entry else ())
    assert "Subject: a test\n\tfolded" in parsed(entry).get_payload(2).get_payload().replace("\r\n", "\n")  # type: ignore[union-attr]


def test_full_on_request() -> None:
    """RET=FULL returns a small message whole, a large one not."""
    large = Message(MESSAGE.headers, (b"\r\n" + b"secret words\r\n" * 5000,))
    small_report, large_report = parsed(told(claim(ret="FULL"))), parsed(told(claim(ret="FULL", message=large)))
    assert [r.get_payload(2).get_content_type() for r in (small_report, large_report)] == [  # type: ignore[union-attr]
        "message/rfc822", "text/rfc822-headers"]  # fmt: skip


@pytest.mark.parametrize(
    ("mail", "outcomes"),
    [
        (claim(client=None), [outcome()]),
        (claim(claimed(notify="NEVER")), [outcome()]),
        (claim(claimed(notify="SUCCESS,DELAY")), [outcome()]),
        (claim(), [outcome(state=State.DELIVERED)]),
        (claim(), [outcome(state=State.REFUSED)]),
        (claim(), [outcome(state=State.DEFERRED)]),
    ],
)
def test_nobody_to_tell(mail: Claim, outcomes: list[object]) -> None:
    """No notice for our own mail, for NOTIFY without FAILURE, nor for what is not the end."""
    assert told(mail, *outcomes) is None


def test_only_who_wants_it() -> None:
    """Of several recipients the notice names those who bounced and whose NOTIFY asks for it."""
    mail = claim(claimed("a@example.jp", notify="never"), claimed("b@example.jp"), claimed("c@example.jp"))
    outcomes = [outcome("a@example.jp"), outcome("b@example.jp"), outcome("c@example.jp", State.DELIVERED)]
    assert [g["Final-Recipient"] for g in status(told(mail, *outcomes))[1:]] == ["rfc822; b@example.jp"]


def test_relayed() -> None:
    """NOTIFY=SUCCESS and a next hop without DSN: the sender is told that it was relayed (RFC 3461 5.2.2)."""
    mail = claim(claimed(notify="SUCCESS"), claimed("v@example.jp", notify="SUCCESS,FAILURE"))
    done = [outcome(a, State.DELIVERED, "250 2.0.0 Ok", "2.0.0") for a in ("u@example.jp", "v@example.jp")]
    entry = told(mail, *done, relayed=(True, False))
    groups = status(entry)[1:]
    assert [(g["Final-Recipient"], g["Action"], g["Status"]) for g in groups] == [
        ("rfc822; u@example.jp", "relayed", "2.0.0")]  # fmt: skip
    assert parsed(entry)["Subject"] == "Successful Mail Delivery Report"


def test_other_scripts() -> None:
    """Addresses and headers in UTF-8 make an internationalised report (RFC 6533)."""
    mail = claim(claimed("日本@example.jp"), message=Message(("Subject: 日本".encode(),), (b"\r\n",)))
    entry = told(mail, outcome("日本@example.jp"))
    assert entry is not None
    assert (entry.envelope.smtputf8, entry.envelope.body) == (True, "8BITMIME")
    kinds = [part.get_content_type() for part in parsed(entry).iter_parts()]
    assert kinds == ["text/plain", "message/global-delivery-status", "message/global-headers"]


def test_hostile_words() -> None:
    """What a peer says can add no header and no part to the report."""
    entry = told(claim(), outcome(reason="host p1[192.0.2.1] said: 550 x\r\n\r\nBcc: y\udcff\x07"))
    assert len(status(entry)) == 2
    assert len(list(parsed(entry).iter_parts())) == 3
