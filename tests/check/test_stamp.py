"""Outside copies come off, our own fields go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.finding import Finding, Findings, Seen
from backupmx.check.stamp import apply, claims, fields
from backupmx.mail.message import Message

HOST = "mx2.example.net"
VIRUS = Finding("virus", "clamd", Seen.CLEAN, "clean", (b"X-Virus-Scanned: c", b"X-Virus-Status: Clean"))
SPAM = Finding("spam", "spamd", Seen.CLEAN, "x", (b"X-Spam-Status: No, score=1.0 required=17.0 tests=none",))
SPF = Finding("spf", "pyspf", Seen.NEUTRAL, "pass", results=("spf=pass smtp.mailfrom=a.example",))
DKIM = Finding("dkim", "dkimpy", Seen.NEUTRAL, "none", results=("dkim=none",))
DMARC = Finding("dmarc", "backupmx", Seen.NEUTRAL, "pass", results=("dmarc=pass header.from=a.example",))
AWAY = Finding("virus", "clamd", Seen.AWAY, "refused")


def test_fields_come_in_order() -> None:
    """Authentication-Results, X-Virus-*, X-Spam-*, whatever order the findings are in."""
    assert fields(Findings((SPAM, VIRUS, DMARC, DKIM, SPF)), HOST) == (
        b"Authentication-Results: mx2.example.net; spf=pass smtp.mailfrom=a.example;\n\tdkim=none; "
        b"dmarc=pass header.from=a.example",
        b"X-Virus-Scanned: c",
        b"X-Virus-Status: Clean",
        b"X-Spam-Status: No, score=1.0 required=17.0 tests=none",
    )


def test_a_check_that_failed_says_nothing() -> None:
    """A scanner that is away says neither Clean nor Yes."""
    assert fields(Findings((AWAY,)), HOST) == ()


def test_checks_that_are_off_are_not_mentioned() -> None:
    """Without SPF, DKIM, DMARC and ARC there is no Authentication-Results."""
    assert fields(Findings((VIRUS,)), HOST) == VIRUS.fields


def test_chain_without_a_result() -> None:
    """An authentication check that has nothing to report says none."""
    nothing = Finding("dkim", "dkimpy", Seen.NEUTRAL, "")
    assert fields(Findings((nothing,)), HOST) == (b"Authentication-Results: mx2.example.net; none",)


MESSAGE = Message(
    (
        b"Received: ours",
        b"X-Spam-Flag: YES",
        b"x-SPAM-status: No,\n\tscore=0",
        b"X-Virus-Status: Clean",
        b"X-Spammer: no",
        b"Authentication-Results: mx2.example.net; spf=pass",
        b"Authentication-Results: other.example; spf=pass",
        b"Subject: x",
    ),
    (b"\r\nbody\r\n",),
)


def test_outside_copies_come_off_and_ours_go_on() -> None:
    """Our fields stand under our Received; forged ones are gone, those of others stay."""
    stamped = apply(MESSAGE, Findings((VIRUS, SPAM)), 1, (b"X-Virus-Status: Clean",), HOST)
    assert stamped.headers == (
        b"Received: ours",
        b"X-Virus-Status: Clean",
        b"X-Spammer: no",
        b"Authentication-Results: other.example; spf=pass",
        b"Subject: x",
    )
    assert stamped.body == MESSAGE.body


def test_outside_copies_come_off_when_the_engine_is_away() -> None:
    """A forged Clean does not stand in for a scanner that gave no answer."""
    stamped = apply(MESSAGE, Findings((AWAY,)), 1, (), HOST)
    assert [h for h in stamped.headers if h.startswith(b"X-Virus")] == []
    assert b"X-Spam-Flag: YES" in stamped.headers


def test_checks_that_are_off_leave_the_fields_of_others() -> None:
    """Where no check is on only claims to our own name come off."""
    stamped = apply(MESSAGE, Findings(), 1, (), HOST)
    assert stamped.headers == tuple(h for h in MESSAGE.headers if b"mx2.example.net" not in h)


def test_our_received_may_be_gone() -> None:
    """A rule that removed our Received leaves our fields on top."""
    stamped = apply(Message((b"Subject: x",)), Findings((VIRUS,)), 0, (b"X-Virus-Status: Clean",), HOST)
    assert stamped.headers == (b"X-Virus-Status: Clean", b"Subject: x")


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b" mx2.example.net; spf=pass", True),
        (b"mx2.example.net;spf=pass", True),
        (b" MX2.Example.NET 1; spf=pass", True),
        (b" mx2.example.net", True),
        (b" mx2.example.net.; none", True),
        (b"\n\tmx2.example.net\n\t; spf=pass", True),
        (b' "mx2.example.net"; spf=pass', True),
        (b' "mx2.exa\\mple.net"; spf=pass', True),
        (b" (comment) mx2.example.net; spf=pass", True),
        (b" (a (nested) one \\) ) mx2.example.net (x); spf=pass", True),
        (b" mx2.example.net(x); spf=pass", True),
        (b" (never ends mx2.example.net; spf=pass", True),
        (b" ;mx2.example.net; spf=pass", True),
        (b" mx2(c).example.net; spf=pass", True),
        (b" mx2.\n example.net; spf=pass", True),
        (b' "mx2".example.net; spf=pass', True),
        (b" v=1 mx2.example.net; spf=pass", True),
        (b" \xa0mx2.example.net\xa0; spf=pass", True),
        (b" [mx2.example.net]; spf=pass", True),
        (b" other.example; spf=pass smtp.helo=mx2.example.net", False),
        (b" mx2.example.net.evil.example; spf=pass", False),
        (b" xmx2.example.net; spf=pass", False),
        (b" (mx2.example.net) other.example; spf=pass", False),
        (b"", False),
    ],
)
def test_claims(value: bytes, ours: bool) -> None:
    """Only what speaks in our name is ours, however it is written."""
    assert claims(value, b"mx2.example.net") is ours


@given(st.binary(max_size=200))
def test_claims_ends_for_any_bytes(value: bytes) -> None:
    """No bytes make the parser fail."""
    assert claims(value, b"mx2.example.net") in (True, False)
    assert claims(b"(" + value + b") mx2.example.net; x", b"mx2.example.net") in (True, False)
