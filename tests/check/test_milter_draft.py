"""What a milter's edits make of a message."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.milter_draft import Draft, Work, draft
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.headers import label
from backupmx.mail.message import Message, Spool
from backupmx.net.milter_answers import (
    AddHeader,
    AddRecipient,
    ChangeHeader,
    ChangeSender,
    DeleteRecipient,
    Edit,
    InsertHeader,
    Quarantine,
    ReplaceBody,
)
from backupmx.net.milter_codec import CHUNK

HEADERS = (b"Received: ours", b"X-Ours: 1", b"Received: theirs", b"Subject: t", b"X-A: one", b"x-a : two")
MESSAGE = Message(HEADERS, (b"\r\n", b"body\r\n"), Spool("/body", 0))
NOBODY = Envelope("", ())
BOTH = (Recipient("u@example.jp"), Recipient("v@example.jp", "NEVER"))


def first() -> Draft:
    return draft(MESSAGE, Envelope("a@sender.test", BOTH), hidden=2, trace=1)


def edited(*edits: Edit, leading_space: bool = False) -> Draft:
    return applied(
        edits, first(), lambda header: header, lambda address: address.lower().endswith("example.jp"), leading_space
    )


def applied(edits: Iterable[Edit], before: Draft, *others: Any) -> Draft:
    work = Work(before, *others)
    for edit in edits:
        work.do(edit)
    return work.done()


def headers(*edits: Edit) -> list[bytes]:
    return list(edited(*edits).message.headers)


def test_ours_are_not_shown() -> None:
    """A milter sees the client's headers: not our Received, not what our own checks added."""
    assert list(first().headers(leading_space=False)) == [
        (b"Received", b"theirs"), (b"Subject", b"t"), (b"X-A", b"one"), (b"x-a ", b"two"),
    ]  # fmt: skip


def test_the_blank_after_the_colon() -> None:
    """One blank is eaten, as sendmail does, unless the milter wants it (SMFIP_HDR_LEADSPC); a tab never is."""
    shown = draft(Message((b"A:  two", b"B:\ttab", b"C:none")), NOBODY, 0, 0)
    assert [value for _, value in shown.headers(leading_space=False)] == [b" two", b"\ttab", b"none"]
    assert [value for _, value in shown.headers(leading_space=True)] == [b"  two", b"\ttab", b"none"]


@pytest.mark.parametrize(
    "body", [(), (b"\r\n",), (b"\r\nshort\r\n",), (b"\r", b"\nshort\r\n"), (b"\r\n", b"x" * 70_000)]
)
def test_the_body_comes_in_frames(body: tuple[bytes, ...]) -> None:
    """Everything after the empty line, in pieces of at most 65,535 octets, none of them empty."""
    chunks = list(draft(Message((), body), NOBODY, 0, 0).chunks())
    assert b"".join(chunks) == b"".join(body)[2:]
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK] * (len(chunks) - 1)
    assert b"" not in chunks


def test_added_headers_go_to_the_end() -> None:
    """In the order in which they are added."""
    assert headers(AddHeader(b"X-N", b"1"), AddHeader(b"X-N", b"2"))[-2:] == [b"X-N: 1", b"X-N: 2"]


@pytest.mark.parametrize(
    ("index", "place"), [(0, 0), (1, 2), (2, 3), (5, 6), (99, 6)]
)  # our own X-Ours stays under our Received and counts for nobody
def test_inserted_headers_count_our_received(index: int, place: int) -> None:
    """Index 0 is above our Received, 1 under it, what is too large is the end: as in Postfix."""
    after = headers(InsertHeader(index, b"X-N", b"1"))
    assert after.index(b"X-N: 1") == place
    assert [header for header in after if header != b"X-N: 1"] == list(HEADERS)


def test_later_insertions_see_earlier_ones() -> None:
    """Two headers inserted at 0 stand in reverse order; one at 1 then stands between them."""
    after = headers(*(InsertHeader(index, b"X-N", value) for index, value in ((0, b"1"), (0, b"2"), (1, b"3"))))
    assert after[:4] == [b"X-N: 2", b"X-N: 3", b"X-N: 1", b"Received: ours"]


def test_what_a_milter_put_on_top_the_next_one_sees() -> None:
    """It is a header like others for later milters, and our Received stays hidden."""
    on_top = edited(InsertHeader(0, b"X-N", b"1"))
    assert [name for name, _ in on_top.headers(leading_space=False)][:2] == [b"X-N", b"Received"]
    again = applied([ChangeHeader(1, b"x-n", b"2")], on_top, lambda header: header, bool)
    assert again.message.headers[:2] == (b"x-n: 2", b"Received: ours")


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (ChangeHeader(1, b"X-A", b"new"), (*HEADERS[:4], b"X-A: new", HEADERS[5])),
        (ChangeHeader(0, b"X-A", b"new"), (*HEADERS[:4], b"X-A: new", HEADERS[5])),
        (ChangeHeader(2, b"X-A", b"new"), (*HEADERS[:5], b"X-A: new")),
        (ChangeHeader(3, b"X-A", b"new"), (*HEADERS, b"X-A: new")),
        (ChangeHeader(1, b"X-A", b""), (*HEADERS[:4], HEADERS[5])),
        (ChangeHeader(3, b"X-A", b""), HEADERS),
        (ChangeHeader(1, b"received", b"new"), (*HEADERS[:2], b"received: new", *HEADERS[3:])),
        (ChangeHeader(1, b"X-Ours", b""), HEADERS),
    ],
)
def test_changes_count_what_is_shown(edit: Edit, after: tuple[bytes, ...]) -> None:
    """By name, the first is 1 (0 means 1); a change to none adds it; ours are out of reach."""
    assert edited(edit).message.headers == after


def test_clamav_s_way_to_replace() -> None:
    """Deleting the copies from the last to the first, then adding, leaves one."""
    after = headers(ChangeHeader(2, b"X-A", b""), ChangeHeader(1, b"X-A", b""), AddHeader(b"X-A", b"mine"))
    assert [header for header in after if label(header) == b"x-a"] == [b"X-A: mine"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"a\n\tb", b"X-N: a\n\tb"), (b"a\r\n b", b"X-N: a\n b"), (b"a\nX-Forged: b", b"X-N: a\n\tX-Forged: b"),
        (b"a\r\rb", b"X-N: a  b"), (b"a\n\nb", b"X-N: a\n\t\n\tb"), (b"a\n", b"X-N: a"), (b"", b"X-N: "),
    ],
)  # fmt: skip
def test_a_value_cannot_become_two_headers(value: bytes, written: bytes) -> None:
    """Line ends in a value are folds; a line that is none is made one."""
    assert headers(AddHeader(b"X-N", value))[-1] == written


def test_with_leading_space_the_value_has_its_own() -> None:
    """SMFIP_HDR_LEADSPC: what stands after the colon is the milter's."""
    assert edited(AddHeader(b"X-N", b"1"), leading_space=True).message.headers[-1] == b"X-N:1"


def test_rules_see_what_is_written() -> None:
    """Added, inserted and changed headers pass milter_header_checks; deletions are shown to nobody."""
    seen: list[bytes] = []

    def show(header: bytes) -> bytes | None:
        seen.append(header)
        return None

    edits = [AddHeader(b"X-N", b"1"), InsertHeader(0, b"X-M", b"2"), ChangeHeader(1, b"X-A", b"3"),
             ChangeHeader(1, b"Subject", b"")]  # fmt: skip
    after = applied(edits, first(), show, bool).message.headers
    assert seen == [b"X-N: 1", b"X-M: 2", b"X-A: 3"]
    assert after == (*HEADERS[:3], *HEADERS[4:])  # IGNORE on a change leaves the old one


def test_a_rule_may_write_something_else() -> None:
    """REPLACE: the rule's text stands where the milter's would."""
    after = applied([ChangeHeader(1, b"X-A", b"3")], first(), lambda header: b"X-Rule: yes", bool)
    assert after.message.headers[4] == b"X-Rule: yes"


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        ([b"new\r\n"], b"new\r\n"), ([b"ne", b"w\r\n"], b"new\r\n"), ([b"new\n"], b"new\r\n"), ([b"new"], b"new\r\n"),
        ([b""], b""), ([b"a\r", b"\nb\r\n"], b"a\r\nb\r\n"),
    ],
)  # fmt: skip
def test_a_new_body(chunks: list[bytes], body: bytes) -> None:
    """All chunks together, with CRLF line ends; the file of the old one is not the new one's."""
    after = edited(*map(ReplaceBody, chunks)).message
    assert b"".join(bytes(piece) for piece in after.body) == b"\r\n" + body
    assert after.spool is None
    assert after.headers == HEADERS


def test_without_a_new_body_the_file_stays() -> None:
    """A message that was spooled to disk is not copied because a header was added."""
    assert edited(AddHeader(b"X-N", b"1")).message.spool == Spool("/body", 0)


def test_recipients_come_and_go() -> None:
    """Added ones must be ours to relay, angle brackets or not; a domain's case is no difference."""
    after = edited(
        AddRecipient(b"<w@example.jp>", b"NOTIFY=NEVER"), AddRecipient(b"x@example.jp"),
        AddRecipient(b"<U@EXAMPLE.JP>"),
        AddRecipient(b"<u@EXAMPLE.jp>"), DeleteRecipient(b"<v@Example.jp>"), DeleteRecipient(b"<nobody@example.jp>"),
    )  # fmt: skip
    assert after.recipients == (
        Recipient("u@example.jp"), Recipient("w@example.jp", "NEVER"), Recipient("x@example.jp"),
        Recipient("U@EXAMPLE.JP"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "path", [b"<spy@elsewhere.test>", b"<>", b"", b"<a@b@example.jp\r\n>", b"\xff@example.jp", b"<a>"]
)
def test_recipients_that_are_not_added(path: bytes) -> None:
    """Outside our domains, or no address at all: left out, and said."""
    after = edited(AddRecipient(path))
    assert after.recipients == BOTH
    assert len(after.remarks) == 1
    assert "not added" in after.remarks[0]


def test_the_sender_changes() -> None:
    """To another address, or to the null one; not to something that is no address."""
    assert edited(ChangeSender(b"<b@sender.test>")).sender == "b@sender.test"
    assert edited(ChangeSender(b"<>")).sender == ""
    kept = edited(ChangeSender(b"<no address>"))
    assert (kept.sender, len(kept.remarks)) == ("a@sender.test", 1)


@pytest.mark.parametrize(("smtputf8", "sender"), [(True, "é@sender.test"), (False, "a@sender.test")])
def test_addresses_are_what_the_client_declared(smtputf8: bool, sender: str) -> None:
    """UTF-8 in an address only where the client declared SMTPUTF8: the primary would not take it otherwise."""
    before = draft(MESSAGE, Envelope("a@sender.test", BOTH, smtputf8=smtputf8), 2, 1)
    assert applied([ChangeSender("<é@sender.test>".encode())], before, lambda header: header, bool).sender == sender


def test_quarantine_has_a_reason() -> None:
    """The first one given, or the word itself."""
    assert edited(Quarantine("virus"), Quarantine("spam")).held == "virus"
    assert edited(Quarantine("")).held == "quarantine"


NAMES = st.sampled_from([b"X-A", b"Received", b"X-N", b"subject"])
VALUES = st.one_of(st.binary(max_size=30), st.text("a\r\n\t :", max_size=12).map(str.encode)).map(
    lambda value: value.replace(b"\0", b"")
)
EDITS = st.lists(
    st.one_of(
        st.builds(AddHeader, NAMES, VALUES),
        st.builds(InsertHeader, st.integers(0, 9), NAMES, VALUES),
        st.builds(ChangeHeader, st.integers(0, 4), NAMES, VALUES),
        st.builds(ReplaceBody, st.binary(max_size=30)),
        st.builds(AddRecipient, st.binary(max_size=30), st.binary(max_size=30)),
        st.builds(DeleteRecipient, st.binary(max_size=30)),
        st.builds(ChangeSender, st.binary(max_size=30)),
        st.builds(Quarantine, st.text(max_size=9)),
    ),
    max_size=12,
)


@given(EDITS)
def test_any_edits_leave_a_message(edits: list[Edit]) -> None:
    """Ours stay together in their order, every header begins with a name and has only folds, the body has CRLF ends."""
    message = edited(*edits).message
    at = message.headers.index(b"Received: ours")
    assert message.headers[at : at + 2] == HEADERS[:2]
    for header in message.headers:
        assert label(header)
        assert all(line[:1] in (b" ", b"\t") for line in header.split(b"\n")[1:])
        assert b"\r" not in header
    body = b"".join(bytes(piece) for piece in message.body)
    assert body.startswith(b"\r\n")
    assert body.count(b"\n") == body.count(b"\r\n") == body.count(b"\r")
    assert body.endswith(b"\r\n")
