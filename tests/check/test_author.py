"""The domains of From:, for DMARC."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.author import ascii_domain, author_domains


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        (b"Alice <a@Example.com>", ("example.com",)),
        (b"a@example.com", ("example.com",)),
        (b'"x, <y@z>" <a@b.example>', ("b.example",)),
        (b'"a@b"@c.example', ("c.example",)),
        (b"a@b.example, D <d@e.example>", ("b.example", "e.example")),
        (b"a@b.example, d@B.example", ("b.example",)),
        (b"Team: a@b.example, D <d@e.example>;", ("b.example", "e.example")),
        (b"a (c@d.example (nested)) @ b.example", ("b.example",)),
        (b"<@r1.example,@r2.example:a@b.example>", ("b.example",)),
        (b"x@y.example <a@b.example>", ("b.example",)),
        (b"<a@b.example> <d@e.example>", ("b.example", "e.example")),
        (b"Alice\n\t<a@b.example>", ("b.example",)),
        ("あ <a@ü.example>".encode(), ("xn--tda.example",)),
        (b"=?utf-8?q?a=40evil=2Eexample?= <a@b.example>", ("b.example",)),
        (b"a@b.example.", ("b.example",)),
        (b"<>", ()),
        (b"undisclosed:;", ()),
        (b"a@[192.0.2.1]", ()),
        (b"a@b_c.example", ("b_c.example",)),
        (b"", ()),
    ],
)
def test_domains(value: bytes, domains: tuple[str, ...]) -> None:
    """What DMARC asks about is what a reader would answer to."""
    assert author_domains([value]) == domains


def test_two_headers() -> None:
    """Two From: headers with two domains are two authors."""
    assert author_domains([b"a@b.example", b"c@d.example"]) == ("b.example", "d.example")


@pytest.mark.parametrize("piece", [b"(", b'"', b"[", b"\\", b"a@", b'"\\', b"(\\", b"<", b",", b"\xff"])
def test_linear(piece: bytes) -> None:
    """No nesting and no unclosed quote costs more than a moment."""
    started = time.process_time()
    author_domains([piece * (65536 // len(piece))])
    assert time.process_time() - started < 2


@given(st.binary(max_size=100))
def test_any_bytes(value: bytes) -> None:
    """Any bytes give domains that are domains, or none."""
    assert [d for d in author_domains([value]) if ascii_domain(d) != d] == []
