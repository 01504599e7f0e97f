"""headers: physical lines to logical headers, as Postfix cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.headers import fields, label, plain_block, records, rendered
from backupmx.mail.message import canonical


def texts(data: bytes, limit: int = 102_400) -> list[bytes]:
    return [field.text for field in fields(data, 0, limit)[0]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"X-A: 1", b"x-a"),
        (b"X-A \t: 1", b"x-a"),
        (b"--b:", b"--b"),
        (b": 1", b""),
        (b"X A: 1", b""),
        (b"X\x7fA: 1", b""),
        (b"X\xe9: 1", b""),
        (b"no colon", b""),
        (b" X: 1", b""),
    ],
)
def test_what_begins_a_header(line: bytes, expected: bytes) -> None:
    """Printable ASCII, then blanks, then a colon."""
    assert expected == label(line)


def test_folds_keep_their_blanks_and_lose_their_cr() -> None:
    """The subject a rule sees."""
    assert texts(b"A: 1\r\n  2\r\n\t3\r\nB \t:4\r\n\r\nbody\r\n") == [b"A: 1\n  2\n\t3", b"B:4"]


def test_nul_ends_the_text_of_its_line() -> None:
    """The next line of the header goes on behind it."""
    assert texts(b"A: 1\0x\r\n 2\0y\r\n") == [b"A: 1\n 2"]


def test_a_block_ends_where_no_header_goes_on() -> None:
    """The line itself is not part of it."""
    found, end = fields(b"A: 1\r\nno header\r\nB: 2\r\n", 0, 1000)
    assert ([f.text for f in found], end, (found[0].start, found[0].end)) == ([b"A: 1"], 6, (0, 6))


def test_the_limit_adds_whole_lines_and_then_forgets() -> None:
    """While the text is shorter a whole line is added, so it may be exceeded by one."""
    block = b"A: " + b"x" * 10 + b"\r\n " + b"y" * 10 + b"\r\n tail\r\n"
    assert texts(block, 14) == [b"A: xxxxxxxxxx\n yyyyyyyyyy"]
    assert texts(block, 13) == [b"A: xxxxxxxxxx"]


def test_the_limit_never_parts_a_name_from_its_colon() -> None:
    """The first record is taken whole: a rule for the name sees the header."""
    assert texts(b"Name: value\r\n folded\r\n", 3) == [b"Name: value"]


@pytest.mark.parametrize(
    ("line", "lengths"),
    [
        (b"x" * 2047, [2047]),
        (b"x" * 2048, [2048, 0]),
        (b"x" * 5000, [2048, 2048, 904]),
        (b"." + b"x" * 2046, [2047, 0]),
        (b"", [0]),
    ],
)
def test_long_lines_come_in_pieces_of_2048_octets_on_the_wire(line: bytes, lengths: list[int]) -> None:
    """A leading dot was stuffed, so its first piece is one shorter."""
    assert lengths == [len(piece) for piece in records(line)]


def test_a_long_header_is_cut_between_lines_if_that_loses_little() -> None:
    """Else inside a line; a line that continues nothing becomes a continuation."""
    assert rendered(b"A: " + b"x" * 90 + b"\n " + b"y" * 20, 100) == b"A: " + b"x" * 90
    assert rendered(b"A: x\n " + b"y" * 20, 11) == b"A: x\n " + b"y" * 5
    assert rendered(b"A: 1\nB: 2", 100) == b"A: 1\n\tB: 2"


_LINES = st.lists(
    st.sampled_from([b"A: 1", b"B:", b" fold", b"\tx", b"C : 2", b"no", b"D\0: 1", b"E: 1\0", b"F: \xff"]), max_size=8
)


@given(_LINES)
def test_the_short_way_says_what_the_long_way_says(lines: list[bytes]) -> None:
    """Where `plain_block` gives an answer at all."""
    block = b"".join(line + b"\r\n" for line in lines)
    if (plain := plain_block(block, 1000)) is not None:
        found, end = fields(block, 0, 1000)
        assert ([f.text for f in found], len(block)) == (plain, end)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_have_a_header_block(raw: bytes, limit: int) -> None:
    """Possibly none; the spans lie one behind the other."""
    data = canonical(raw)
    found, end = fields(data, 0, limit)
    assert end == (found[-1].end if found else 0)
    assert all(one.end == two.start for one, two in pairwise(found))
    for field in found:
        rendered(field.text, limit)
