"""message: content in its canonical form."""

import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.message import Message, canonical, head_of, pieces, stretch


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r\n", b"a b\r\n"),
        (b"a\r\r\nb", b"a\r\nb"),
        (b"a\r\r", b"a  "),
        (b"\n\r\n\n", b"\r\n\r\n\r\n"),
        (b"", b""),
    ],
)
def test_line_ends_become_crlf_and_a_stray_cr_a_blank(raw: bytes, expected: bytes) -> None:
    """As Postfix's smtpd and cleanup do: every CR before a line end goes with it."""
    assert expected == canonical(raw)


@given(st.binary(max_size=200))
def test_canonical_content_has_no_stray_line_ends(raw: bytes) -> None:
    """And making it canonical once more changes nothing."""
    made = canonical(raw)
    assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
    assert made == canonical(made)


def test_a_message_is_its_headers_and_its_body() -> None:
    """Folds become CRLF; the body brings the empty line."""
    message = Message((b"A: 1\n 2", b"B: 3"), (b"\r\nbody\r\n",))
    assert b"".join(bytes(c) for c in message.chunks()) == b"A: 1\r\n 2\r\nB: 3\r\n\r\nbody\r\n"
    assert len(b"A: 1\r\n 2\r\nB: 3\r\n\r\nbody\r\n") == message.size
    assert (message.values(b"a"), head_of(())) == ([b"1\n 2"], b"")


def test_a_long_stretch_is_a_view_and_a_short_one_bytes() -> None:
    """10 MB are not copied to be looked at."""
    data = bytes(1 << 20)
    assert isinstance(stretch(data, 5, len(data)), memoryview)
    assert stretch(data, 5, 7) == b"\0\0"


def test_pieces(tmp_path: Path) -> None:
    """A large body in pieces is the same body; of a mapped file no piece stays in memory behind the next."""
    octets = bytes(range(256)) * 20_000
    (tmp_path / "body").write_bytes(octets)
    with (tmp_path / "body").open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert b"".join(pieces([b"", b"x", octets, mapped])) == b"x" + octets + octets
    assert max(len(piece) for piece in pieces([octets, mapped])) == 1 << 20
    assert b"".join(pieces([mapped[7:]])) == octets[7:]
