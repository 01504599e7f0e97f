"""What a milter says, understood or refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.reply import Reply
from backupmx.net.milter_answers import (
    REJECTED,
    TRY_AGAIN,
    Accept,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    Continue,
    DeleteRecipient,
    Discard,
    InsertHeader,
    Progress,
    Quarantine,
    Refuse,
    ReplaceBody,
    Skip,
    answer,
)
from backupmx.net.milter_codec import Nonsense

CASES = [
    (b"c", b"", Continue()),
    (b"a", b"", Accept()),
    (b"d", b"", Discard()),
    (b"s", b"", Skip()),
    (b"p", b"", Progress()),
    (b"r", b"", Refuse(REJECTED)),
    (b"t", b"", Refuse(TRY_AGAIN)),
    (b"4", b"", Refuse(TRY_AGAIN)),
    (b"f", b"", Refuse(TRY_AGAIN)),
    (b"y", b"550 5.7.1 not here\0", Refuse(Reply(550, "5.7.1", "not here"))),
    (b"y", b"451 later\0", Refuse(Reply(451, "4.7.1", "later"))),
    (b"y", b"554\0", Refuse(Reply(554, "5.7.1", "Command rejected"))),
    (b"y", b"550-5.7.1 one\r\n550 5.7.1 two\0", Refuse(Reply(550, "5.7.1", "one two"))),
    (b"y", b"550 5.7.1 100%% sure\0", Refuse(Reply(550, "5.7.1", "100% sure"))),
    (b"y", b"421 4.3.2 going down\0", Refuse(Reply(451, "4.3.2", "going down"))),
    (b"y", b"550 4.7.1 disagrees\0", Refuse(Reply(550, "5.7.1", "4.7.1 disagrees"))),
    (b"h", b"X-A\0 one\0", AddHeader(b"X-A", b" one")),
    (b"i", b"\0\0\0\1X-A\0one\0", InsertHeader(1, b"X-A", b"one")),
    (b"m", b"\0\0\0\2X-A\0\0", ChangeHeader(2, b"X-A", b"")),
    (b"b", b"any\0octets", ReplaceBody(b"any\0octets")),
    (b"+", b"<u@example.jp>\0", AddRecipient(b"<u@example.jp>")),
    (b"2", b"<u@example.jp>\0NOTIFY=NEVER\0", AddRecipient(b"<u@example.jp>", b"NOTIFY=NEVER")),
    (b"2", b"<u@example.jp>\0", AddRecipient(b"<u@example.jp>")),
    (b"-", b"<u@example.jp>\0", DeleteRecipient(b"<u@example.jp>")),
    (b"e", b"<>\0", ChangeSender(b"<>")),
    (b"q", b"virus\0", Quarantine("virus")),
]


@pytest.mark.parametrize(("command", "data", "meant"), CASES)
def test_each_answer_is_understood(command: bytes, data: bytes, meant: object) -> None:
    """Every answer of the protocol, as libmilter writes it."""
    assert answer(command, data) == meant


@pytest.mark.parametrize(
    ("command", "data"),
    [
        (b"x", b""), (b"", b""), (b"O", b""), (b"c", b"1"),
        (b"y", b"250 2.0.0 fine\0"), (b"y", b"550 5.7.1 no end"), (b"y", b"\0"), (b"y", b"550-5.7.1 a\r\n451 b\0"),
        (b"h", b"X-A\0"), (b"h", b"X-A\0v"), (b"h", b"X-A\0v\0more\0"), (b"h", b"\0v\0"), (b"h", b"X A\0v\0"),
        (b"h", b"X:A\0v\0"), (b"h", b"X-\xe9\0v\0"), (b"h", b"X\r\nY\0v\0"),
        (b"i", b"\0\0\1"), (b"m", b"\xff\xff\xff\xffX-A\0v\0"),
        (b"+", b"<u@example.jp>"), (b"2", b"<u@example.jp>\0NOTIFY"), (b"e", b""), (b"q", b"virus"),
    ],
)  # fmt: skip
def test_what_is_no_answer(command: bytes, data: bytes) -> None:
    """Unknown, cut short, with something behind it, or a header name that would break the header block."""
    with pytest.raises(Nonsense):
        answer(command, data)


@given(st.binary(min_size=1, max_size=1), st.binary(max_size=300))
def test_any_octets_are_an_answer_or_nonsense(command: bytes, data: bytes) -> None:
    """No frame raises anything else, and no reply is ever a success."""
    try:
        said = answer(command, data)
    except Nonsense:
        return
    if isinstance(said, Refuse):
        assert said.reply.code in range(400, 600)


@given(st.sampled_from([data for command, data, _ in CASES if command != b"b" and data]), st.data())
def test_no_answer_survives_being_cut_or_doubled(data: bytes, draw: st.DataObject) -> None:
    """Strings have exactly one end each: a part of an answer is none."""
    command = next(command for command, whole, _ in CASES if whole == data)
    at = draw.draw(st.integers(0, len(data) - 1))
    if command == b"2" and data[:at].count(b"\0") == 1 and data[:at].endswith(b"\0"):
        return  # an added recipient may have no parameters
    with pytest.raises(Nonsense):
        answer(command, data[:at])
    with pytest.raises(Nonsense):
        answer(command, data + b"\0\0")
