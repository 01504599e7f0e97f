"""Paths of MAIL FROM and RCPT TO."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.address import Malformed, as_sent, domain_of, local_of, parse_path


@pytest.mark.parametrize(
    ("text", "address", "parameters"),
    [
        (b"<user@example.jp>", "user@example.jp", []),
        (b" <user@example.jp> SIZE=10 BODY=8BITMIME", "user@example.jp", ["SIZE=10", "BODY=8BITMIME"]),
        (b"user@example.jp", "user@example.jp", []),
        (b"<>", "", []),
        (b"<> SIZE=1", "", ["SIZE=1"]),
        (b"<@a.example,@b.example:user@example.jp>", "user@example.jp", []),
        (b'<"a b>c\\"d"@example.jp>', '"a b>c\\"d"@example.jp', []),
        (b"<user@[192.0.2.1]>", "user@[192.0.2.1]", []),
        (b"<user@[IPv6:2001:db8::1]>", "user@[IPv6:2001:db8::1]", []),
        (b"<under_score@ex_ample.jp>", "under_score@ex_ample.jp", []),
        (b"<a..b.@docomo.example.jp>", "a..b.@docomo.example.jp", []),
        (b"<.a@example.jp>", ".a@example.jp", []),
        (b"<a@example.jp.>", "a@example.jp", []),
        (b"<" + b"v" * 200 + b"@example.jp> SIZE=1", "v" * 200 + "@example.jp", ["SIZE=1"]),
    ],
)
def test_paths_that_are_right(text: bytes, address: str, parameters: list[str]) -> None:
    """Brackets, source routes, quoted local parts, literals and parameters."""
    assert parse_path(text) == (address, parameters)


@pytest.mark.parametrize(
    "text",
    [
        b"<user>", b"<user@>", b"<@example.jp>", b"<a b@example.jp>", b"<-a@example.jp>", b"<@x:-a@example.jp>",

        b"<a@b..c>", b"<a@b.>x", b"<a@.>", b"<a@" + b"b" * 64 + b".example>",
        b"<a@-b.example>", b"<a@b.example", b"<a@b.example>x", b"<a\x00@b.example>",
        b"<" + b"a" * 513 + b"@b.example>", b"<a@" + b"b." * 130 + b"example>", b"<a@[999]x>", "<é@b.example>".encode(),
        b"<a\r\n@b.example>", b'<"a"b"@c.example>',
    ],
)  # fmt: skip
def test_paths_that_are_wrong(text: bytes) -> None:
    """What is no path is Malformed, never guessed at."""
    with pytest.raises(Malformed):
        parse_path(text)


def test_postmaster_needs_no_domain() -> None:
    """RFC 5321 4.5.1: RCPT TO:<postmaster>, in any case."""
    assert parse_path(b"<Postmaster>", allow="postmaster") == ("Postmaster", [])


def test_smtputf8() -> None:
    """Beyond ASCII only when the client said SMTPUTF8."""
    assert parse_path("<josé@exämple.jp>".encode(), utf8=True)[0] == "josé@exämple.jp"


def test_domains_fold_case() -> None:
    """The domain is compared in lower case, the local part as it is."""
    assert (domain_of("User@Example.JP"), local_of("User@Example.JP"), domain_of("")) == ("example.jp", "User", "")


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_an_address_or_malformed(text: bytes, utf8: bool) -> None:
    """No bytes raise anything else; no address carries a blank outside quotes or a control byte."""
    try:
        address, _ = parse_path(text, utf8=utf8)
    except Malformed:
        return
    assert "\r" not in address
    assert "\n" not in address
    assert "\x00" not in address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a@b.example", "a@b.example"),
        ("a b@b.example", '"a b"@b.example'),
        ("a> NOTIFY=NEVER@b.example", '"a> NOTIFY=NEVER"@b.example'),
        ("a\n\tDATA\n.@b.example", '"a  DATA ."@b.example'),
        ('q"\\@b.example', '"q\\"\\\\"@b.example'),
        ('"a b"@b.example', '"a b"@b.example'),
        ("a@c@b.example", '"a@c"@b.example'),
        (" a@b.example. ", "a@b.example"),
    ],
)
def test_an_address_of_a_rule_gets_the_quotes_it_needs(text: str, address: str) -> None:
    """As Postfix's canon_addr_external; a line end in it is a blank."""
    assert as_sent(text) == address


@given(st.text(max_size=40))
def test_no_address_of_a_rule_leaves_its_path(text: str) -> None:
    """What a rule took over from a message is one address, or none."""
    try:
        sent = as_sent(text)
    except Malformed:
        return
    assert parse_path(f"<{sent}> SIZE=1".encode(), utf8=True) == (sent, ["SIZE=1"])


@pytest.mark.parametrize("odd", ["\x85", "\x9b", "\u2028", "\uffff"])
def test_controls_beyond_ascii_are_in_no_address(odd: str) -> None:
    """Not in a local part, not in a quoted one, not in a domain."""
    for path in (f"<a{odd}b@example.jp>", f'<"a{odd}b"@example.jp>', f"<a@b{odd}c.jp>"):
        with pytest.raises(Malformed):
            parse_path(path.encode(), utf8=True)


def test_only_ascii_blanks_part_parameters() -> None:
    """A no-break space in an ORCPT is part of it."""
    assert parse_path("<a@b.jp> ORCPT=utf-8;a\xa0b FOO".encode(), utf8=True)[1] == ["ORCPT=utf-8;a\xa0b", "FOO"]
