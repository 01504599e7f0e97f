"""The journal: Postfix's line shapes, one counter an event, nothing unprintable."""

import json
import select
import threading
from collections.abc import Callable

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.reply import Reply

CLIENT = Client("192.0.2.1", 2525, "mail.upstream.example", "mail.upstream.example", "ESMTP")


def journal(lines: list[bytes], **settings: object) -> Journal:
    return Journal(sink=lines.append, clock=lambda: 1_000_000.0, host="mx2.example.net", stamped=False, **settings)  # type: ignore[arg-type]


def test_a_refusal_has_postfix_shape() -> None:
    """A refused recipient is one NOQUEUE line, as pflogsumm reads it."""
    lines: list[bytes] = []
    reply = Reply(554, "5.7.1", "<x@other.example>: Relay access denied")
    journal(lines).refused("RCPT", CLIENT, reply, sender="a@b.example", recipient="x@other.example")
    assert lines[0].split(b": ", 1)[1] == (
        b"NOQUEUE: reject: RCPT from mail.upstream.example[192.0.2.1]: 554 5.7.1 <x@other.example>:"
        b" Relay access denied; from=<a@b.example> to=<x@other.example> proto=ESMTP helo=<mail.upstream.example>\n"
    )


def test_a_delivery_has_postfix_shape() -> None:
    """status=sent, with relay, delay and dsn."""
    lines: list[bytes] = []
    journal(lines).delivered("QID", "u@example.jp", "p[127.0.0.1]:25", 0.123, "2.0.0", "250 2.0.0 Ok")
    assert lines[0].split(b": ", 1)[1] == (
        b"QID: to=<u@example.jp>, relay=p[127.0.0.1]:25, delay=0.12, dsn=2.0.0, status=sent (250 2.0.0 Ok)\n"
    )


def test_control_bytes_become_question_marks() -> None:
    """No header, reply or address can write a log line of its own."""
    lines: list[bytes] = []
    envelope = Envelope("a@b.example", (Recipient("u@example.jp"),))
    journal(lines).ruled("QID", "discard", "X: a\nforged line\x1b[2J\udc80", CLIENT, envelope, rule="header_checks:2")
    assert lines[0].count(b"\n") == 1
    assert b"header X: a?forged line?[2J? from mail" in lines[0]
    assert lines[0].endswith(b"[header_checks:2]\n")


def test_a_body_line_is_not_called_a_header() -> None:
    """As Postfix tells them apart, and what a milter added from both."""
    lines: list[bytes] = []
    for where in ("header", "body", "added"):
        journal(lines).ruled("QID", "warn", "foo", CLIENT, Envelope("a@b.example", ()), where=where)
    assert [line.split(b" foo ")[0].split(b"QID: ")[1] for line in lines] == [
        b"warning: header", b"warning: body", b"milter-header-warning: header",
    ]  # fmt: skip


def test_what_repeats_is_told_once_a_minute() -> None:
    """An engine that is away for a thousand messages is one line; the counter knows all of them."""
    lines: list[bytes] = []
    clock = [1000.0]
    told = Journal(sink=lines.append, clock=lambda: clock[0], host="mx2", stamped=False)
    for _ in range(1000):
        told.engine_down("clamd", "connection refused")
    clock[0] += 61
    told.engine_down("clamd", "connection refused")
    assert len(lines) == 2
    assert b"999 times more" in lines[1]
    assert told.counters["engine_down"] == 1001
    clock[0] -= 86400  # a clock that was ahead does not silence it until tomorrow
    told.engine_down("clamd", "connection refused")
    assert len(lines) == 3


def test_json_has_the_same_events() -> None:
    """log.format = "json": one object a line, with the event's fields."""
    lines: list[bytes] = []
    journal(lines, format="json").queued("QID", "a@b.example", 1234, 2)
    event = json.loads(lines[0])
    assert (event["event"], event["queue_id"], event["size"], event["program"]) == ("queued", "QID", 1234, "qmgr")


def test_a_bug_is_told_whole() -> None:
    """A traceback is in the log, a line each."""
    lines: list[bytes] = []
    try:
        raise ValueError("unforeseen")
    except ValueError as error:
        journal(lines).bug("session", error)
    assert lines[0].endswith(b"error: session: ValueError\n")
    assert lines[-1].endswith(b"ValueError: unforeseen\n")


def test_syslog_stamp() -> None:
    """Without systemd a line begins with time and host, as syslog writes them."""
    lines: list[bytes] = []
    Journal(sink=lines.append, clock=lambda: 1_000_000.0, host="mx2.example.net", stamped=True).started("x")
    words = lines[0].split()
    assert words[0] == b"Jan"
    assert words[3] == b"mx2"


def test_a_bug_is_told_whole_in_json_too() -> None:
    """The traceback is not lost where the log is JSON."""
    lines: list[bytes] = []
    Journal(format="json", sink=lines.append).bug("worker 1", ValueError("who would have thought"))
    assert [json.loads(line)["text"] for line in lines][-1] == "ValueError: who would have thought"


def test_an_alarm_stands_until_its_opposite() -> None:
    """What went wrong is known with since when, until the event that says it is whole again."""
    clock = [1000.0]
    told = Journal(sink=lambda line: None, clock=lambda: clock[0])
    told.engine_down("clamd", "refused\x1b[2J")
    told.reload_failed(["header_checks:3: unknown action", "transport.map:1: no next hop"])
    told.died("worker 1", "signal 9", 0.5)
    told.looped("smtp:[192.0.2.1]", "mail for example.jp loops back to myself")
    clock[0] += 60
    told.engine_down("clamd", "timed out")
    assert [(alarm.key, alarm.since, alarm.text) for alarm in told.alarms] == [
        ("engine clamd", 1000.0, "clamd is away: timed out"),
        (
            "reload", 1000.0,
            "reload failed, the old policy stays: header_checks:3: unknown action; transport.map:1: no next hop",
        ),
        ("child worker 1", 1000.0, "worker 1 died: signal 9; another takes its place"),
        (
            "loop smtp:[192.0.2.1]", 1000.0,
            "smtp:[192.0.2.1]: mail for example.jp loops back to myself; mend DNS or transport.map",
        ),
    ]  # fmt: skip
    told.engine_up("clamd")
    told.reloaded("policy read again")
    told.hop_up("smtp:[192.0.2.1]", 60)
    told.clear("child worker 1")
    assert told.alarms == ()


def test_an_alarm_holds_no_control_bytes() -> None:
    """What a peer says cannot move the cursor of who reads `status`."""
    told = Journal(sink=lambda line: None)
    told.engine_down("clamd", "refused\x1b[2J\n\udc80")
    assert [alarm.text for alarm in told.alarms] == ["clamd is away: refused?[2J??"]


def test_queue_trouble_is_over_with_the_next_mail_or_in_time() -> None:
    """A message that is stored or delivered proves that the disk works; where none comes, a quarter of an hour does."""
    clock = [1000.0]
    told = Journal(sink=lambda line: None, clock=lambda: clock[0])
    for mend in (
        lambda: told.queued("QID", "a@b.example", 1, 1),
        lambda: told.delivered("QID", "u@example.jp", "p", 1.0, "2.0.0", "ok"),
        lambda: clock.__setitem__(0, clock[0] + 901),
    ):
        told.queue_trouble("disk on fire")
        assert [alarm.since for alarm in told.alarms] == [clock[0]]
        mend()
        assert told.alarms == ()


def test_what_has_no_line_is_counted() -> None:
    """Accepted mail and rules that say nothing in the log are known to the counters."""
    lines: list[bytes] = []
    told = journal(lines)
    told.judged("QID", "accept", "")
    told.counting("header_checks", 4, "/a/ DUNNO")
    told.counting("header_checks", 5, "/b/ IGNORE")
    told.rule_hit("header_checks", 5, "/b/ IGNORE")
    told.counting("header_checks", 5, "/b/ IGNORE")
    assert lines == []
    assert told.counts == {
        ("backupmx_verdicts_total", "accept"): 1,
        ("backupmx_rule_hits_total", "header_checks", "4", "/a/ DUNNO"): 0,
        ("backupmx_rule_hits_total", "header_checks", "5", "/b/ IGNORE"): 1,
    }


def test_the_lines_of_one_turn_are_one_write() -> None:
    """In a loop lines wait for the end of the turn, in order; at the end of the loop none is left behind."""
    written: list[bytes] = []
    turn: list[Callable[[], None]] = []
    told = journal(written)
    told.gather(turn.append)
    told.removed("ONE")
    told.removed("TWO")
    assert (len(turn), written) == (1, [])
    turn.pop()()
    assert [line.split(b": ", 1)[1] for line in written[0].splitlines()] == [b"ONE: removed", b"TWO: removed"]
    told.removed("THREE")
    told.gather(None)
    told.removed("FOUR")
    assert [each[-16:] for each in written[1:]] == [b" THREE: removed\n", b": FOUR: removed\n"]


def test_a_write_is_no_more_than_a_pipe_takes_whole() -> None:
    """Lines of several processes in one pipe never mix: a write ends with a line, within PIPE_BUF."""
    written: list[bytes] = []
    turn: list[Callable[[], None]] = []
    told = journal(written)
    told.gather(turn.append)
    for _ in range(100):
        told.removed("Q" * 100)
    told.removed("L" * 9000)
    turn.pop()()
    assert all(each.endswith(b"\n") for each in written)
    assert max(map(len, written[:-1])) <= select.PIPE_BUF < len(written[-1])
    assert b"".join(written).count(b"removed") == 101


def test_another_threads_line_goes_at_once() -> None:
    """It does not wait for a turn of a loop that it cannot wake."""
    written: list[bytes] = []
    turn: list[Callable[[], None]] = []
    told = journal(written)
    told.gather(turn.append)
    other = threading.Thread(target=told.removed, args=("QID",))
    other.start()
    other.join()
    assert (len(written), turn) == (1, [])
