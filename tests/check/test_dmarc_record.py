"""DMARC records and the tree walk, without a DNS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.dmarc_record import Record, governing, organization, record_of, targets


@pytest.mark.parametrize(
    ("text", "record"),
    [
        (b"v=DMARC1; p=reject", Record("reject")),
        (b"v=DMARC1;p=none;sp=quarantine;np=reject", Record("none", "quarantine", "reject")),
        (b"v=DMARC1; P=Reject; ASPF=S; adkim=s", Record("reject", strict_dkim=True, strict_spf=True)),
        (b"v=DMARC1 ; p=reject; psd=n; t=y", Record("reject", psd="n", testing=True)),
        (b"v=DMARC1", Record("none")),
        (b"v=DMARC1; rua=mailto:a@b.test", Record("none")),
        (b"v=DMARC1; p=block; rua=mailto:a@b.test", Record("none")),
        (b"v=DMARC1; p=reject; sp=block; rua=mailto:a@b.test", Record("none")),
        (b"v=DMARC1; p=block", None),
        (b"v=DMARC1; p=reject; np=x", None),
        (b"v=DMARC1; p=reject; pct=10; unknown=1; nonsense", Record("reject")),
        (b"v=DMARC2; p=reject", None),
        (b"v=DMARC11; p=reject", None),
        (b"p=reject; v=DMARC1", None),
        (b"v=spf1 -all", None),
        (b"\xff", None),
    ],
)
def test_record(text: bytes, record: Record | None) -> None:
    """A record as RFC 9989 reads it: unknown tags ignored, a wrong policy no policy."""
    assert record_of([text]) == record


def test_others_do_not_count_and_two_are_none() -> None:
    """Other TXT records beside it are ignored; two DMARC records cancel each other."""
    assert record_of([b"hello", b"v=DMARC1; p=reject"]) == Record("reject")
    assert record_of([b"v=DMARC1; p=reject", b"v=DMARC1; p=none"]) is None
    assert record_of([]) is None


@pytest.mark.parametrize(
    ("domain", "walk"),
    [
        ("com", ("com",)),
        ("example.com", ("example.com", "com")),
        ("a.mail.example.com", ("a.mail.example.com", "mail.example.com", "example.com", "com")),
        (
            "h.g.f.e.d.c.b.a",
            ("h.g.f.e.d.c.b.a", "g.f.e.d.c.b.a", "f.e.d.c.b.a", "e.d.c.b.a", "d.c.b.a", "c.b.a", "b.a", "a"),
        ),
        (
            "j.i.h.g.f.e.d.c.b.a",
            ("j.i.h.g.f.e.d.c.b.a", "g.f.e.d.c.b.a", "f.e.d.c.b.a", "e.d.c.b.a", "d.c.b.a", "c.b.a", "b.a", "a"),
        ),
    ],
)
def test_targets(domain: str, walk: tuple[str, ...]) -> None:
    """At most eight questions, from the longest name to the shortest."""
    assert targets(domain) == walk


START = "a.mail.example.com"


@pytest.mark.parametrize(
    ("records", "organized", "governor"),
    [
        ({}, START, ""),
        ({"mail.example.com": "u", "example.com": "u"}, "example.com", "example.com"),
        ({"mail.example.com": "n"}, "mail.example.com", "mail.example.com"),
        ({"com": "y"}, "example.com", "com"),
        ({"com": "y", "example.com": "u"}, "example.com", "example.com"),
        ({START: "u", "example.com": "u"}, "example.com", START),
        ({START: "y"}, START, START),
        ({START: "n", "example.com": "u"}, START, START),
        ({"example.com": "y"}, "mail.example.com", "example.com"),
    ],
)
def test_organization(records: dict[str, str], organized: str, governor: str) -> None:
    """psd=n is the organization, one below psd=y, else the record highest up."""
    found = {name: Record("reject", psd=psd) for name, psd in records.items()}
    assert (organization(START, found), governing(START, found)) == (organized, governor)


@pytest.mark.parametrize(
    ("record", "own", "exists", "policy"),
    [
        (Record("reject", "quarantine", "none"), True, True, "reject"),
        (Record("reject", "quarantine", "none"), False, True, "quarantine"),
        (Record("reject", "quarantine", "none"), False, False, "none"),
        (Record("reject", "quarantine"), False, False, "quarantine"),
        (Record("reject"), False, True, "reject"),
        (Record("reject", testing=True), True, True, "quarantine"),
        (Record("quarantine", testing=True), True, True, "none"),
        (Record("none", testing=True), True, True, "none"),
    ],
)
def test_policy(record: Record, own: bool, exists: bool, policy: str) -> None:
    """p for the record's own domain, sp below it, np for what does not exist; t=y asks for one step less."""
    assert record.policy_for(own=own, exists=exists) == policy


@given(st.binary(max_size=100))
def test_any_record(text: bytes) -> None:
    """Any text is a record or none."""
    record = record_of([b"v=DMARC1;" + text])
    assert record is None or record.policy_for(own=False, exists=False) in ("none", "quarantine", "reject")
