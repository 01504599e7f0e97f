"""ledger, trace: the account of all mail, and what became of a message."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.config import load
from backupmx.journal import Journal
from backupmx.operate.serve.courier import sum_and_sweep
from backupmx.queue.entry import Settlement, State
from backupmx.queue.sqlite import SqliteQueue
from tests.operate.desk import Desk
from tests.queue.samples import HOP, NOW, entry, outcome


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def some_mail(desk: Desk) -> str:
    """One message of which a is delivered, b deferred; one in quarantine.  -> the first's id"""
    first, _ = desk.put(
        entry("a@example.jp", "b@example.jp"),
        entry("c@example.net", state=State.DISCARDED, reason="header_checks:2: X", arrived=NOW + 1),
    )

    async def attempt(queue: SqliteQueue) -> list[str]:
        (claim,) = await queue.claim(HOP, 1, NOW, 60)
        said = (outcome("a@example.jp"), outcome("b@example.jp", State.DEFERRED, next_attempt=NOW + 1e9))
        await queue.settle(Settlement(claim.id, said), NOW + 7)
        return []

    desk.on_queue(attempt)
    return first


def test_all_accounted(desk: Desk) -> None:
    """So many in, so many accounted, split by where they are; status 0."""
    some_mail(desk)
    result = desk.says("ledger")
    assert (result.exit_code, result.stdout) == (
        0,
        "3 in, 3 accounted\n  1 waiting: 1 deferred\n  1 in quarantine: 1 discarded\n  1 ended: 1 delivered\n",
    )
    (one,) = [json.loads(line) for line in desk.says("ledger", "--domain", "Example.JP", "--json").stdout.splitlines()]
    assert one == {
        "day": "2027-01-15", "domain": "example.jp", "own_notices": False, "in": 2, "accounted": 2, "missing": 0,
        "waiting": {"deferred": 1}, "ended": {"delivered": 1},
    }  # fmt: skip


def test_of_a_day(desk: Desk) -> None:
    """--day takes a date; a day without mail is no fault, a word that is no date is wrong usage."""
    some_mail(desk)
    assert desk.says("ledger", "--day", "2027-01-15").stdout.startswith("3 in, 3 accounted\n")
    nothing = desk.says("ledger", "--day", "today", "--domain", "example.jp")
    assert (nothing.exit_code, nothing.stdout) == (0, "0 in, 0 accounted\n")
    wrong = desk.says("ledger", "--day", "15.1.2027")
    assert (wrong.exit_code, "write 2026-11-24, today or yesterday" in wrong.stderr) == (2, True)


def test_a_domain_without_mail(desk: Desk) -> None:
    """Of a domain that never had mail nothing can be said: status 1."""
    some_mail(desk)
    result = desk.says("ledger", "--domain", "elsewhere.example")
    assert (result.exit_code, result.stderr) == (1, "backupmx: no mail for elsewhere.example in the account\n")


def lose(desk: Desk) -> None:
    db = sqlite3.connect(desk.store.partition(":")[2])
    db.execute("DELETE FROM recipient WHERE address = 'b@example.jp'")
    db.commit()
    db.close()


def test_something_is_missing(desk: Desk) -> None:
    """What was accepted and is nowhere is named: status 1, in `queue check` as well."""
    some_mail(desk)
    lose(desk)
    result = desk.says("ledger")
    assert (result.exit_code, result.stdout.splitlines()[0], result.stdout.splitlines()[-1]) == (
        1, "3 in, 2 accounted", "MISSING  2027-01-15 example.jp: 2 in, 1 accounted: 1 missing",
    )  # fmt: skip
    assert desk.says("queue", "check").exit_code == 1


def test_said_at_each_start(desk: Desk) -> None:
    """The relay does the sum when it starts; what is missing is an error in the log."""
    some_mail(desk)
    lose(desk)
    log: list[bytes] = []

    async def start(queue: SqliteQueue) -> list[str]:
        await sum_and_sweep(queue, load(desk.config), Journal(sink=log.append, stamped=False))
        return []

    desk.on_queue(start)
    (line,) = log
    assert line.endswith(b": error: account: 2027-01-15 example.jp: 2 in, 1 accounted: 1 missing\n")


def test_trace(desk: Desk) -> None:
    """A message's life: who, when, and what became of each recipient."""
    id = some_mail(desk)
    head, delivered, deferred = desk.says("trace", "a@example.jp").stdout.splitlines()
    assert head.startswith(f"{id}  ")
    assert head.endswith("from sender@example.com  <m@example.com>")
    assert delivered.startswith("    a@example.jp  delivered ")
    assert delivered.endswith(" via primary1.example.net[192.0.2.9]:25, 1 try (said)")
    assert deferred.startswith(f"    b@example.jp  waits: deferred via {HOP}, 1 try, next try in ")
    (kept,) = [json.loads(line) for line in desk.says("trace", "c@example.net", "--json").stdout.splitlines()]
    assert kept["recipients"] == [
        {
            "address": "c@example.net", "state": "discarded", "waiting": True, "ended": None, "attempts": 0,
            "next_attempt": 0, "relay": HOP, "reason": "header_checks:2: X", "stands_for": 1,
        }
    ]  # fmt: skip


def test_nothing_known(desk: Desk) -> None:
    """A word that fits no message: said, status 1; its control characters stay off the terminal."""
    some_mail(desk)
    result = desk.says("trace", "nobody\x9b31m")
    assert (result.exit_code, result.stderr) == (1, "backupmx: nothing known of nobody\\x9b31m\n")


def test_trace_behind_a_redirect(desk: Desk) -> None:
    """`trace` by the address that the sender wrote to says whom a rule gave the mail to."""
    desk.put(replace(entry("keeper@example.jp"), envelope=entry("anna@example.jp").envelope))
    _, redirected, waits = desk.says("trace", "anna@example.jp").stdout.splitlines()
    assert redirected == "    redirected; it was for anna@example.jp"
    assert waits.startswith("    keeper@example.jp  waits: queued")
    (line,) = desk.says("trace", "anna@example.jp", "--json").stdout.splitlines()
    assert json.loads(line)["redirected_from"] == ["anna@example.jp"]
