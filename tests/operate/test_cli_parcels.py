"""queue export, queue import: messages leave the queue as files and come back as they were."""

import errno
import json
import os
import smtplib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupmx.queue.entry import QueuedEntry, Settlement, State
from backupmx.queue.sqlite import SqliteQueue
from tests.neighbours.postfix import postfix
from tests.operate.desk import Desk
from tests.queue.samples import HOP, NOW, OTHER, entry, outcome


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Desk:
    """Another machine's queue."""
    (tmp_path / "other").mkdir()
    there = Desk(tmp_path / "other")
    there.put(entry("x@example.jp"))
    there.says("queue", "delete", "--all", "--yes")
    return there


def content(desk: Desk, id: str) -> bytes:
    return desk.says("queue", "export", id).stdout_bytes


def listed(desk: Desk) -> list[QueuedEntry]:
    found: list[QueuedEntry] = []

    async def look(queue: SqliteQueue) -> list[str]:
        found.extend([*await queue.waiting(), *await queue.quarantined()])
        return []

    desk.on_queue(look)
    return found


def some_mail(desk: Desk) -> list[str]:
    """Waiting in all states: one deferred and refused, one held by a rule, one of a rule's next hop, one large, one
    in quarantine."""
    mixed = replace(entry("a@example.jp", "b@example.jp", vouched=True), routes="")
    filtered = entry("f@example.jp", hop=OTHER, fixed=True, many=3, arrived=NOW + 2)
    ids = desk.put(
        mixed,
        entry(state=State.HELD, reason="header_checks:2: HOLD", arrived=NOW + 1),
        filtered,
        entry("l@example.jp", body=b"\r\n" + b"x\r\n" * 200_000, arrived=NOW + 3),
        entry("q@example.jp", state=State.DISCARDED, reason="header_checks:7", arrived=NOW + 4),
    )

    async def attempt(queue: SqliteQueue) -> list[str]:
        (claim,) = await queue.claim(HOP, 1, NOW, 60)
        said = (
            outcome("a@example.jp", State.DEFERRED, next_attempt=NOW + 600, reason="busy"),
            outcome("b@example.jp", State.REFUSED, reason="550 no"),
        )
        await queue.settle(Settlement(claim.id, said), NOW)
        return []

    desk.on_queue(attempt)
    return ids


def test_there_and_back(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """All that waits goes to another machine as files and is there as it was, byte for byte; the deferred is due."""
    ids = some_mail(desk)
    exported = desk.says("queue", "export", "--all", "--to", str(tmp_path / "out"))
    assert (exported.exit_code, exported.stdout) == (0, f"5 messages in {tmp_path / 'out'}\n")
    imported = other.says("queue", "import", str(tmp_path / "out"))
    assert imported.exit_code == 0, imported.stderr
    assert [line.rpartition("/")[2] for line in imported.stdout.splitlines()] == [
        f"{ids[0]}.eml: {ids[0]}: 1 queued, 1 refused",
        f"{ids[1]}.eml: {ids[1]}: 1 held",
        f"{ids[2]}.eml: {ids[2]}: 1 queued",
        f"{ids[3]}.eml: {ids[3]}: 1 queued",
        f"{ids[4]}.eml: {ids[4]}: 1 discarded",
    ]
    assert [content(desk, id) == content(other, id) for id in ids] == [True] * 5

    def said(one: QueuedEntry) -> object:
        same = [(r.address, r.next_hop, r.reason, r.fixed, r.many) for r in one.recipients]
        return one.id, one.arrived, one.sender, one.size, one.message_id, one.reason, one.vouched, same

    assert [said(one) for one in listed(other)] == [said(one) for one in listed(desk)]
    assert other.says("queue", "check").exit_code == 0
    assert other.says("ledger").exit_code == 0


def test_its_envelope(desk: Desk, tmp_path: Path) -> None:
    """The .json says the whole envelope, the recipients' states, the client; its names are public."""
    (id,) = desk.put(entry("a@example.jp"))
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    said = json.loads((tmp_path / "out" / f"{id}.json").read_text())
    assert (said["sender"], said["body"], said["ret"], said["envid"], said["smtputf8"]) == (
        "sender@example.com", "8BITMIME", "HDRS", "env+2Bid", True,
    )  # fmt: skip
    assert said["client"]["address"] == "192.0.2.1"
    (recipient,) = said["recipients"]
    assert recipient == {
        "address": "a@example.jp", "state": "queued", "next_hop": HOP, "reason": "", "attempts": 0,
        "next_attempt": NOW, "notify": "FAILURE", "orcpt": "rfc822;a@example.jp", "fixed": False, "many": 1,
    }  # fmt: skip
    assert [oct(path.stat().st_mode & 0o777) for path in (tmp_path / "out").iterdir()] == ["0o600"] * 2


def test_never_twice(desk: Desk, tmp_path: Path) -> None:
    """What waits is not put a second time; what has left comes back under a new id."""
    (id,) = desk.put(entry())
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    again = desk.says("queue", "import", str(tmp_path / "out" / f"{id}.json"))
    assert (again.exit_code, f"{id} waits here already: nothing done" in again.stdout) == (0, True)
    desk.says("queue", "delete", id)
    back = desk.says("queue", "import", str(tmp_path / "out" / f"{id}.eml"))
    assert (back.exit_code, f", was {id}: 1 queued" in back.stdout) == (0, True)
    (one,) = listed(desk)
    assert one.id != id
    assert len(json.loads(desk.says("trace", "anna@example.jp", "--json").stdout.splitlines()[0])["recipients"]) == 1


def test_an_import_begun_anew(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """What the relay delivered since a first import is not brought again by a second one, but with --again."""
    (id,) = desk.put(entry())
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    assert other.says("queue", "import", str(tmp_path / "out")).exit_code == 0

    async def deliver(queue: SqliteQueue) -> list[str]:
        (claim,) = await queue.claim(HOP, 1, NOW + 9, 60)
        await queue.settle(Settlement(claim.id, (outcome("anna@example.jp"),)), NOW + 1)
        return []

    other.on_queue(deliver)
    again = other.says("queue", "import", str(tmp_path / "out"))
    assert again.stdout.endswith(f"{id} was delivered here (--again brings it once more): nothing done\n")
    assert listed(other) == []
    asked = other.says("queue", "import", "--again", str(tmp_path / "out"))
    assert asked.stdout.endswith(f"{id}r, was {id}: 1 queued\n")
    other.says("queue", "import", "--again", str(tmp_path / "out"))
    assert [one.id for one in listed(other)] == [f"{id}r"]


def test_killed_while_it_imports(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """kill -9 in the middle of an import, then the same again: every message is there, and once."""
    ids = desk.put(*(entry(arrived=NOW + n) for n in range(60)))
    desk.says("queue", "export", "--all", "--to", str(tmp_path / "out"))
    words = [sys.executable, "-m", "backupmx", "queue", "import", str(tmp_path / "out"), "-c", str(other.config)]
    with subprocess.Popen([sys.executable, "-u", *words[1:]], stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    assert 0 < len(listed(other)) <= len(ids)
    assert subprocess.run(words, check=True, capture_output=True).stdout.count(b"\n") == len(ids)
    assert [one.id for one in listed(other)] == ids
    assert other.says("ledger").stdout.startswith("61 in, 61 accounted")


def test_a_deleted_one_comes_back_once(desk: Desk, tmp_path: Path) -> None:
    """What was deleted here comes back with the first import and not again with the second, its delivered recipient
    never."""
    (id,) = desk.put(entry("a@example.jp", "b@example.jp"))

    async def deliver(queue: SqliteQueue) -> list[str]:
        (claim,) = await queue.claim(HOP, 1, NOW + 9, 60)
        outcomes = outcome("a@example.jp"), outcome("b@example.jp", State.DEFERRED, next_attempt=NOW + 600)
        await queue.settle(Settlement(claim.id, outcomes), NOW + 1)
        return []

    desk.on_queue(deliver)
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    desk.says("queue", "delete", id)
    for _ in range(2):
        assert desk.says("queue", "import", str(tmp_path / "out")).exit_code == 0
    assert [(one.id, [r.address for r in one.recipients]) for one in listed(desk)] == [(f"{id}r", ["b@example.jp"])]


def test_another_message_of_the_same_id(desk: Desk, tmp_path: Path) -> None:
    """An id that another mail server used twice stands for two messages: both are taken."""
    desk.put(entry(id="3F2A1B"))
    other = replace(entry(id="3F2A1B", arrived=NOW + 5), message_id="<other@example.com>")
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Desk(tmp_path / "elsewhere")
    elsewhere.put(other)
    elsewhere.says("queue", "export", "3F2A1B", "--to", str(tmp_path / "out"))
    for _ in range(2):
        assert desk.says("queue", "import", str(tmp_path / "out")).exit_code == 0
    assert [one.id for one in listed(desk)] == ["3F2A1B", "3F2A1Br"]


def test_redirected_mail_there_and_back(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """Mail that a rule redirected is found by whom it was for also after export and import."""
    (id,) = desk.put(replace(entry("keeper@example.jp", many=2), envelope=entry("anna@example.jp").envelope))
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / f"{id}.json").read_text())["redirected_from"] == ["anna@example.jp"]
    assert other.says("queue", "import", str(tmp_path / "out")).exit_code == 0
    assert "redirected; it was for anna@example.jp" in other.says("trace", "anna@example.jp").stdout


def test_nothing_is_overwritten(desk: Desk, tmp_path: Path) -> None:
    """A second export into the same directory is refused, and leaves the first as it was."""
    (id,) = desk.put(entry())
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    assert (again.exit_code, "there already, and not overwritten" in again.stderr) == (1, True)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_full_disk(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk nothing half written is left, what was whole stays, and it is said."""
    first, second = desk.put(entry(), entry(arrived=NOW + 1))
    asked: list[int] = []
    real = os.fsync

    def full(file: Any) -> None:
        asked.append(file)
        if len(asked) == 5:  # the folder, then .eml and .json of the first, then the second's
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr("backupmx.operate.cli.queue_export.os.fsync", full)
    result = desk.says("queue", "export", first, second, "--to", str(tmp_path / "out"))
    assert (result.exit_code, f"No space left on device; {second} and what follows" in result.stderr) == (1, True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{first}.eml", f"{first}.json"]


def test_damaged(desk: Desk, tmp_path: Path) -> None:
    """What is left of a damaged message is exported, said to be damaged, and held when it comes back."""
    (id,) = desk.put(entry(body=b"\r\n" + b"x\r\n" * 200_000))
    (body,) = (tmp_path / "state" / "bodies").iterdir()
    body.write_bytes(b"?" + body.read_bytes()[1:])
    result = desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    assert (result.exit_code, f"{id} is damaged: checksum" in result.stderr) == (1, True)
    desk.says("queue", "delete", id)
    assert desk.says("queue", "import", str(tmp_path / "out")).stdout.endswith(": 1 held\n")
    ((recipient,),) = (one.recipients for one in listed(desk))
    assert recipient.reason.startswith("damaged: checksum")


def test_a_message_alone(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """A .eml without a .json wants --from and --to; LF line ends become CRLF, as they would on the wire."""
    (tmp_path / "m.eml").write_bytes(b"Subject: x\nMessage-ID: <one@example.com>\n\nhello\n")
    asked = other.says("queue", "import", str(tmp_path / "m.eml"))
    assert (asked.exit_code, "say who sends it to whom with --from and --to" in asked.stderr) == (1, True)
    words = ("--from", "", "--to", "a@example.jp", "--to", "b@example.jp")
    done = other.says("queue", "import", str(tmp_path / "m.eml"), *words)
    assert (done.exit_code, done.stdout.endswith(": 2 queued\n")) == (0, True)
    (one,) = listed(other)
    assert (one.sender, one.message_id, one.recipients[0].next_hop) == ("", "<one@example.com>", HOP)
    assert content(other, one.id) == b"Subject: x\r\nMessage-ID: <one@example.com>\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"recipients": []}, "no recipient is left to deliver to"),
        ({"sender": "a@b.example>\r\nRCPT TO:<x@example.jp"}, "sender 'a@b.example>"),
        ({"recipients": [{"address": "a b@example.jp"}]}, "bad local part"),
        ({"recipients": [{"address": "a@example.jp", "state": "delivered"}]}, "is delivered: it has its end"),
        ({"recipients": [{"address": "a@example.jp", "state": "lost"}]}, "recipients.0.state: "),
        ({"recipients": [{"address": "a@example.jp", "orcpt": "rfc822;a b"}]}, "notify or orcpt"),
        ({"recipients": [{"address": "a@example.jp"}, {"address": "a@example.jp"}]}, "named twice"),
        ({"envid": "x\r\nQUIT"}, "envid"),
        ({"ret": "ALL"}, "ret is 'ALL', not one of FULL, HDRS"),
        ({"arrival_time": "today"}, "arrival_time: "),
        ({"format": "backupmx queue 9"}, "this version knows 'backupmx queue 1'"),
        ({"sha256": "0"}, "is not what was exported"),
        ({"client": {"address": "192.0.2.1", "port": 25, "helo": "a\nb"}}, "do not print"),
    ],
)
def test_not_what_was_exported(desk: Desk, tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """A .json that was edited badly is refused with its file and what is wrong: nothing of it reaches a primary."""
    (id,) = desk.put(entry())
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    desk.says("queue", "delete", id)
    path = tmp_path / "out" / f"{id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    result = desk.says("queue", "import", str(tmp_path / "out"))
    assert (result.exit_code, result.stderr.startswith(f"backupmx: {path.with_suffix('.eml')}: ")) == (1, True)
    assert sentence in result.stderr
    assert listed(desk) == []


def test_an_id_that_is_a_path(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """An id names a body file: one that is no id is replaced by one of ours."""
    (id,) = desk.put(entry(body=b"\r\n" + b"x\r\n" * 200_000))
    desk.says("queue", "export", id, "--to", str(tmp_path / "out"))
    path = tmp_path / "out" / f"{id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"queue_id": "../../../tmp/evil"}))
    assert ", was ../../../tmp/evil: 1 queued" in other.says("queue", "import", str(tmp_path / "out")).stdout


@pytest.mark.parametrize(
    ("name", "octets", "sentence"),
    [
        ("x.eml", None, "No such file or directory"),
        ("x.json", b"{}", "No such file or directory"),
        ("x.txt", b"hello", "neither a .eml nor the output of `postcat -q ID`"),
        ("x", b"*** ENVELOPE RECORDS deferred/A/A1 ***\nsender: a@b.example\n", "the output was cut"),
        ("x", b"*** ENVELOPE RECORDS \xff ***\n", "the output was cut"),
    ],
)
def test_no_message(desk: Desk, tmp_path: Path, name: str, octets: bytes | None, sentence: str) -> None:
    """A file that holds no message is named with what is wrong, status 1; the others are taken."""
    desk.put(entry())
    if octets is not None:
        (tmp_path / name).write_bytes(octets)
    (tmp_path / "good.eml").write_bytes(b"Subject: x\r\n\r\n")
    words = (str(tmp_path / name), str(tmp_path / "good.eml"))
    result = desk.says("queue", "import", *words, "--from", "", "--to", "a@example.jp")
    assert (result.exit_code, sentence in result.stderr, result.stdout.count(": 1 queued\n")) == (1, True, 1)


@pytest.mark.parametrize("words", [("--all",), ("A", "B"), (), ("A", "--all", "--to", "x")])
def test_which_messages_where(desk: Desk, words: tuple[str, ...]) -> None:
    """Several messages want a directory; nothing named is wrong usage, and so is naming some and all."""
    desk.put(entry())
    assert desk.says("queue", "export", *words).exit_code == 2


@pytest.mark.neighbours
def test_from_postfix(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """What is deferred in a Postfix comes over whole: envelope, DSN words, who is left, and every octet."""
    settings = {"relay_domains": "example.net", "transport_maps": "inline:{{example.net=smtp:[127.0.0.1]:1}}"}
    with postfix(tmp_path / "pf", domains=["example.jp"], settings=settings) as secondary:
        with smtplib.SMTP("127.0.0.1", secondary.port) as smtp:
            smtp.ehlo("client.example")
            smtp.mail("sender@example.com", ["BODY=8BITMIME", "RET=HDRS", "ENVID=abc+2Bd"])
            smtp.rcpt("a@example.net", ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;A+2Ba@example.net"])
            smtp.rcpt("done@example.jp")
            smtp.rcpt("b@example.net")
            smtp.data(SENT)
        deadline = time.monotonic() + 20
        while not (files := [p for p in (secondary.folder / "queue" / "deferred").rglob("*") if p.is_file()]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ran = subprocess.run(
            ["postcat", "-c", str(secondary.folder / "conf"), "-q", files[0].name], capture_output=True, check=True
        )
    (tmp_path / "deferred.postcat").write_bytes(ran.stdout)
    result = other.says("queue", "import", str(tmp_path / "deferred.postcat"))
    assert (result.exit_code, result.stdout.rpartition(": ")[2]) == (0, "2 queued\n")
    (one,) = listed(other)
    assert (one.id, one.sender, [r.address for r in one.recipients]) == (
        files[0].name, "sender@example.com", ["a@example.net", "b@example.net"],
    )  # fmt: skip
    head, _, body = content(other, one.id).partition(b"\r\n\r\n")
    assert body == SENT.partition(b"\r\n\r\n")[2]
    assert b"\r\nSubject: t\xc3\xa9st\r\n\tfolded\r\n" in head
    other.says("queue", "export", one.id, "--to", str(tmp_path / "again"))
    said = json.loads((tmp_path / "again" / f"{one.id}.json").read_text())
    assert (said["ret"], said["envid"], said["body"], said["client"]["helo"]) == (
        "HDRS", "abc+2Bd", "8BITMIME", "client.example",
    )  # fmt: skip
    assert [(r["notify"], r["orcpt"]) for r in said["recipients"]] == [
        ("FAILURE,DELAY", "rfc822;A+2Ba@example.net"),
        ("", "rfc822;b@example.net"),
    ]
    assert abs(said["arrival_time"] - time.time()) < 60


SENT = (
    b"From: x@example.com\r\nSubject: t\xc3\xa9st\r\n\tfolded\r\n\r\nHello\r\n\r\n"
    b"*** HEADER EXTRACTED deferred/0/0000 ***\r\n*** MESSAGE FILE END deferred/0/0000 ***\r\n"
    b"\xff\r\n" + b"z" * 5000 + b"\r\n\r\nlast\r\n"
)
