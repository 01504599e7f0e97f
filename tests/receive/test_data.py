"""Unstuffing: whole, byte by byte and in any pieces, the same content."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.message import canonical
from backupmx.receive.data import Chunks, Unstuffing

PARTS = [b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\0", b"\xff", b"text\r\n"]
BARE_LF = re.compile(rb"(?<!\r)\n")
streams = st.lists(st.sampled_from(PARTS), max_size=20).map(b"".join)


def expected(stream: bytes) -> tuple[bytes, bytes] | None:
    """The rule in one line: find CR LF . CR LF, take dots after CR LF off, make line ends canonical."""
    raw = b"\r\n" + stream
    end = raw.find(b"\r\n.\r\n")
    if end < 0:
        return None
    return canonical(raw[: end + 2].replace(b"\r\n.", b"\r\n"))[2:], raw[end + 5 :]


def actual(chunks: list[bytes]) -> tuple[bytes, bytes] | None:
    unstuffing, content = Unstuffing(), b""
    for n, chunk in enumerate(chunks, 1):
        piece, rest = unstuffing.feed(chunk)
        content += piece
        if rest is not None:
            return content, rest + b"".join(chunks[n:])
    return None


@given(streams)
def test_whole_and_byte_by_byte(stream: bytes) -> None:
    """However many packets a message comes in, it is the same message, and so is what follows it."""
    assert expected(stream) == actual([stream])
    assert expected(stream) == actual([stream[i : i + 1] for i in range(len(stream))])


@given(streams, st.lists(st.integers(0, 200), max_size=10))
def test_any_cut(stream: bytes, cuts: list[int]) -> None:
    """Chunks may end anywhere, also within the end of data."""
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    assert expected(stream) == actual(chunks)


@pytest.mark.parametrize(
    "not_an_end",
    [
        b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\n.\0\r\n",
        b"\r\n\0.\r\n", b"\n\r.\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\0\r\n.\n\r\n",
    ],
)  # fmt: skip
def test_only_crlf_dot_crlf_ends_a_message(not_an_end: bytes) -> None:
    """What other servers take for the end of data is content here (CVE-2023-51764 to -51766)."""
    stream = b"x" + not_an_end + b"MAIL FROM:<a@b.example>\r\n.\r\nQUIT\r\n"
    content, rest = actual([stream]) or (b"", b"")
    assert rest == b"QUIT\r\n"
    assert b"MAIL FROM" in content


@given(streams)
def test_content_is_canonical(stream: bytes) -> None:
    """No bare CR or LF is passed on, and no line of it could end our own DATA when it is stuffed."""
    if result := actual([stream]):
        content = result[0]
        assert canonical(content) == content
        assert b"\r\n.\r\n" not in (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")


def test_ordinary_text_is_not_copied_twice() -> None:
    """A chunk of ordinary lines passes as it came."""
    chunk = b"0123456789\r\n" * 1000
    assert (chunk[:-2], None) == Unstuffing().feed(chunk)


def test_a_run_of_crs_costs_no_memory() -> None:
    """A client that sends CRs for ever makes us hold a few of them, and they become blanks."""
    unstuffing = Unstuffing()
    total = sum(len(unstuffing.feed(b"\r" * 50_000)[0]) for _ in range(20))
    assert total == 1_000_000 - (64 << 10)
    rest = unstuffing.feed(b"x\r\n.\r\n")
    assert rest == (b" " * (64 << 10) + b"x\r\n", b"")


def test_a_line_of_any_length() -> None:
    """Lines of a message have no limit."""
    line = b"x" * 3_000_000
    assert (line + b"\r\n", b"") == actual([line, b"\r\n.\r\n"])


def by_bdat(chunks: list[bytes]) -> bytes:
    content = Chunks()
    return b"".join(content.feed(chunk) for chunk in chunks) + content.end()


def terminated(raw: bytes) -> bytes:
    content = canonical(raw)
    return content if not raw or raw.endswith(b"\n") else content + b"\r\n"


@given(streams, st.lists(st.integers(0, 200), max_size=10))
def test_chunks_of_any_size(stream: bytes, cuts: list[int]) -> None:
    """What BDAT brings is one message however it is cut: dots stay, lines end in CR LF, the last too."""
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    assert terminated(stream) == by_bdat([stream[a:b] for a, b in pairwise(edges)])
    assert terminated(stream) == by_bdat([stream[i : i + 1] for i in range(len(stream))])


@given(st.lists(st.sampled_from([b"x" * 9000, b"\r" * 9000, b"\r\n" * 5000, b"\n", b"\r", b"x" * 20000]), max_size=8))
def test_chunks_that_are_gathered(parts: list[bytes]) -> None:
    """Where the gathering of small chunks ends makes no difference either."""
    stream = b"".join(parts)
    assert terminated(stream) == by_bdat(parts)


def test_small_chunks_are_gathered() -> None:
    """A million chunks of one octet cost the memory of a megabyte."""
    content = Chunks()
    pieces = [piece for _ in range(100_000) if (piece := content.feed(b"x"))]
    assert len(pieces) == 100_000 // (16 << 10)
    assert content.held == 100_000 % (16 << 10)


@given(streams)
def test_strict_notices_bare_lf(stream: bytes) -> None:
    """An LF without its CR is noticed wherever the pieces end, and nothing else is."""
    chunks = Chunks(strict=True)
    for octet in range(len(stream)):
        chunks.feed(stream[octet : octet + 1])
    assert chunks.bare_lf == bool(BARE_LF.search(stream))
    unstuffing, sent, at = Unstuffing(strict=True), stream + b"\r\n.\r\n", 0
    while unstuffing.feed(sent[at : at + 1])[1] is None:
        at += 1
    assert unstuffing.bare_lf == bool(BARE_LF.search(b"\r\n" + sent[: at + 1]))
