"""The account of all mail: every recipient that came in waits or has its end, and what is missing is named."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.mail.message import Message
from backupmx.queue.account import PRUNED, Fate, Sheet, total
from backupmx.queue.entry import NewEntry, Settlement, State
from backupmx.queue.ledger import rule_of
from backupmx.queue.quarantine import Quarantine
from backupmx.queue.rows import DAY, day_of
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, entry, outcome, settled

TODAY = day_of(NOW)
YEAR = 365.0 * DAY


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


async def deliver(queue: SqliteQueue, *states: State) -> None:
    """One attempt on the mail that has been due longest; its recipients end so, in order."""
    (claim,) = await queue.claim(HOP, 1, NOW, 60)
    said = tuple(outcome(r.address, state) for r, state in zip(claim.recipients, states, strict=True))
    await queue.settle(Settlement(claim.id, said), NOW + 7)


async def the_sheet(queue: SqliteQueue) -> Sheet:
    (sheet,) = await queue.account()
    return sheet


async def fates(queue: SqliteQueue, word: str) -> list[Fate]:
    return [fate for life in await queue.trace(word) for fate in life.fates]


async def test_in_and_accounted(queue: SqliteQueue) -> None:
    """Every way a recipient can go is in the account, by state."""
    await queue.put(entry("a@example.jp", "b@example.jp", "c@example.jp", "d@example.jp"))
    await deliver(queue, State.DELIVERED, State.BOUNCED, State.EXPIRED, State.REFUSED)
    held = entry(state=State.HELD)
    await queue.put(held)
    await queue.change(held.id, "", State.DELETED, now=NOW, reason="deleted by operator")
    await queue.record(entry(state=State.DISCARDED, reason="header_checks:4: X-Spam-Flag: YES"))
    await queue.put(entry(state=State.DISCARDED))
    sheet = await the_sheet(queue)
    assert (sheet.came, sheet.missing) == (7, 0)
    assert sheet.waiting == {"refused": 1, "discarded": 1}
    assert sheet.ended == {"delivered": 1, "bounced": 1, "expired": 1, "deleted": 1, "discarded": 1}


async def test_by_day_and_domain(queue: SqliteQueue) -> None:
    """Mail is counted on the day it arrived and in its recipient's domain, our own notices apart."""
    await queue.put(entry("a@one.example", "b@TWO.example"))
    await queue.put(entry("a@one.example", arrived=NOW - DAY))
    await queue.put(replace(entry("sender@one.example"), client=None))
    keys = [(s.day - TODAY, s.domain, s.own, s.came) for s in await queue.account()]
    assert keys == [
        (-1, "one.example", False, 1),
        (0, "one.example", False, 1),
        (0, "one.example", True, 1),
        (0, "two.example", False, 1),
    ]
    assert [s.domain for s in await queue.account("Two.Example")] == ["two.example"]
    assert [s.day for s in await queue.account("", TODAY - 1)] == [TODAY - 1]
    assert await queue.check() == []


async def test_one_in_place_of_all(queue: SqliteQueue) -> None:
    """A redirected message counts for each recipient that the client named."""
    await queue.put(entry(many=3))
    await deliver(queue, State.DELIVERED)
    sheet = await the_sheet(queue)
    assert (sheet.came, sheet.ended, sheet.missing) == (3, {"delivered": 3}, 0)


async def test_what_is_missing_is_named(queue: SqliteQueue) -> None:
    """A recipient that went without an end is told with day and domain, by `queue check` too."""
    await queue.put(entry("a@example.jp", "b@example.jp"))
    db = sqlite3.connect(queue.path)
    db.execute("DELETE FROM recipient WHERE n = 1")
    db.commit()
    db.close()
    assert [str(s) for s in await queue.account()] == ["2027-01-15 example.jp: 2 in, 1 accounted: 1 missing"]
    assert await queue.check() == ["2027-01-15 example.jp: 2 in, 1 accounted: 1 missing"]


async def test_too_many(queue: SqliteQueue) -> None:
    """So is one that never came in."""
    await queue.put(entry())
    db = sqlite3.connect(queue.path)
    db.execute("UPDATE account SET recipients = 0")
    db.commit()
    db.close()
    assert str(await the_sheet(queue)) == "2027-01-15 example.jp: 0 in, 1 accounted: 1 too many"


async def test_quarantine_ends(queue: SqliteQueue) -> None:
    """In quarantine mail waits; tidied, discarded mail is discarded by its rule, unreturned mail bounced untold."""
    await queue.put(entry("taken@example.jp", state=State.DISCARDED, reason="header_checks:2: X-Spam-Flag: YES"))
    await queue.put(entry("stuck@example.jp"))
    await deliver(queue, State.UNRETURNED)
    assert (await the_sheet(queue)).waiting == {"discarded": 1, "unreturned": 1}
    await Quarantine(queue).tidy(NOW + 100, keep=50, max_size=1 << 30)
    assert (await the_sheet(queue)).ended == {"discarded": 1, "bounced": 1}
    (taken,) = await fates(queue, "taken@example.jp")
    (stuck,) = await fates(queue, "stuck@example.jp")
    assert (taken.state, taken.reason, taken.ended) == ("discarded", "header_checks:2", NOW + 100)
    assert stuck.reason == "said"
    assert await queue.totals() == []


async def test_out_of_quarantine(queue: SqliteQueue) -> None:
    """Released, it ends as whatever comes of it; deleted, as deleted by an operator."""
    released, deleted = entry(state=State.DISCARDED), entry(state=State.DISCARDED)
    for one in (released, deleted):
        await queue.put(one)
    await Quarantine(queue).release(released.id, now=NOW)
    await Quarantine(queue).delete(deleted.id, now=NOW)
    await deliver(queue, State.DELIVERED)
    assert (await the_sheet(queue)).ended == {"delivered": 1, "deleted": 1}


async def test_only_what_is_in_quarantine(queue: SqliteQueue) -> None:
    """Tidying the quarantine ends no recipient that waits in the queue."""
    new = entry("a@example.jp", "b@example.jp", state=State.DISCARDED)
    await queue.put(new)
    await queue.change(new.id, "b@example.jp", State.QUEUED, now=NOW)
    assert await queue.expel(new.id, NOW) == 1
    assert [r.address for one in await queue.waiting() for r in one.recipients] == ["b@example.jp"]


async def test_dropped(queue: SqliteQueue) -> None:
    """What is dropped at the door is nowhere but in the account, with the rule, when `record` returns."""
    new = replace(
        entry("a@example.jp", "b@example.jp", state=State.DISCARDED, reason="header_checks:4; virus found: Eicar"),
        message=Message((b"Subject: x",), (b"\r\nbody",)),
    )
    await queue.record(new)
    assert (await queue.totals(), await queue.quarantined()) == ([], [])
    (life,) = await queue.trace(new.id)
    assert life.size == new.message.size
    assert [(f.address, f.state, f.reason) for f in life.fates] == [
        ("a@example.jp", "discarded", "header_checks:4"),
        ("b@example.jp", "discarded", "header_checks:4"),
    ]


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("header_checks:2: X-Spam-Flag: YES", "header_checks:2"),
        ("milter_header_checks:12", "milter_header_checks:12"),
        ("body_checks:7; virus found: Eicar", "body_checks:7"),
        ("milter opendkim: discard", "milter opendkim: discard"),
        ("", ""),
    ],
)
def test_rule_of(reason: str, rule: str) -> None:
    """The account names the rule and not what it matched."""
    assert rule_of(reason) == rule


# A message's life


async def test_a_life(queue: SqliteQueue) -> None:
    """What waits and what has ended of one message, in the order of its recipients, with tries and words."""
    new = entry("a@example.jp", "b@example.jp", "c@example.jp")
    await queue.put(new)
    (claim,) = await queue.claim(HOP, 1, NOW, 60)
    said = (
        outcome("a@example.jp"),
        outcome("b@example.jp", State.DEFERRED, next_attempt=NOW + 600, reason="busy"),
        outcome("c@example.jp", State.REFUSED, reason="unknown"),
    )
    await queue.settle(Settlement(claim.id, said), NOW + 7)
    (life,) = await queue.trace(new.id)
    assert (life.id, life.arrived, life.sender, life.message_id, life.own) == (
        new.id, NOW, "sender@example.com", "<m@example.com>", False,
    )  # fmt: skip
    relay = "primary1.example.net[192.0.2.9]:25"
    assert life.fates == (
        Fate("a@example.jp", "delivered", NOW + 7, 1, 0.0, relay, "said", 1),
        Fate("b@example.jp", "deferred", None, 1, NOW + 600, HOP, "busy", 1),
        Fate("c@example.jp", "refused", None, 1, 0.0, HOP, "unknown", 1),
    )


@pytest.mark.parametrize(
    "word", ["<m@example.com>", "m@example.com", "SENDER@example.com", "Anna@Example.JP", "anna@example.jp"]
)
async def test_found_by_any_word(queue: SqliteQueue, word: str) -> None:
    """Message-ID with or without brackets, sender and recipient in any case; waiting or ended, oldest first."""
    late, early = entry(arrived=NOW), entry(arrived=NOW - 50)
    for one in (late, early):
        await queue.put(one)
    assert [life.id for life in await queue.trace(word)] == [early.id, late.id]
    await deliver(queue, State.DELIVERED)
    assert [life.id for life in await queue.trace(word)] == [early.id, late.id]


@pytest.mark.parametrize("word", ["", "%", "nobody@example.jp", "example.jp", "' OR 1", "\ud800"])
async def test_not_found(queue: SqliteQueue, word: str) -> None:
    """A word that is none of these finds nothing."""
    await queue.put(entry())
    assert await queue.trace(word) == []


async def test_at_most_so_many(queue: SqliteQueue) -> None:
    """A word that fits too much tells the oldest."""
    for n in range(4):
        await queue.put(entry(arrived=NOW + n))
    assert [life.arrived for life in await queue.trace("anna@example.jp", 2)] == [NOW, NOW + 1]


# Its age


async def aged(queue: SqliteQueue, *ages: float) -> list[NewEntry]:
    """Mail that arrived and was delivered so long ago."""
    new = [entry(arrived=NOW - age) for age in ages]
    for one in new:
        await queue.put(one)
        (claim,) = await queue.claim(HOP, 1, NOW, 60)
        await queue.settle(settled(claim), one.arrived)
    return new


async def test_old_lines_become_a_number(queue: SqliteQueue) -> None:
    """After ledger.keep a line is only counted, as long as its day has others; then the day goes."""
    await aged(queue, YEAR + 10 * DAY, YEAR + 5, 5.0)
    waits = entry(arrived=NOW - YEAR - 5)
    await queue.put(waits)
    await queue.prune(NOW - YEAR)
    yearly, daily = await queue.account()
    assert (yearly.came, yearly.ended, yearly.waiting, yearly.missing) == (2, {PRUNED: 1}, {"queued": 1}, 0)
    assert (daily.came, daily.ended) == (1, {"delivered": 1})
    assert await queue.check() == []


async def test_pruned_to_the_end(queue: SqliteQueue) -> None:
    """However many lines are old, all of them go, and nothing that is young."""
    for n in range(700):
        await queue.record(entry(arrived=NOW - YEAR - 1 - n % 7))
    young = await aged(queue, 5.0, 6.0)
    await queue.prune(NOW - YEAR)
    assert total(await queue.account(), "ended") in ({"delivered": 2}, {"delivered": 2, PRUNED: 700})
    assert [life.id for life in await queue.trace("anna@example.jp")] == [young[1].id, young[0].id]


async def test_ended_late(queue: SqliteQueue) -> None:
    """What arrived long ago and ended yesterday is kept from yesterday on."""
    await queue.put(entry(arrived=NOW - YEAR - DAY))
    await deliver(queue, State.BOUNCED)
    await queue.prune(NOW - YEAR)
    assert (await the_sheet(queue)).ended == {"bounced": 1}


async def test_redirected_mail_is_found(queue: SqliteQueue) -> None:
    """Who asks what became of mail to an address finds it also when a rule gave it to another; until it is pruned."""
    new = replace(entry("keeper@example.jp", many=2), envelope=entry("Anna@example.jp", "ben@example.jp").envelope)
    await queue.put(new)
    await queue.put(entry("ben@example.jp", arrived=NOW + 1, id="0another"))
    for word in ("anna@example.jp", "keeper@example.jp", new.id):
        assert [life.redirected for life in await queue.trace(word)] == [("Anna@example.jp", "ben@example.jp")]
    assert len(await queue.trace("ben@example.jp")) == 2
    await deliver(queue, State.DELIVERED)
    assert [fate.state for fate in await fates(queue, "anna@example.jp")] == [State.DELIVERED]
    await queue.prune(NOW + YEAR)
    assert await queue.trace("anna@example.jp") == []
