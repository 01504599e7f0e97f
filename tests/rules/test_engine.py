"""engine: content and tables in, message and verdict out."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.mail.message import Content, Spool, canonical
from backupmx.mail.verdict import Fate
from backupmx.rules.engine import Judged, Settings, Tables, judge
from backupmx.rules.table import EMPTY, load

FIRST_USER = b"""\
/^From:\\s*<>/m                  DISCARD
/^X\\-Spam\\-Flag:\\s+YES/m        DISCARD
/^X\\-Spam\\-Level:/m             IGNORE
"""


def whole(result: Judged) -> bytes:
    return b"".join(bytes(chunk) for chunk in result.message.chunks())


def test_a_message_no_rule_touches_leaves_as_it_came() -> None:
    """Byte for byte, its body a slice of the content and still the spooled file."""
    data = b"From: <a@b>\r\nX: \xff\r\n\tfold \r\n\r\nbody\0\r\n.\r\n"
    result = judge(Content(data, Spool("bodies/1")), Tables(load(FIRST_USER, "t")))
    assert (data, Spool("bodies/1", data.index(b"\r\n\r\n") + 2)) == (whole(result), result.message.spool)


def test_our_own_headers_come_first_and_are_asked_too() -> None:
    """`own` says how many of them are left."""
    tables = Tables(load(b"/^Received: from evil/ IGNORE\n/^Received:/ PREPEND X-P: 1\n", "t"))
    one = judge(Content(b"A: 1\r\n\r\n"), tables, own=[b"Received: by us"])
    none = judge(Content(b"A: 1\r\n\r\n"), tables, own=[b"Received: from evil"])
    assert (one.message.headers, one.own) == ((b"X-P: 1", b"Received: by us", b"A: 1"), 2)
    assert (none.message.headers, none.own) == ((b"A: 1",), 0)


def test_bcc_and_its_kin_are_dropped_after_the_rules_saw_them() -> None:
    """A PREPEND before one of them stays."""
    tables = Tables(load(b"/^Bcc:/ PREPEND X-Saw: bcc\n", "t"))
    result = judge(Content(b"Bcc: x\r\nReturn-Path: y\r\nContent-Length: 5\r\nA: 1\r\n\r\n"), tables)
    assert result.message.headers == (b"X-Saw: bcc", b"A: 1")


@pytest.mark.parametrize(
    ("data", "headers", "body"),
    [
        (b"\r\nbody\r\n", (), b"\r\nbody\r\n"),
        (b"hello\r\nA: 1\r\n", (), b"\r\nhello\r\nA: 1\r\n"),
        (b"A: 1\r\nhello\r\n", (b"A: 1",), b"\r\nhello\r\n"),
        (b"A: 1\r\n", (b"A: 1",), b""),
        (b"", (), b""),
        (
            b"From a\r\n>From b\r\nA: 1\r\n\r\n",
            (b"X-Mailbox-Line: From a", b"X-Mailbox-Line: >From b", b"A: 1"),
            b"\r\n",
        ),
        (b" A: 1\r\n\r\n", (), b"\r\n A: 1\r\n\r\n"),
    ],
)
def test_where_the_header_block_ends(data: bytes, headers: tuple[bytes, ...], body: bytes) -> None:
    """An empty line is put where a body follows without one; an mbox line becomes a header."""
    result = judge(Content(data), Tables(load(b"/^Z:/ REJECT\n", "t")))
    assert (headers, body) == (result.message.headers, b"".join(bytes(c) for c in result.message.body))


@pytest.mark.parametrize(("rule", "body"), [(b"/^(.)/ REPLACE $1", b"a\r\n"), (b"/^(.)/ WARN $1", b"a\0b\r\n")])
def test_a_body_line_with_a_nul_that_is_replaced_by_what_a_rule_saw_of_it(rule: bytes, body: bytes) -> None:
    """The rule sees what stands before the NUL; what it writes is the whole line; else all stays."""
    result = judge(Content(b"A: 1\r\n\r\na\0b\r\n"), Tables(body=load(rule + b"\n", "t")))
    assert b"".join(bytes(chunk) for chunk in result.message.body) == b"\r\n" + body


def test_mime_nested_and_body_tables_see_what_is_theirs() -> None:
    """The six MIME names at the top too; the inner message's others go to nested."""
    data = (
        b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\nX-P: 1\r\n"
        b"Content-Type: message/rfc822\r\n\r\nX-N: 1\r\nContent-ID: i\r\n\r\ntext\r\n--b--\r\n"
    )
    rules = [load(b"/^(.{0,12})/ WARN %s $1\n" % name, "t") for name in (b"h", b"m", b"n", b"b")]
    result = judge(Content(data), Tables(*rules))
    assert [d.text for d in result.decisions] == [
        "h Subject: s", "m Content-Type", "b pre", "b --b", "m X-P: 1", "m Content-Type", "n X-N: 1", "m Content-ID: ",
        "b text", "b --b--",
    ]  # fmt: skip
    assert data == whole(result)


def test_a_change_below_copies_nothing_but_the_change() -> None:
    """The stretches before and after it are slices, the file on disk no longer fits."""
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX-P: 1\r\nX-Q: 2\r\n\r\ntext\r\n--b--\r\n"
    result = judge(Content(data, Spool("x")), Tables(mime=load(b"/^X-P:/ IGNORE\n", "t")))
    assert (data.replace(b"X-P: 1\r\n", b""), True, None) == (whole(result), result.body_changed, result.message.spool)


def test_body_checks_stop_at_their_limit_in_each_segment() -> None:
    """51,200 octets of a part, and again in the next."""
    filler = b"0123456789\r\n" * 5000
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + filler + b"found\r\n--b\r\n\r\nfound\r\n"
    result = judge(Content(data), Tables(body=load(b"/^found/ WARN yes\n", "t")))
    assert len(result.decisions) == 1


def test_too_many_hops_only_where_they_are_counted_here() -> None:
    """A header that a rule removes is counted, but not refused for."""
    data = Content(b"Received: x\r\n" * 3 + b"\r\n")
    assert Fate.ACCEPT is judge(data, Tables()).verdict.fate
    assert (
        str(judge(data, Tables(), settings=Settings(hopcount_limit=3)).verdict.reply)
        == "554 5.4.0 Error: too many hops"
    )
    ignore = Tables(load(b"/^Received/ IGNORE\n", "t"))
    assert Fate.ACCEPT is judge(data, ignore, settings=Settings(hopcount_limit=3)).verdict.fate


def test_a_discarded_message_keeps_nothing_but_its_verdict_and_reason() -> None:
    """The first user's own line."""
    result = judge(Content(b"From: <a@b>\r\nX-Spam-Flag: YES\r\n\r\n"), Tables(load(FIRST_USER, "header_checks")))
    assert (result.verdict.fate, result.verdict.reason) == (Fate.DISCARD, "header_checks:2")


def test_ten_megabytes_in_two_hundred_parts_are_not_copied() -> None:
    """What the walk needs beside the message is a fraction of it."""
    part = b"--b\r\nContent-Type: application/octet-stream\r\nX-P: 1\r\n\r\n" + (b"A" * 76 + b"\r\n") * 640
    data = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 200 + b"--b--\r\n"
    tables = Tables(load(FIRST_USER, "t"), load(b"/^X-P: 2/ IGNORE\n", "m"), load(b"/./ DUNNO\n", "n"))
    tracemalloc.start()
    try:
        result = judge(Content(data), tables)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(data) * 0.2
    assert data == whole(result)


@pytest.mark.parametrize(("action", "left"), [("WARN x", 20), ("REPLACE -", 1), ("IGNORE", 0)])
def test_a_rule_that_matches_every_line_costs_a_fraction_of_the_message(action: str, left: int) -> None:
    """New text is gathered, not kept a line each; so many decisions are listed, all are taken, every hit is counted."""
    lines = 100_000
    part = b"\r\n--b\r\n\r\n" + b"0123456789abcdefghi\r\n" * 2000
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * (lines // 2000) + b"\r\n--b--\r\n"
    table = load(f"/^0123/ {action}\n".encode(), "b")
    for content in (Content(data), Content(memoryview(data))):
        tracemalloc.start()
        try:
            result = judge(content, Tables(body=table))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(result.decisions) == 5_000
        assert result.troubles == ("more than 5,000 decisions about one message: the rest is not listed",)
        assert result.hits == {(table, table.rules[0]): lines}
        text = whole(result)
        assert (text.count(b"0123456789abcdefghi\r\n"), text.count(b"-\r\n")) == (
            lines * (left == 20), lines * (left == 1) + text.count(b"--b--\r\n"),
        )  # fmt: skip
        assert peak < 1_000_000 + len(data) * 0.3  # the decisions that are listed, 200 octets each, and what is new


def test_content_may_be_a_view_over_a_file() -> None:
    """Every way through gives the same as with bytes."""
    data = b"From a\r\nA: 1\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX : 1\r\n\r\nfoo\r\n--b--\r\n"
    tables = Tables(
        load(b"/^A:/ IGNORE\n", "t"), load(b"/^X:/ REPLACE Y: 1\n", "m"), EMPTY, load(b"/foo/ REPLACE bar\n", "b")
    )
    assert whole(judge(Content(data), tables)) == whole(judge(Content(memoryview(data)), tables))


_PIECES = st.sampled_from(
    [
        b"A: 1\r\n", b" fold\r\n", b"\r\n", b"--b\r\n", b"--b--\r\n", b"text\r\n", b"X : 1\r\n", b"N\0: 1\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: message/rfc822\r\n", b"From a\r\n",
        b"x" * 2050 + b"\r\n", b".\r\n",
    ]
)  # fmt: skip


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(_PIECES, max_size=14).map(b"".join)), st.binary(max_size=60))
def test_any_bytes_are_judged(raw: bytes, rules: bytes) -> None:
    """Any message, any table: an answer; and without a table the same content below the headers."""
    data = canonical(raw)
    tables = Tables(*[load(rules, "t")] * 5)
    judge(Content(data), tables, settings=Settings(header_size_limit=50, body_checks_size_limit=100))
    untouched = judge(Content(data), Tables())
    assert data.endswith(b"".join(bytes(c) for c in untouched.message.body).removeprefix(b"\r\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"A:\r\n" * 200_000,
        b"A: 1\r\n" + b" \r\n" * 1_000_000,
        b"x" * 100_000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"A:\r\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--\r\n" * 200_000,
        (b"Content-Type: multipart/mixed" + b";" * 90_000 + b"\r\n") * 100 + b"\r\n",
    ],
    ids=["headers", "folds", "no colon", "parts", "part headers", "dashes", "parameters"],
)
@pytest.mark.timeout(20)
def test_a_message_made_to_be_slow_is_looked_at_only_so_far(data: bytes) -> None:
    """What nobody writes is refused or skipped, not walked through for minutes (the test's own limit would tell)."""
    tables = Tables(*[load(b"/^X-A:/ REJECT\n", "t")] * 4)
    verdict = judge(Content(data), tables).verdict
    assert str(verdict.reply) in ("None", "550 5.6.0 Message has too many headers or parts")
