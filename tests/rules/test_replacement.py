"""replacement: $1 and its kin in action texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.rules.replacement import BadReplacement, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"plain", b"plain"),
        (b"$$5", b"$5"),
        (b"a$1b", None),
        (b"${1}b", b"ONEb"),
        (b"$(2)/$1", b"TWO/ONE"),
        (b"$1.", b"ONE."),
        (b"$01", b"ONE"),
    ],
)
def test_macros_take_the_groups_of_the_match(text: bytes, expected: bytes | None) -> None:
    """${1}, $(1) and $1 are the first group; letters behind a bare $1 belong to its name, and spoil the rule."""
    if expected is None:
        with pytest.raises(BadReplacement):
            parse(text)
    else:
        assert expected == parse(text).text([b"ALL", b"ONE", b"TWO"])


@pytest.mark.parametrize("text", [b"$", b"$0", b"${0}", b"${1", b"$name", b"${}", b"$1st", b"$999999"])
def test_what_postfix_would_skip_the_rule_for_is_refused(text: bytes) -> None:
    """An empty, a non-numeric, an unclosed macro, and $0."""
    with pytest.raises(BadReplacement):
        parse(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_replacement_or_are_refused(text: bytes) -> None:
    """Nothing but BadReplacement comes out."""
    try:
        parsed = parse(text)
    except BadReplacement:
        return
    assert isinstance(parsed.text([b"x"] * (parsed.highest + 1)), bytes)
