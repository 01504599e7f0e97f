"""queue/refusals.py: the words of primaries become kinds, and kinds become groups."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backupmx.queue.entry import Settlement, State
from backupmx.queue.refusals import Group, Kind, is_named, kind_of, line
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, NOW, OTHER, entry, outcome

P = "host primary1.example.net[2001:db8::5:1] said: "


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (P + "550 5.1.1 <u@example.jp>: Recipient address rejected: User unknown in table", "unknown-user"),
        (P + "550-5.1.1 The account you tried to reach does not exist.\n550 5.1.1 try again", "unknown-user"),
        (P + "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", "unknown-user"),
        (P + "550 No such user here", "unknown-user"),
        (P + "550 Requested action not taken: mailbox unavailable", "unknown-user"),
        (P + "550 5.0.0 <u@example.jp>... User unknown", "unknown-user"),
        (P + "552 5.2.2 over quota", "mailbox"),
        (P + "554 Mailbox is full", "mailbox"),
        (P + "552 5.3.4 Message size exceeds fixed limit", "size"),
        ("message size 2000 exceeds size limit 1000 of server primary1", "size"),
        (P + "554 5.3.0 something broke", "system"),
        (P + "554 5.4.6 Too many hops", "routing"),
        (P + "555 5.5.4 Unsupported option", "protocol"),
        (P + "554 5.6.0 bad MIME", "content"),
        (P + "550 5.7.1 message content rejected", "content"),
        (P + "554 5.7.1 This is spam", "content"),
        (P + "550 5.7.1 Not in this house", "policy"),
        (P + "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "policy"),
        (P + "554 5.7.1 <u@example.jp>: Relay access denied", "policy"),
        (P + "550 5.1.8 <a@nowhere.example>: Sender address rejected", "policy"),
        (P + "554 Transaction failed", "other"),
        ("milter filter: no", "other"),
        ("", "other"),
    ],
)  # fmt: skip
def test_kinds(reason: str, kind: str) -> None:
    """The code where it says something, else the words; what says nothing is `other`."""
    assert kind_of(reason) == kind


@pytest.mark.parametrize(
    ("next_hop", "name", "is_it"),
    [
        ("smtp:[primary1.example.net]:2525", "smtp:[primary1.example.net]:2525", True),
        ("smtp:[primary1.example.net]:2525", "[Primary1.example.net]:2525", True),
        ("smtp:[primary1.example.net]:2525", "primary1.example.net", True),
        ("smtp:example.jp:26", "example.jp", True),
        ("smtp:[2001:db8::1]", "2001:db8::1", True),
        ("smtp:[primary1.example.net]", "primary1", False),
        ("smtp:[primary1.example.net]", "", False),
        ("lmtp:unix:/run/lmtp", "unix:/run/lmtp", True),
    ],
)
def test_names_of_next_hops(next_hop: str, name: str, is_it: bool) -> None:
    """A group is named by the whole next hop, by its place, or by its host."""
    assert is_named(next_hop, name) is is_it


def test_line() -> None:
    """The most frequent kind first."""
    groups = [Group(HOP, Kind.CONTENT, 2, NOW, ""), Group(HOP, Kind.UNKNOWN_USER, 5, NOW, "")]
    assert line(groups) == "refused 7: 5 × unknown user, 2 × content"


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


async def refuse(queue: SqliteQueue, hop: str, words: str, *addresses: str, arrived: float = NOW) -> str:
    new = entry(*addresses, hop=hop, arrived=arrived)
    await queue.put(new)
    (claim,) = await queue.claim(hop, 1, NOW, 60.0)
    outcomes = tuple(outcome(r.address, State.REFUSED, reason=words) for r in claim.recipients)
    await queue.settle(Settlement(claim.id, outcomes), NOW)
    return new.id


async def test_groups(queue: SqliteQueue) -> None:
    """By next hop, the largest kind first, with the age of the oldest and the words about the newest."""
    assert await queue.refusals() == []
    await refuse(queue, HOP, P + "550 5.7.1 spam content", arrived=NOW - 9)
    await refuse(queue, HOP, P + "550 5.1.1 first", "a@example.jp", "b@example.jp", arrived=NOW - 5)
    await refuse(queue, HOP, P + "550 5.1.1 second", arrived=NOW - 4)
    await refuse(queue, OTHER, P + "550 5.1.1 third", arrived=NOW - 3)
    await queue.put(entry())
    assert await queue.refusals() == [
        Group(HOP, Kind.UNKNOWN_USER, 3, NOW - 5, P + "550 5.1.1 second"),
        Group(HOP, Kind.CONTENT, 1, NOW - 9, P + "550 5.7.1 spam content"),
        Group(OTHER, Kind.UNKNOWN_USER, 1, NOW - 3, P + "550 5.1.1 third"),
    ]


async def test_a_page_of_what_is_refused(queue: SqliteQueue) -> None:
    """Only messages with a refused recipient, in order of arrival."""
    await queue.put(entry(arrived=NOW - 10, hop=OTHER))
    ids = [await refuse(queue, HOP, "550 no", arrived=NOW - 5 + n) for n in range(3)]
    (first,) = await queue.refused(limit=1)
    rest = await queue.refused(after=first.id)
    assert [first.id, *(one.id for one in rest)] == ids
