"""anchor: what a pattern's matches must begin with, and only when that is certain."""

import pytest

from backupmx.rules.anchor import name, prefix
from backupmx.rules.pattern import ANCHORED, EXTENDED, MULTILINE


@pytest.mark.parametrize(
    ("source", "flags", "expected"),
    [
        (rb"^X\-Spam\-Flag:\s+YES", MULTILINE, b"x-spam-flag:"),
        (rb"^From:.*<>", 0, b"from:"),
        (rb"\AFrom:", 0, b"from:"),
        (rb"From:", ANCHORED, b"from:"),
        (rb"From:", 0, b""),
        (rb"^X-A:|^X-B:", 0, b""),
        (rb"^X-A:(foo|bar)", 0, b"x-a:"),
        (rb"^X-A: [|]", 0, b"x-a: "),
        (rb"^X-A?: x", 0, b"x-"),
        (rb"^X-A*: x", 0, b"x-"),
        (rb"^X-A{0}: x", 0, b"x-"),
        (rb"^X-A:", EXTENDED, b""),
        (rb"^\QX-A\E:", 0, b""),
        (rb"(*UTF8)^X-A:", 0, b""),
        (rb"^ x", MULTILINE, b""),
        (rb"^(?i)X-A:", 0, b""),
        (rb"^.X-A:", 0, b""),
        (rb"^X-A\d:", 0, b"x-a"),
        (rb"^X-A\|b", 0, b"x-a|b"),
        (rb"^X-A(|b", 0, b"x-a"),
    ],
)
def test_the_prefix_is_certain_or_empty(source: bytes, flags: int, expected: bytes) -> None:
    """Alternation, quantifiers, verbs, \\Q and /x are where certainty ends."""
    assert expected == prefix(source, flags)


def test_a_name_is_only_complete_with_its_colon() -> None:
    """`^X-Spam-` may begin many names."""
    assert (name(b"x-spam-flag: yes"), name(b"x-spam-")) == (b"x-spam-flag", b"")
