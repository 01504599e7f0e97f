"""syntax: how a table file falls into statements."""

from hypothesis import given
from hypothesis import strategies as st

from backupmx.rules.syntax import Statement, statements


def read(text: bytes, kind: str = "pcre") -> tuple[list[Statement], list[tuple[int, str]]]:
    warned: list[tuple[int, str]] = []
    depth = 0
    found = []

    def open_ifs() -> int:
        return depth

    for statement in statements(text, kind, open_ifs, lambda line, message: warned.append((line, message))):  # type: ignore[arg-type]
        depth += {"if": 1, "endif": -1, "rule": 0}[statement.word]
        found.append(statement)
    return found, warned


def test_a_rule_has_its_line_pattern_flags_and_action() -> None:
    """/pattern/flags ACTION text is one rule of its line."""
    (rule,), warned = read(b"# comment\n\n/^X-A: \\/x/im  REJECT no\n")
    assert rule.first is not None
    assert (
        rule.line, rule.word, rule.first.source, rule.first.flags, rule.text, warned,
    ) == (3, "rule", b"^X-A: \\/x", b"im", b"REJECT no", [])  # fmt: skip


def test_a_line_that_begins_with_a_blank_continues_the_one_before() -> None:
    """Comments and empty lines may stand between, the line end goes, the blanks stay."""
    (rule,), _ = read(b"/a/\n# comment\n\n  WARN\n\tmore\n")
    assert (rule.line, rule.text, rule.swallowed) == (1, b"WARN\tmore", (4, 5))


def test_a_rule_inside_an_if_that_is_indented_is_swallowed_and_named() -> None:
    """It is part of the `if` line: the warning says so."""
    found, warned = read(b"if /^X-/\n  /^X-B:/ IGNORE\nendif\n")
    assert [s.word for s in found] == ["if", "endif"]
    assert warned[:1] == [(1, 'ignoring extra text after IF statement: "/^X-B:/ IGNORE"')]


def test_what_cannot_be_used_is_skipped_with_its_line() -> None:
    """An unknown flag, a missing delimiter, a stray endif, a word that is no rule: four warnings, no statement."""
    found, warned = read(b"/a/q WARN\n/a WARN\nendif\nfoo bar\n!\n")
    assert (found, [line for line, _ in warned]) == ([], [1, 2, 3, 4, 5])


def test_negation_toggles_and_blanks_may_stand_around_it() -> None:
    """!! is no negation."""
    found, _ = read(b"!/a/ WARN\n! ! /a/ WARN\n!!!/a/ WARN\n")
    assert [s.first.negated for s in found if s.first] == [True, False, True]


def test_regexp_knows_two_patterns_in_one_rule() -> None:
    """/p1/!/p2/ matches p1 and not p2."""
    (rule,), _ = read(b"/a/i!/b/ WARN\n", "regexp")
    assert rule.second is not None
    assert (rule.second.source, rule.second.negated) == (b"b", True)


def test_a_backslash_at_the_end_closes_a_regexp() -> None:
    """As dict_regexp.c reads it; in a pcre table it does not."""
    (rule,), _ = read(b"/a\\\n", "regexp")
    assert rule.first is not None
    assert (rule.first.source, read(b"/a\\\n")[0]) == (b"a", [])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table(text: bytes) -> None:
    """Whatever stands in the file: statements and warnings with a line, never an exception."""
    _, warned = read(text)
    assert all(1 <= line <= text.count(b"\n") + 1 for line, _ in warned)
