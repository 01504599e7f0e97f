"""Our canonical body against dkimpy's, which is right and slow."""

import hashlib
import itertools
import time

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check import aside
from backupmx.check.dkim_body import after_blank_line, body_hash, canonical

WORDS = st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"b ", b"\r\n\r\n", b" \r\n"])
FORMS = [(False, Simple), (True, Relaxed)]


@pytest.mark.parametrize(("relaxed", "reference"), FORMS)
@given(words=st.lists(WORDS, max_size=30), cuts=st.lists(st.integers(0, 60), max_size=5), piece=st.integers(1, 9))
def test_as_dkimpy(relaxed: bool, reference: type[Simple], words: list[bytes], cuts: list[int], piece: int) -> None:
    """Any body cut anywhere has the canonical form of RFC 6376."""
    body = b"".join(words)
    borders = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in itertools.pairwise(borders)]
    before, aside.PIECE = aside.PIECE, piece
    try:
        assert b"".join(canonical(chunks, relaxed=relaxed)) == reference.canonicalize_body(body)
    finally:
        aside.PIECE = before


@pytest.mark.parametrize(
    "body",
    [b" " * 8_000_000 + b"x\r\n", b"\r\n" * 4_000_000, b" \r\n" * 3_000_000, b"text  text \r\n" * 600_000],
    ids=["blanks", "empty-lines", "blank-lines", "text"],
)
@pytest.mark.parametrize("relaxed", [False, True])
def test_linear(body: bytes, relaxed: bool) -> None:
    """Eight megabytes of anything are hashed in a moment."""
    started = time.process_time()
    body_hash([memoryview(body)], "sha256", relaxed=relaxed)
    assert time.process_time() - started < 3


def test_length() -> None:
    """l= hashes the beginning of the canonical body only."""
    assert body_hash([b"abc\r\ndef\r\n"], "sha256", relaxed=False, length=5) == hashlib.sha256(b"abc\r\n").digest()
    assert body_hash([b"abc\r\n"], "sha256", relaxed=True, length=0) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        ((), []),
        ((b"\r\n",), []),
        ((b"\r", b"\nx"), [b"x"]),
        ((b"\r\nx", b"y"), [b"x", b"y"]),
        ((b"", b"\r\nx"), [b"x"]),
    ],
)
def test_after_blank_line(body: tuple[bytes, ...], rest: list[bytes]) -> None:
    """DKIM's body begins after the empty line."""
    assert after_blank_line(body) == rest


@given(st.lists(st.binary(max_size=20), max_size=5), st.booleans())
def test_any_bytes(chunks: list[bytes], relaxed: bool) -> None:
    """No bytes make it fail."""
    body_hash(chunks, "sha256", relaxed=relaxed)
