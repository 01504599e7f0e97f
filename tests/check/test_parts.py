"""What base64 and quoted-printable hide."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check import parts
from backupmx.check.parts import decoded
from backupmx.check.trouble import Unscannable
from tests.check.messages import MIXED, attached

HEAD = b"H: x\r\n" + MIXED + b"\r\n\r\n"


def test_base64() -> None:
    """An attachment comes out as it went in."""
    assert list(decoded(HEAD + attached(b"\0\1binary" * 100))) == [b"\0\1binary" * 100]


def test_several_and_nested() -> None:
    """Each encoded part is found, at any depth and inside forwarded messages."""
    inner = b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n" + attached(b"two")
    raw = HEAD + attached(b"one") + b"--a\r\n" + inner + attached(b"three")
    assert list(decoded(raw)) == [b"one", b"two", b"three"]


def test_the_message_itself_is_encoded() -> None:
    """A message that is one base64 body, its header folded and in odd case."""
    raw = b"CONTENT-Transfer-Encoding:\r\n\tBASE64\r\nSubject: x\r\n\r\n" + base64.b64encode(b"body")
    assert list(decoded(raw)) == [b"body"]


def test_quoted_printable() -> None:
    """Quoted-printable comes out decoded."""
    head = b"Content-Type: multipart/y; boundary = b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    raw = head + b"caf=C3=A9 =\r\nau lait\r\n--b--"
    assert list(decoded(raw)) == [b"caf\xc3\xa9 au lait"]


@pytest.mark.parametrize(("text", "octets"), [("QUJD", b"ABC"), ("QU-JD!", b"ABC"), ("QUI", b"AB"), ("QUJDR", b"ABC")])
def test_broken_base64(text: str, octets: bytes) -> None:
    """As mail readers take it: other characters are skipped, what is cut off is left out."""
    assert list(decoded(b"content-transfer-encoding: base64\r\n\r\n" + text.encode())) == [octets]


ENCODED = base64.b64encode(b"what nobody is to see")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Content-Transfer-Encoding: (a(b\\)c)) base64 (d)\r\n\r\n", ENCODED),
        (b"Content-Transfer-Encoding : base64\r\n\r\n", ENCODED),
        (b'Content-Transfer-Encoding: "base64"\r\n\r\n', ENCODED),
        (b"Content-Transfer-Encoding:" + b"\r\n " * 500 + b"base64\r\n\r\n", ENCODED),
        (b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n", ENCODED),
        (b"Content-Transfer-Encoding: quoted-printable\r\nContent-Transfer-Encoding: base64\r\n\r\n", ENCODED),
        (b"Content-Transfer-Encoding: base64\r\nX-A: 1\r\n\tfolded\r\n", ENCODED),
        (b"Content-Transfer-Encoding: base64\r\n\r\n", ENCODED[:8] + b"\r\n--\r\n" + ENCODED[8:]),
        (b"Content-Transfer-Encoding: base64\r\n\r\n", ENCODED[:8] + b"\r\n--?!\r\n\r\n" + ENCODED[8:]),
    ],
    ids=["comment", "blank", "quotes", "folds", "twice", "two", "no empty line", "dashes", "no boundary"],
)
def test_what_a_reader_forgives_hides_nothing(fields: bytes, body: bytes) -> None:
    """An odd way to write the encoding, or a line that looks like a boundary, keeps no attachment from being seen."""
    raw = HEAD + b"--b\r\nContent-Type: x/y\r\n" + fields + body + b"\r\n--b--\r\n"
    assert b"what nobody is to see" in list(decoded(raw))


SPLIT = ENCODED[:8] + b"\r\n--?!\r\n\r\n" + ENCODED[8:]
MIXED_B = b"Content-Type: multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    ("head", "before"),
    [
        (b'X-A: boundary="?!"\r\n' + MIXED_B, b""),
        (MIXED_B + b"; boundary=?!", b""),
        (b"Content-Type: multipart/mixed; boundary=?!; boundary=b", b""),
        (MIXED_B + b"\r\nContent-Type: multipart/mixed; boundary=?!", b""),
        (b"Content-Type: multipart/mixed; boundary=?!\r\n" + MIXED_B, b""),
        (b"Content-Type: multipart/mixed (boundary=?!); boundary=b", b""),
        (b'Content-Type: multipart/mixed; x="; boundary=?!"; boundary=b', b""),
        (MIXED_B, b"for MIME readers: boundary=?!\r\n"),
        (MIXED_B, b"--b\r\nContent-Type: text/plain; boundary=?!\r\n\r\ntext\r\n"),
        (MIXED_B, b"--b\r\nContent-Type: multipart/x; boundary=?!\r\n\r\n--?!--\r\n"),
        (MIXED_B, b"--b\r\nContent-Type: multipart/x; boundary=?!\r\n\r\n--?!\r\n\r\nnever closed\r\n"),
        (MIXED_B, b"--b\r\nContent-Type: message/rfc822\r\n\r\nX: boundary=?!\r\n\r\ntext\r\n"),
    ],
    ids=[
        "another field", "two, the first counts", "two, the last counts", "two fields, first", "two fields, last",
        "comment", "quoted", "preamble", "no multipart", "closed", "over", "in a message",
    ],
)  # fmt: skip
def test_a_boundary_that_is_none_hides_nothing(head: bytes, before: bytes) -> None:
    """A line in the middle of an attachment that is a boundary only if some declaration somewhere counts."""
    part = b"--b\r\nContent-Type: x/y\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    raw = b"Subject: x\r\n" + head + b"\r\n\r\n" + before + part + SPLIT + b"\r\n--b--\r\n"
    assert b"what nobody is to see" in list(decoded(raw))


def test_boundaries_are_told_apart_by_case() -> None:
    """As RFC 2046 has it; who does not care for case is the other reading."""
    body = ENCODED[:8] + b"\r\n--?A\r\n\r\n" + ENCODED[8:]
    raw = b"Content-Type: multipart/x; boundary=?a\r\n\r\n--?a\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert next(decoded(raw + body + b"\r\n--?a--")) == b"what n"


def test_a_message_that_is_encoded_as_a_whole() -> None:
    """What is attached to it is seen, in three envelopes; in more it is not."""
    raw = attached(b"what nobody is to see")
    for _ in range(2):
        raw = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(
            b"Subject: x\r\n" + MIXED + b"\r\n\r\n" + raw
        )
    assert b"what nobody is to see" in list(decoded(raw))


def test_an_ordinary_message_is_decoded_once() -> None:
    """The two ways of reading it agree, whatever is nested in it."""
    part = b"Content-Type: x/y\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"
    inner = b"--b\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n--i\r\n" + part % b"MQ==" + b"--i--\r\n"
    raw = MIXED + b"\r\n\r\npreamble\r\n" + inner + b"--b\r\n" + part % b"Mg==" + b"--b--\r\nepilogue\r\n"
    assert list(decoded(raw)) == [b"1", b"2"]


def test_a_message_quoted_as_text_is_decoded_too() -> None:
    """Within another encoded body, once more: up to any line that begins with two dashes."""
    inner = b"Content-Transfer-Encoding: base64\r\n\r\nQUJD\r\n--x\r\n"
    raw = b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHe wrote:\r\n" + inner * 2
    assert list(decoded(raw))[1:] == [b"ABC", b"ABC"]


def test_lines_that_might_be_boundaries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of them are refused, not compared."""
    monkeypatch.setattr(parts, "_MOST_DASHES", 10)
    raw = HEAD + b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"--\r\n" * 11
    with pytest.raises(Unscannable):
        list(decoded(raw))


def test_bombs_are_bounded() -> None:
    """A message of nothing but tiny parts is refused, not chewed."""
    part = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
    assert len(list(decoded(part * parts.MOST))) == parts.MOST
    with pytest.raises(Unscannable):
        list(decoded(part * (parts.MOST + 1)))


def test_many_headers_one_body() -> None:
    """Ten thousand encoding headers over one body decode it once."""
    assert len(list(decoded(b"Content-Transfer-Encoding: base64\r\n" * 10_000 + b"\r\nQUJD\r\n"))) == 1


@given(st.binary(max_size=300), st.sampled_from([b"base64", b"quoted-printable"]))
def test_any_bytes(body: bytes, encoding: bytes) -> None:
    """No bytes make it fail."""
    list(decoded(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body))


@given(
    st.lists(
        st.sampled_from([b"QUJD", b"=41", b"=\r\n", b"\r\n", b" ", b"text", b"=4", b"QQ==", b"x" * 9]), max_size=40
    ),
    st.sampled_from([b"base64", b"quoted-printable"]),
    st.integers(8, 40),
)
def test_pieces_make_no_difference(words: list[bytes], encoding: bytes, piece: int) -> None:
    """A body that is decoded in pieces is what it is when it is decoded at once."""
    raw = b"X: y\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + b"".join(words)
    at_once = list(decoded(raw))
    before, parts.PIECE = parts.PIECE, piece
    try:
        assert list(decoded(raw)) == at_once
    finally:
        parts.PIECE = before


def test_the_border_of_a_piece() -> None:
    """A header that lies across two pieces is found, wherever the border is; so is the first header of all."""
    for blanks in range(0, 400, 7):
        raw = b"x" * (parts.PIECE - 200 + blanks) + b"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
        assert list(decoded(raw)) == [b"ABC"]
    assert list(decoded(b"content-transfer-encoding:\r\n base64\r\n\r\nQUJD")) == [b"ABC"]
