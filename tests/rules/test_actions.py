"""actions: one verdict from many decisions."""

import pytest

from backupmx.mail.message import Content
from backupmx.mail.verdict import Fate, Verdict
from backupmx.rules.actions import rejection
from backupmx.rules.engine import Judged, Tables, judge, judge_added
from backupmx.rules.table import load


def judged(rules: bytes, *headers: bytes) -> Judged:
    content = Content(b"".join(h + b"\r\n" for h in headers) + b"\r\nbody\r\n")
    return judge(content, Tables(load(rules, "t")))


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (b"", "550 5.7.1 message content rejected"),
        (b"no", "550 5.7.1 no"),
        (b"5.2.3 full", "550 5.2.3 full"),
        (b"4.7.1 later", "451 4.7.1 later"),
        (b"2.0.0 odd", "451 4.0.0 odd"),
        (b"554 5.7.9 x", "550 5.7.1 554 5.7.9 x"),
        (b"5.7.1. x", "550 5.7.1 5.7.1. x"),
        (b"a\r\nb\x00\x1bc", "550 5.7.1 a  b  c"),
    ],
)
def test_the_reply_of_a_rejection(argument: bytes, expected: str) -> None:
    """A status code in front is used, 4.x.x is temporary, and no control byte reaches the client."""
    assert expected == str(rejection(argument))


@pytest.mark.parametrize(
    ("rules", "fate"),
    [
        (b"/^A:/ HOLD\n/^B:/ DISCARD\n/^C:/ REJECT\n", Fate.DISCARD),
        (b"/^A:/ HOLD\n/^B:/ REJECT\n/^C:/ DISCARD\n", Fate.REJECT),
        (b"/^A:/ REDIRECT r@x\n/^B:/ REJECT\n", Fate.REDIRECT),
        (b"/^A:/ FILTER a:b\n/^B:/ HOLD\n", Fate.HOLD),
        (b"/^A:/ PASS\n/^B:/ REJECT\n", Fate.ACCEPT),
        (b"/^A:/ REJECT 4.0.0 x\n", Fate.DEFER),
        (b"/^A:/\n/^B:/ DISCARD\n", Fate.DEFER),
        (b"/^A:/ FILTER a:b\n", Fate.FILTER),
    ],
)
def test_the_fate_of_several_actions(rules: bytes, fate: Fate) -> None:
    """DISCARD and REJECT: the first; PASS and REDIRECT end the asking; HOLD beside FILTER; no action tempfails."""
    assert fate is judged(rules, b"A: 1", b"B: 1", b"C: 1").verdict.fate


def test_hold_keeps_where_the_mail_is_to_go_once_released() -> None:
    """Redirect beats filter, copies are kept once each."""
    verdict = judged(
        b"/^A:/ HOLD\n/^B:/ FILTER a:b\n/^C:/ BCC c@x\n/^D:/ REDIRECT r@x\n",
        b"A: 1",
        b"B: 1",
        b"C: 1",
        b"C: 1",
        b"D: 1",
    ).verdict
    assert Verdict(Fate.HOLD, None, "r@x", None, ("c@x",), "t:1") == verdict


def test_a_bad_argument_is_a_trouble_and_no_action() -> None:
    """The mail passes, the operator is told the line."""
    result = judged(b"/^A: (.*)/ REDIRECT $1\n", b"A: nobody")
    assert (result.verdict.fate, result.troubles) == (
        Fate.ACCEPT,
        ('t:1: bad REDIRECT address "nobody": need user@domain',),
    )


def test_a_copy_to_no_address_goes_nowhere() -> None:
    """BCC <x> is taken by Postfix and bounced; here it is a trouble."""
    result = judged(b"/^A:/ BCC <c@x>\n", b"A: 1")
    assert (result.verdict.bcc, len(result.decisions), len(result.troubles)) == ((), 1, 1)


def test_one_address_gets_one_copy_however_it_is_spelt() -> None:
    """As Postfix's been_here(3): case is no difference."""
    result = judged(b"/^A:/ BCC c@Example.JP\n/^B:/ BCC C@example.jp\n", b"A: 1", b"B: 2")
    assert (result.verdict.bcc, len(result.decisions)) == (("c@Example.JP",), 2)


def test_what_is_added_is_judged_with_what_was_decided_before() -> None:
    """HOLD stays beside a later DISCARD's absence, and a DISCARD ends it."""
    tables = Tables(milter=load(b"/^S: YES/ DISCARD\n/^S:/ IGNORE\n/^T:/ PREPEND X: 1\n", "m"))
    before = Verdict(Fate.HOLD, reason="t:1")
    kept = judge_added([b"S: No", b"T: 1"], tables, before)
    gone = judge_added([b"S: YES", b"T: 1"], tables, before)
    assert (kept.verdict.fate, kept.fields, len(kept.troubles)) == (Fate.HOLD, (b"T: 1",), 1)
    assert (gone.verdict.fate, gone.verdict.reason) == (Fate.DISCARD, "m:1")


def test_nothing_is_asked_after_the_end() -> None:
    """A verdict that ends stays as it is."""
    tables = Tables(milter=load(b"/./ REJECT\n", "m"))
    before = Verdict(Fate.DISCARD, reason="t:1")
    after = judge_added([b"S: No"], tables, before)
    assert (after.verdict.fate, after.decisions) == (Fate.DISCARD, ())
