"""replay: the engine's answer in words."""

import json

from backupmx.mail.message import Content
from backupmx.rules.engine import DEFAULT, Tables
from backupmx.rules.replay import as_diff, as_json, as_lines, replay, same, sent_headers
from backupmx.rules.table import load

MAIL = Content(b"From: a@b\r\nX-A: 1\r\n 2\r\nBcc: c\r\nSubject: \xff\r\n\r\nbody\r\n")


def tables(rules: bytes, milter: bytes = b"") -> Tables:
    return Tables(load(rules, "t"), milter=load(milter, "m"))


def test_the_json_object_has_every_key_of_the_contract() -> None:
    """Folds as LF, bytes that are no UTF-8 as lone surrogates, and it survives json."""
    answer = as_json("f", replay(MAIL, tables(b"/^X-A:/ WARN seen\n")), ["t:9: bad"])
    assert answer == json.loads(json.dumps(answer))
    assert answer == {
        "file": "f", "action": "accept", "code": 250, "text": "2.0.0 Ok: queued", "redirect_to": None,
        "filter_to": None, "bcc": [], "headers": ["From: a@b", "X-A: 1\n 2", "Subject: \udcff"], "body_changed": False,
        "decisions": [{"table": "t", "line": 1, "action": "WARN", "text": "seen", "header": "X-A: 1\n 2"}],
        "warnings": ["t:9: bad"],
    }  # fmt: skip


def test_nothing_is_left_of_a_message_that_is_not_relayed() -> None:
    """Headers are empty for reject, defer and discard, and kept for hold."""
    gone = [replay(MAIL, tables(b"/^X-A:/ %s\n" % word)) for word in (b"REJECT", b"REJECT 4.0.0 x", b"DISCARD")]
    assert [result.message.headers for result in gone] == [(), (), ()]
    assert len(replay(MAIL, tables(b"/^X-A:/ HOLD\n")).message.headers) == 3


def test_added_headers_come_last_and_are_asked_of_their_own_table() -> None:
    """In order, at the end of the header block."""
    result = replay(MAIL, tables(b"", b"/^Y:/ IGNORE\n"), [b"X: 1", b"Y: 2", b"Z: 3"])
    assert result.message.headers[-2:] == (b"X: 1", b"Z: 3")


def test_added_headers_are_cut_where_a_milter_s_are() -> None:
    """60,000 octets, as in Postfix."""
    assert len(replay(MAIL, tables(b""), [b"X: " + b"y" * 70_000]).message.headers[-1]) == 60_000


def test_where_postfix_asks_no_milter_nothing_is_added() -> None:
    """After PASS and REDIRECT too."""
    for word in (b"PASS", b"REDIRECT r@x"):
        assert len(replay(MAIL, tables(b"/^X-A:/ %s\n" % word), [b"X: 1"]).message.headers) == 3


def test_lines_for_a_person_name_table_line_action_and_header() -> None:
    """Then the verdict; control characters cannot move the cursor."""
    lines = list(as_lines(replay(MAIL, tables(b"/^X-A:/ IGNORE\n/^Subject:/ REDIRECT r@x\n"))))
    assert lines == [
        "t:1: IGNORE: X-A: 1\\n 2",
        "t:2: REDIRECT r@x: Subject: \\xff",
        "redirect: 250 2.0.0 Ok: queued; to r@x only (t:2)",
    ]


def test_diff_shows_the_whole_block_before_and_after() -> None:
    """What went has a minus, what came a plus."""
    result = replay(MAIL, tables(b"/^X-A:/ REPLACE X-B: 3\n"))
    shown = list(as_diff(sent_headers(MAIL, DEFAULT), result))
    assert sorted([" From: a@b", "-X-A: 1", "- 2", "+X-B: 3", "-Bcc: c", " Subject: \\xff"]) == sorted(shown)


def test_two_tables_that_come_to_the_same_are_the_same() -> None:
    """Whichever rule did it."""
    one, two = replay(MAIL, tables(b"/^X-A:/ IGNORE\n")), replay(MAIL, tables(b"/./ DUNNO\n"))
    assert same(one, replay(MAIL, tables(b"#\n/^X-A: 1/ IGNORE\n")))
    assert not same(one, two)
