"""Lines of addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.recipients.source import Fetched, SourceTrouble, read


def test_domains_and_suffixes() -> None:
    """Other domains' addresses are left; a domain as a whole gets no suffix."""
    fetched = read(["l@example.jp", "@example.jp", "x@other.jp"], "f", ("example.jp",), ("-ctl",))
    assert fetched == Fetched(frozenset({"l@example.jp", "l-ctl@example.jp", "@example.jp"}), 1)


def test_a_virtual_alias_map_is_a_list() -> None:
    """Keys count, targets do not."""
    assert read(["list@example.jp  a@example.jp, b@example.jp"], "f").addresses == {"list@example.jp"}


def test_a_virtual_alias_map_of_many_lines() -> None:
    """What continues a line is no key, and the line that makes a domain one of aliases is no address."""
    lines = [
        "example.jp  anything",
        "list@example.jp\ta@x.jp,",
        "\tb@x.jp,",
        "# c",
        "  c@x.jp",
        "other.jp x",
        "y@other.jp z",
    ]
    assert read(lines, "f", ("example.jp",)) == Fetched(frozenset({"list@example.jp"}), 1)
    assert read([" a@example.jp", " b@example.jp", ""], "psql").addresses == {"a@example.jp", "b@example.jp"}
    with pytest.raises(SourceTrouble, match=r"line 1: 'example\.com'"):
        read(["example.com OK", "x@example.jp OK"], "f")


def test_quotes() -> None:
    """A local part in quotes may have blanks; quotes it does not need are taken off."""
    assert read(['"a b"@example.jp OK', '"C"@example.jp'], "f").addresses == {'"a b"@example.jp', "c@example.jp"}


def test_three_wrong_lines_are_enough() -> None:
    """The first three are named."""
    with pytest.raises(SourceTrouble) as caught:
        read(["a", "b@example.jp", "c", "d", "e"], "f")
    assert [word in str(caught.value) for word in ("line 1", "line 3", "line 4", "line 5")] == [True, True, True, False]


@given(st.lists(st.text()))
def test_any_lines(lines: list[str]) -> None:
    """A list or a sentence, whatever the lines are."""
    try:
        fetched = read(lines, "f")
    except SourceTrouble as trouble:
        said = str(trouble)
    else:
        said = "f: line " if all("@" in a and a == a.lower() for a in fetched.addresses) else ""
    assert said.startswith("f: line ")
