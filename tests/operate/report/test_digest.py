"""operate/report/digest.py, digest_text.py: once a day, when there is something, what the postmaster should know."""

import email
import email.policy
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backupmx.config import Config, load
from backupmx.journal import Alarm, silent
from backupmx.operate.report import digest, digest_text
from backupmx.operate.report.digest_text import News
from backupmx.queue.entry import HopState, Outage, Settlement, State
from backupmx.queue.refusals import Group, Kind
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.route import transport_map
from backupmx.route.routes import Routes
from tests.operate.desk import Desk
from tests.queue.samples import HOP, entry, outcome

SEVEN = time.mktime((2026, 11, 24, 7, 0, 0, 0, 0, -1))
HOUR, DAY = 3600.0, 86400.0
NOTHING = News(SEVEN - DAY, SEVEN)
REASON = "not returned, nobody vouched for the sender: host p said: 550 no"


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [(-DAY, 0, True), (-DAY, -1, False), (-1, 0, True), (0, 0, False), (0, DAY - 1, False), (1, DAY, True),
     (-3 * DAY, -HOUR, True), (-HOUR, 5 * HOUR, True), (HOUR, 5 * HOUR, False)],
)  # fmt: skip
def test_when(last: float, now: float, due: bool) -> None:
    """At seven, once; later when nobody was there at seven."""
    assert digest.is_due(SEVEN + last, SEVEN + now) is due


def test_nothing_to_tell() -> None:
    """A full quarantine alone is no news."""
    assert not replace(NOTHING, kept=300, octets=10**9).something
    assert replace(NOTHING, alarms=[Alarm("queue", SEVEN, "x")]).something


def test_text() -> None:
    """Alarms, outages added up within the day, refusals by kind; strangers' words are harmless and short."""
    news = replace(
        NOTHING,
        alarms=[Alarm("engine clamd", SEVEN - HOUR, "clamd is away\x1b[2J")],
        outages=[
            Outage(HOP, SEVEN - 2 * DAY, SEVEN - DAY + HOUR, ""), Outage(HOP, SEVEN - 2 * HOUR, None, "refused"),
        ],
        refused=[Group(HOP, Kind.UNKNOWN_USER, 5, SEVEN - HOUR, "x" * 9999), Group(HOP, Kind.CONTENT, 2, SEVEN, "no")],
    )  # fmt: skip
    lines = digest_text.text(news, "mx2.example.net")
    assert "  since 2026-11-24 06:00: clamd is away\\x1b[2J" in lines
    assert f"  {HOP}: down for 3h 0m, 2 times; down since 2026-11-24 05:00: refused" in lines
    assert f"  {HOP} refused 7: 5 × unknown user, 2 × content" in lines
    assert all(line.isprintable() and len(line) < 300 for line in lines)


def test_message() -> None:
    """Seven-bit mail of our own from the null sender, that says in its Subject what it is about."""
    news = replace(NOTHING, refused=[Group(HOP, Kind.CONTENT, 2, SEVEN, "日本")])
    made = digest_text.message(news, "mx2.example.net", "postmaster@example.jp", HOP, "routes")
    assert (made.client, made.envelope.sender, made.recipients[0].next_hop) == (None, "", HOP)
    raw = b"".join(made.message.chunks())
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n")
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert (read["To"], read["Subject"]) == ("postmaster@example.jp", "mx2.example.net: 2 refused")
    assert (read["Auto-Submitted"], read["Message-ID"]) == ("auto-generated", made.message_id)
    assert "refused 2: 2 × content" in read.get_content()
    assert "日本" in read.get_content()


@dataclass
class Morning:
    queue: SqliteQueue
    config: Config
    routes: Routes

    async def tell(self, now: float) -> bool:
        return await digest.tell(self.queue, self.config, self.routes, silent(), now)

    async def texts(self) -> list[str]:
        found = []
        for listed in await self.queue.waiting():
            content = await self.queue.message(listed.id)
            assert content is not None
            raw = b"".join(content[0].chunks())
            found.append(email.message_from_bytes(raw, policy=email.policy.default).get_content())  # type: ignore[attr-defined]
        return found


@pytest.fixture
async def morning(tmp_path: Path) -> AsyncIterator[Morning]:
    desk = Desk(tmp_path)
    queue = await open_queue(desk.store, clock=lambda: SEVEN)
    yield Morning(queue, load(desk.config), Routes(transport_map.parse(f"example.jp {HOP}")))
    await queue.close()


async def unreturned(queue: SqliteQueue, when: float, address: str) -> None:
    await queue.put(entry(address, arrived=when - 30 * DAY))
    (claim,) = await queue.claim(HOP, 1, when, 60.0)
    one = replace(outcome(address, State.UNRETURNED, reason=REASON), next_attempt=when)
    await queue.settle(Settlement(claim.id, (one,)), when)


async def test_once_a_day(morning: Morning) -> None:
    """A new queue waits for its first seven o'clock; what came since is told once, to the postmaster, and accounted."""
    await unreturned(morning.queue, SEVEN - 3 * DAY, "old@example.jp")
    assert not await morning.tell(SEVEN - DAY)
    await unreturned(morning.queue, SEVEN - HOUR, "new@example.jp")
    told = [await morning.tell(SEVEN + after) for after in (-60, 0, 600, 1200, DAY, DAY + 600)]
    assert told == [False, True, False, False, False, False]
    (text,) = await morning.texts()
    assert ("new@example.jp" in text, "old@example.jp" in text) == (True, False)
    assert "1 x not returned, nobody vouched for the sender" in text
    assert "In quarantine: 2 messages" in text
    (listed,) = await morning.queue.waiting()
    assert [(r.address, r.next_hop) for r in listed.recipients] == [("postmaster@example.jp", HOP)]
    assert [sheet.missing for sheet in await morning.queue.account()] == [0] * len(await morning.queue.account())


async def test_over_a_restart(morning: Morning) -> None:
    """Two that look at the same time put one digest; so does one that was started anew."""
    await morning.tell(SEVEN - DAY)
    await unreturned(morning.queue, SEVEN - HOUR, "new@example.jp")
    before = await morning.queue.fact(digest.FACT)
    assert await morning.tell(SEVEN)
    assert not await morning.queue.put_once(digest.FACT, before, "1", entry())
    assert len(await morning.queue.waiting()) == 1


async def test_off(morning: Morning) -> None:
    """relay.digest_to = "off": nobody reads anything; another address reads it instead of the postmaster."""
    await morning.tell(SEVEN - DAY)
    await unreturned(morning.queue, SEVEN - HOUR, "new@example.jp")
    relay = morning.config.relay
    morning.config = morning.config.model_copy(update={"relay": relay.model_copy(update={"digest_to": "off"})})
    assert not await morning.tell(SEVEN)
    await unreturned(morning.queue, SEVEN + HOUR, "newer@example.jp")
    morning.config = morning.config.model_copy(update={"relay": relay.model_copy(update={"digest_to": "x@example.jp"})})
    assert await morning.tell(SEVEN + DAY)
    (listed,) = await morning.queue.waiting()
    assert listed.recipients[0].address == "x@example.jp"


async def test_outages(morning: Morning) -> None:
    """What was down is told when it is up again, with how long; strangers' hosts are not."""
    await morning.tell(SEVEN - DAY)
    up = HopState(HOP, True, 0.0, "", 0.0, 0)
    for state in (
        replace(up, since=SEVEN - 9 * DAY), replace(up, up=False, since=SEVEN - 3 * HOUR, error="gone"),
        replace(up, since=SEVEN - HOUR), replace(up, next_hop="smtp:stranger.example", up=False, since=SEVEN - HOUR),
    ):  # fmt: skip
        await morning.queue.set_hop_state(state)
    assert await morning.tell(SEVEN)
    (text,) = await morning.texts()
    assert f"{HOP}: down for 2h 0m" in text.splitlines()[3]
    assert "stranger" not in text
    assert not await morning.tell(SEVEN + DAY)


async def test_a_clock_that_was_ahead(morning: Morning) -> None:
    """After a clock that was a year ahead the next digest comes tomorrow, not in a year."""
    await morning.tell(SEVEN + 365 * DAY)
    told = [await morning.tell(SEVEN + 2 * HOUR)]
    await unreturned(morning.queue, SEVEN + 3 * HOUR, "new@example.jp")
    assert [*told, await morning.tell(SEVEN + 4 * HOUR), await morning.tell(SEVEN + DAY)] == [False, False, True]
