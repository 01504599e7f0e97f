"""net/smtp_replies.py: a peer's octets become replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.reply import Reply
from backupmx.net.smtp_replies import Nonsense, Replies, reply

DIALOGUE = b"220 hi\r\n250-one\r\n250-two\r\n250 three\r\n354\r\n421 4.3.2 bye\nrest"


def test_whole_and_byte_by_byte() -> None:
    """Replies are the same however the network cuts them; what is not complete waits."""
    whole = Replies().feed(DIALOGUE)
    replies = Replies()
    pieces = [r for n in range(len(DIALOGUE)) for r in replies.feed(DIALOGUE[n : n + 1])]
    wanted = [(220, [b"hi"]), (250, [b"one", b"two", b"three"]), (354, [b""]), (421, [b"4.3.2 bye"])]
    assert (whole, pieces, replies.inside) == (wanted, wanted, True)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"25 short\r\n",
        b"250_no\r\n",
        b"\r\n",
        b"250 " + b"x" * 5000,
        b"250-x\r\n" * 501,
    ],
)
def test_nonsense(data: bytes) -> None:
    """What is no SMTP, and replies without end, are refused."""
    with pytest.raises(Nonsense):
        Replies().feed(data)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Any bytes are replies or Nonsense."""
    replies = Replies()
    try:
        for chunk in chunks:
            for code, lines in replies.feed(chunk):
                assert 200 <= reply(code, lines).code < 600
    except Nonsense:
        pass


def test_reply_values() -> None:
    """Enhanced codes are read; a code SMTP does not know is temporary; bytes that are not UTF-8 stay apart."""
    assert [reply(550, [b"5.1.1 no", b"5.1.1 such"]), reply(699, [b"?"]), reply(250, [b"\xff"])] == [
        Reply(550, "5.1.1", "no 5.1.1 such"),
        Reply(451, "", "?"),
        Reply(250, "", "\udcff"),
    ]
