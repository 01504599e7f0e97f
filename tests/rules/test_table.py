"""table: first match wins, broken lines are skipped, and the index changes no answer."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.rules.table import EMPTY, Asked, Table, load

from .differential.generate import header, table


def found(rules: Table, subject: bytes) -> int | None:
    name = subject.partition(b":")[0].lower()
    hit = rules.find(subject, rules.program(name), Asked())
    return hit.rule.line if hit else None


def test_the_first_rule_that_matches_wins() -> None:
    """From top to bottom, whatever the later ones say."""
    rules = load(b"/^X-A: 2/ WARN\n/^X-/ IGNORE\n/^X-A/ REJECT\n", "t")
    assert [found(rules, h) for h in (b"X-A: 1", b"X-A: 2", b"Y: 1")] == [2, 1, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"if /^X-/\n/A/ WARN\nendif\n/B/ WARN\n", {b"X-A: 1": 2, b"A: 1": None, b"X-B: 1": 4}),
        (b"if !/^X-/\n/A/ WARN\nendif\n", {b"X-A: 1": None, b"A: 1": 2}),
        (b"if /^X-/\nif /2/\n/A/ WARN\nendif\n/A/ WARN\nendif\n", {b"X-A: 2": 3, b"X-A: 1": 5, b"A: 2": None}),
        (b"if /^X-/\n/A/ WARN\n", {b"X-A: 1": 2, b"A: 1": None}),
        (b"if /^X-/\n/A/ WARN\n/./ WARN\n", {b"B: 1": None}),
        (b"if /(/\n/A/ WARN\nendif\n/B/ WARN\n", {b"A: 1": 2, b"B: 1": 4}),
        (b"if /^X-/\nif /(/\nendif\n/A/ WARN\nendif\n", {b"A: 1": 4}),
    ],
)
def test_if_and_endif_as_postfix_reads_them(text: bytes, expected: dict[bytes, int | None]) -> None:
    """Nested, negated, without an endif (nothing after it is asked), and with an if that could not be used."""
    rules = load(text, "t")
    assert expected == {subject: found(rules, subject) for subject in expected}


def test_a_pattern_without_an_answer_matches_neither_way_and_is_named_once() -> None:
    """The rule after it is asked; the trouble has the file and the line."""
    rules = load(b"/^X: (a+)+$/ REJECT\n!/^X: (a+)+$/ REJECT\n/./ WARN\n", "header_checks")
    asked = Asked()
    hit = rules.find(b"X: " + b"a" * 40 + b"b", rules.everything, asked)
    assert hit is not None
    assert hit.rule.line == 3
    assert list(asked.troubles) == [
        "header_checks:1: match limit exceeded: counts as no match",
        "header_checks:2: match limit exceeded: counts as no match",
    ]


def test_when_the_time_is_up_a_rule_that_gave_up_is_not_asked_again() -> None:
    """Until then it is, as in Postfix, because the next header may be harmless."""
    rules = load(b"/^X: (a+)+$/ REJECT\n", "t")
    hostile, harmless = b"X: " + b"a" * 40 + b"b", b"X: aaa"
    now = [0.0]
    patient = Asked(lambda: now[0], budget=1.0)
    assert rules.find(hostile, rules.everything, patient) is None
    assert rules.find(harmless, rules.everything, patient) is not None
    now[0] = 2.0
    assert rules.find(hostile, rules.everything, patient) is None
    assert rules.find(harmless, rules.everything, patient) is None


def test_warnings_have_the_file_the_line_and_the_reason() -> None:
    """One for each line that could not be used, in order."""
    rules = load(b"/a/ FROB\n/(/ WARN\n/a/ WARN $1\n!/(a)/ WARN $1\n/b/\n/a/ REDIRECT x\n", "f")
    assert list(rules.warnings) == [
        "f:1: unknown action FROB",
        "f:2: missing closing parenthesis: skipping this rule",
        'f:3: out of range replacement index "1": skipping this rule',
        "f:4: $number found in negative match replacement text: skipping this rule",
        "f:5: no replacement text: every message it matches gets 451 4.3.0",
        'f:6: bad REDIRECT address "x": need user@domain',
    ]


def test_a_table_without_rules_is_no_table() -> None:
    """EMPTY, and a file of comments."""
    assert not EMPTY
    assert not load(b"# nothing\n", "f")
    assert load(b"/a/ WARN\n", "f")


def test_rules_for_other_headers_are_not_asked() -> None:
    """Of a thousand rules for a thousand names one is left."""
    rules = load(b"".join(b"/^X-%d:/ WARN\n" % n for n in range(1000)), "f")
    assert (len(rules.program(b"x-7")), len(rules.program(b"subject"))) == (1, 0)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32))
def test_the_index_never_changes_an_answer(seed: int) -> None:
    """Random tables and headers: the shortened program and the whole table find the same rule and text."""
    random = Random(seed)
    kind = random.choice(["pcre", "regexp"])
    rules = load(table(random, kind, "t"), "t", kind)  # type: ignore[arg-type]
    for _ in range(8):
        subject = header(random, False).replace(b"\r", b"").partition(b"\0")[0]
        label, _, rest = subject.partition(b":")
        subject = label.strip() + b":" + rest
        indexed = rules.find(subject, rules.program(label.strip().lower()), Asked())
        whole = rules.find(subject, rules.everything, Asked(), folded=False)
        assert (whole and (whole.rule.line, whole.text)) == (indexed and (indexed.rule.line, indexed.text))


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=80), st.sampled_from(["pcre", "regexp"]))
def test_any_bytes_are_a_table_that_can_be_asked(text: bytes, subject: bytes, kind: str) -> None:
    """Loading and asking raise nothing."""
    rules = load(text, "t", kind)  # type: ignore[arg-type]
    rules.find(subject.replace(b"\0", b""), rules.everything, Asked())
