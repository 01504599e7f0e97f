"""pattern: PCRE2 as Postfix gives it its options, and what a pattern costs at most."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.rules.pattern import CASELESS, DOTALL, EXTENDED, MULTILINE, NoAnswer, Pattern, PatternTrouble, options


def matches(source: bytes, subject: bytes, letters: bytes = b"") -> bool:
    return Pattern(source, options(letters)).matches(subject)


def test_flags_toggle_what_is_on_to_begin_with() -> None:
    """i and s are on without a flag, and off with it; m and x the other way."""
    assert options(b"") == CASELESS | DOTALL
    assert options(b"i") == DOTALL
    assert options(b"smx") == CASELESS | MULTILINE | EXTENDED
    assert options(b"") == options(b"ii")


@pytest.mark.parametrize(
    "source", [b"(a+)+$", b"(*LIMIT_MATCH=4000000000)(a+)+$", b"(*NO_JIT)(*LIMIT_MATCH=99999999)(a+)+$"]
)
def test_a_runaway_pattern_gives_no_answer_and_cannot_raise_its_limit(source: bytes) -> None:
    """It is given up, whatever limit stands in the rule file."""
    with pytest.raises(NoAnswer, match="match limit exceeded"):
        matches(source, b"a" * 40 + b"b")


def test_a_limit_below_ours_is_kept() -> None:
    """A rule may ask for less."""
    with pytest.raises(NoAnswer):
        matches(b"(*LIMIT_MATCH=2)(?:a|ab)*b$", b"ab" * 5 + b"c" * 5 + b"b")


def test_a_long_header_is_within_the_limit_of_a_linear_pattern() -> None:
    """102,400 octets do not make `.*word` give up."""
    assert matches(b".*viagra", b"Subject: viagra " + b"x" * 102_400)


def test_where_the_compiled_form_has_no_stack_left_the_interpreter_answers() -> None:
    """A pattern that recurses through 50,000 octets still matches, as it does in Postfix."""
    assert matches(b"^(?:(a|b)x?)*z", b"ab" * 25_000 + b"z")


def test_bytes_are_bytes_unless_the_pattern_says_utf() -> None:
    """日 is three dots, É has no small form; (*UTF8) changes that, and then what is no UTF-8 has no answer."""
    assert matches(b"^S: ...$", "S: 日".encode())
    assert not matches("É".encode(), "é".encode())
    assert matches(b"(*UTF8)^S: .$", "S: 日".encode())
    with pytest.raises(NoAnswer):
        matches(b"(*UTF8)^S: .$", b"S: \xff")


@pytest.mark.parametrize(
    ("source", "subject"),
    [
        (rb"\x{41}", b"A"),
        (rb"a\Cb", b"a\nb"),
        (rb"[[:xdigit:]]{4}", b"00fF"),
        (rb"a\Qb.c\E", b"ab.c"),
        (rb"x\hy", b"x\ty"),
    ],
)
def test_what_python_cannot_spell_pcre_can(source: bytes, subject: bytes) -> None:
    """Braced hex, \\C, POSIX classes, \\Q..\\E, \\h."""
    assert matches(source, subject)


def test_a_rule_keeps_the_meaning_it_had_before_the_library_changed() -> None:
    """`{,4}` and `{ 1 }` are text, `{1,4}` and \\x{41} are not."""
    assert matches(rb"^a{,4}$", b"a{,4}")
    assert not matches(rb"^a{,4}$", b"aaa")
    assert matches(rb"^a{ 1 }$", b"a{ 1 }")
    assert matches(rb"^a{1,4}\x{41}\x42$", b"aaaAB")
    assert matches(rb"^[^\x00-\xz]$", b"y")


def test_captures_give_unset_groups_as_empty_text() -> None:
    """An optional group that took no part."""
    assert Pattern(b"a(b)?(c)", 0).captures(b"xac") == (b"ac", b"", b"c")
    assert Pattern(b"a", 0).captures(b"b") is None


@settings(deadline=None)
@given(st.binary(max_size=20).filter(lambda p: b"\0" not in p), st.binary(max_size=60))
def test_any_bytes_are_a_pattern_or_are_refused(source: bytes, subject: bytes) -> None:
    """PatternTrouble when compiling, an answer or NoAnswer when asking; nothing else."""
    try:
        pattern = Pattern(source, options(b""))
    except PatternTrouble:
        return
    try:
        assert pattern.matches(subject) is (pattern.captures(subject) is not None)
    except NoAnswer:
        pass
