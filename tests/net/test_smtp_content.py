"""net/smtp_content.py: a message as it goes on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.message import canonical
from backupmx.net.smtp_content import pieces, whole


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n..\r\n", b"..\r\n...\r\n.\r\n"),
        (b"a\r\n.b\r\n.", b"a\r\n..b\r\n..\r\n.\r\n"),
        (b"a\n.b\r.c\r\n", b"a\r\n..b .c\r\n.\r\n"),
        (b"a\r", b"a \r\n.\r\n"),
    ],
)
def test_dots_and_line_ends(content: bytes, wire: bytes) -> None:
    """Dots are doubled, the end is CRLF.CRLF, a bare CR or LF is never sent."""
    assert whole([content]) == wire
    for size in (1, 2, 3, 100):
        assert b"".join(pieces([content], size)) == wire


PARTS = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"..", b"a", b"\r\n.\r\n"]), max_size=12)


@given(st.lists(PARTS.map(b"".join), max_size=4), st.integers(1, 5))
def test_any_content(chunks: list[bytes], size: int) -> None:
    """However it is cut, a receiver that undoes the dots has the message and no second end before the end."""
    wire = b"".join(pieces([memoryview(chunk) for chunk in chunks], size))
    content = canonical(b"".join(chunks))
    assert wire == whole(chunks)
    assert wire.endswith(b".\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + wire[:-3]
    undone = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in wire[:-3].split(b"\r\n"))
    assert undone in (content, content + b"\r\n")
