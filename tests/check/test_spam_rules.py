"""The rule file of the builtin spam engine."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.finding import Mail
from backupmx.check.spam_rules import Pattern, load
from backupmx.check.trouble import RulesTrouble
from backupmx.mail.envelope import Client
from tests.check.messages import mail

NOW = 1795492800.0  # Tue, 24 Nov 2026 04:00:00 +0000


def hits(condition: str, sample: Mail, words: frozenset[str] = frozenset()) -> bool:
    [rule] = load(f'[[rule]]\nname = "TEST"\nscore = 1\n{condition}', "spam.toml")
    return rule.hits(sample, words, NOW)


UNKNOWN = Client("192.0.2.7", 1, "unknown", "192.0.2.7")
BOT = replace(UNKNOWN, marks=("PREGREET", "PIPELINING"), dnsbl=3)
FRIEND = replace(UNKNOWN, dnsbl=-2)


@pytest.mark.parametrize(
    ("condition", "sample", "expected"),
    [
        ("header = 'subject'\nmatches = '^lunch$'", mail(), True),
        ("header = 'Subject:'\nmatches = 'dinner'", mail(), False),
        ("header = 'X-Other'\nmatches = ''", mail(), False),
        ("header = 'X-Folded'\nmatches = '^a b$'", mail(b"", b"X-Folded: a\n b"), True),
        ("missing = 'List-Id'", mail(), True),
        ("missing = 'From'", mail(), False),
        ("repeated = 'From'", mail(b"", b"From: x@y.test"), True),
        ("repeated = 'From'", mail(), False),
        ("date_off = '1h'", mail(), False),
        ("date_off = '1h'", mail(b"", b"Date: Tue, 24 Nov 2026 06:00:00 +0000", standard=False), True),
        ("date_off = '3h'", mail(b"", b"Date: Tue, 24 Nov 2026 06:00:00 +0000", standard=False), False),
        ("date_off = '1h'", mail(b"", b"Date: yesterday", standard=False), True),
        ("date_off = '1h'", mail(b"", standard=False), False),
        ("client = '^unknown\\['", mail(client=UNKNOWN), True),
        ("client = '^unknown\\['", mail(), False),
        ("helo = '^[0-9.]+$'", mail(client=UNKNOWN), True),
        ("sender = '^$'", mail(sender=""), True),
        ("sender = '@sender\\.test$'", mail(), True),
        ("missing = 'List-Id'\nclient = '^unknown'", mail(), False),
        ("marks = 'PREGREET'", mail(client=BOT), True),
        ("marks = 'PREGREET PIPELINING'", mail(client=replace(BOT, marks=("PREGREET",))), False),
        ("marks = 'PIPELINING'", mail(), False),
        ("dnsbl = '>= 3'", mail(client=BOT), True),
        ("dnsbl = '>=4'", mail(client=BOT), False),
        ("dnsbl = '<= -1'", mail(client=FRIEND), True),
        ("dnsbl = '<= -1'", mail(), False),
    ],
)
def test_conditions(condition: str, sample: Mail, expected: bool) -> None:
    """Each condition of a rule; several must all hold."""
    assert hits(condition, sample) is expected


@pytest.mark.parametrize(
    ("auth", "expected"), [("spf=fail", True), ("spf=fail policy=reject", False), ("dkim=none", False)]
)
def test_auth(auth: str, expected: bool) -> None:
    """Words of Authentication-Results, all of them."""
    assert hits(f'auth = "{auth}"', mail(), frozenset({"spf=fail", "dmarc=fail"})) is expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[rule]", "spam.toml: "),
        ("[[rule]]\nname='A_B'\nscore=1", "spam.toml: rule A_B: no condition"),
        ("[[rule]]\nscore=1\nmissing='X'", "spam.toml: rule number 1: a name is"),
        ("[[rule]]\nname='a'\nscore=1\nmissing='X'", "spam.toml: rule a: a name is"),
        ("[[rule]]\nname='AB'\nscore='1'\nmissing='X'", "spam.toml: rule AB: score is a number"),
        ("[[rule]]\nname='AB'\nscore=nan\nmissing='X'", "spam.toml: rule AB: score is a number"),
        ("[[rule]]\nname='AB'\nscore=true\nmissing='X'", "spam.toml: rule AB: score is a number"),
        ("[[rule]]\nname='AB'\nscore=1\nmarks='X'", "spam.toml: rule AB: marks: 'X' is not one of"),
        ("[[rule]]\nname='AB'\nscore=1\ndnsbl='3'", "spam.toml: rule AB: dnsbl is a sign and a sum"),
        ("[[rule]]\nname='AB'\nscore=1\nmising='X'", "spam.toml: rule AB: unknown key 'mising'"),
        ("[[rule]]\nname='AB'\nscore=1\nheader='X'\nmissing='Y'", "spam.toml: rule AB: header and matches go together"),
        ("[[rule]]\nname='AB'\nscore=1\nmatches='X'", "spam.toml: rule AB: header and matches go together"),
        ("[[rule]]\nname='AB'\nscore=1\nheader='X'\nmatches='('", "spam.toml: rule AB: matches: "),
        ("[[rule]]\nname='AB'\nscore=1\nhelo='(*LIMIT_MATCH=9)a'", "spam.toml: rule AB: helo: a pattern may not begin"),
        ("[[rule]]\nname='AB'\nscore=1\nmissing='X Y'", "spam.toml: rule AB: missing: 'X Y' is no header name"),
        ("[[rule]]\nname='AB'\nscore=1\nmissing=3", "spam.toml: rule AB: missing is a text"),
        ("[[rule]]\nname='AB'\nscore=1\ndate_off='soon'", "spam.toml: rule AB: date_off is a duration"),
        ("[[rule]]\nname='AB'\nscore=1\nauth='spf'", "spam.toml: rule AB: auth: 'spf' is not like spf=fail"),
        ("rule = 3", "spam.toml: write each rule under [[rule]]"),
        ("[rules]\n", "spam.toml: unknown key 'rules'"),
    ],
)
def test_mistakes(text: str, error: str) -> None:
    """A mistake is named with file and rule, and with what to write."""
    with pytest.raises(RulesTrouble) as trouble:
        load(text, "spam.toml")
    assert trouble.value.errors[0].startswith(error)


def test_every_mistake_at_once() -> None:
    """Three mistakes are one list, not three restarts."""
    text = (
        "[[rule]]\nname='AB'\n[[rule]]\nname='CD'\nscore=1\nmissing=''\n"
        + "[[rule]]\nname='EF'\nscore=1\nmissing='X'\n" * 2
    )
    with pytest.raises(RulesTrouble) as trouble:
        load(text, "f")
    assert [e.partition(": ")[2].partition(":")[0] for e in trouble.value.errors] == ["rule AB", "rule CD", "rule EF"]


def test_a_catastrophic_pattern_ends() -> None:
    """A pattern that would run for years counts as no match, within the second."""
    pattern = Pattern("(a+)+$")
    started = time.process_time()
    assert not pattern.matches(b"a" * 4000 + b"!")
    assert time.process_time() - started < 5


@given(st.binary(max_size=60), st.text(max_size=20))
def test_any_value_any_pattern(value: bytes, text: str) -> None:
    """Any pattern is refused or works on any bytes."""
    try:
        pattern = Pattern(text)
    except ValueError:
        return
    assert pattern.matches(value) in (True, False)


@given(st.text(max_size=200))
def test_any_file(text: str) -> None:
    """Any text is a rule file or an error that names it."""
    errors: tuple[str, ...] = ()
    try:
        load(text, "f")
    except RulesTrouble as trouble:
        errors = trouble.errors
    assert [error for error in errors if not error.startswith("f: ")] == []
