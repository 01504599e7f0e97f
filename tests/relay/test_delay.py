"""relay/delay.py: the sender of mail that is late is told, once."""

import email
import email.policy
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import Message as Parsed
from pathlib import Path

import pytest

from backupmx.journal import Journal
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.queue.entry import HopState, NewEntry, State, id_prefix, new_id
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.relay import delay
from backupmx.relay.returns import Returns
from backupmx.relay.settings import RelaySettings
from backupmx.route import transport_map
from backupmx.route.routes import Routes
from tests.queue.samples import HOP, NOW, entry, settled

HOUR = 3600.0
ROUTES = Routes(transport_map.parse(f"example.jp {HOP}\n* smtp:[relay.example.net]\n"))
SETTINGS = RelaySettings("mx2.example.net", delay_warning=4 * HOUR, bounce_rate=0)


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield queue
    await queue.close()


def letter(*addresses: str, notify: str = "", arrived: float = NOW, state: State = State.QUEUED) -> NewEntry:
    new = entry(*addresses, arrived=arrived, vouched=True, state=state)
    return replace(new, recipients=tuple(replace(r, notify=notify) for r in new.recipients))


async def warned(
    queue: SqliteQueue, after: float, settings: RelaySettings = SETTINGS, returns: Returns | None = None
) -> list[str]:
    """-> ids of messages whose sender was told now"""
    log: list[bytes] = []
    await delay.warn(queue, ROUTES, settings, returns or Returns(), Journal(sink=log.append), NOW + after)
    return [line.decode().split(": ")[1] for line in log if b"sender delay notification" in line]


async def notices(queue: SqliteQueue) -> list[Parsed]:
    found = []
    for listed in await queue.waiting():
        message, _ = await queue.message(listed.id) or (None, "")
        if message is not None and not listed.sender:
            raw = b"".join(bytes(chunk) for chunk in message.chunks())
            found.append(email.message_from_bytes(raw, policy=email.policy.default))
    return found


async def test_told_once(queue: SqliteQueue, tmp_path: Path) -> None:
    """Mail never tried, because its next hop rests, is told of after four hours, and not again after a restart."""
    new = letter("anna@example.jp", "berta@example.jp")
    await queue.put(new)
    await queue.set_hop_state(HopState(HOP, False, NOW, "connect to primary1: Connection refused", 9e9, 3))
    assert await warned(queue, 4 * HOUR - 1) == []
    assert await warned(queue, 4 * HOUR + 1) == [new.id]
    (notice,) = await notices(queue)
    assert (notice["To"], notice["Subject"]) == ("sender@example.com", "Delayed Mail (still being retried)")
    whole, *groups = notice.get_payload(1).get_payload()  # type: ignore[union-attr]
    assert whole["Original-Envelope-Id"] == "env+id"
    assert [g["Final-Recipient"] for g in groups] == ["rfc822; anna@example.jp", "rfc822; berta@example.jp"]
    assert {(g["Action"], g["Status"]) for g in groups} == {("delayed", "4.4.1")}
    assert "Connection refused" in groups[0]["Diagnostic-Code"]
    until = email.utils.parsedate_to_datetime(groups[0]["Will-Retry-Until"])
    assert until.timestamp() == NOW + SETTINGS.lifetime
    await queue.close()
    again = await open_queue(f"sqlite:{tmp_path}/queue.db")
    assert await warned(again, 40 * HOUR) == []
    assert await again.check() == []
    await again.close()


@pytest.mark.parametrize(
    ("notify", "told"), [("", 1), ("DELAY", 1), ("failure,delay", 1), ("NEVER", 0), ("SUCCESS,FAILURE", 0)]
)
async def test_who_asked(queue: SqliteQueue, notify: str, told: int) -> None:
    """NOTIFY decides where it was given; the setting where it was not."""
    await queue.put(letter(notify=notify))
    assert len(await warned(queue, 5 * HOUR)) == told


async def test_who_may_not_be_told(queue: SqliteQueue) -> None:
    """Nobody who is not proven, whatever bounce_to says; no null sender; not for our own mail."""
    new = letter()
    await queue.put(replace(new, id=new_id(NOW), vouched=False))
    await queue.put(replace(new, id=new_id(NOW), envelope=Envelope("", (Recipient("anna@example.jp"),))))
    await queue.put(replace(new, id=new_id(NOW), client=None))
    assert await warned(queue, 5 * HOUR, replace(SETTINGS, bounce_to="all")) == []


async def test_off(queue: SqliteQueue) -> None:
    """By default nobody is told, and what waits is looked at when it is switched on."""
    new = letter(notify="DELAY")
    await queue.put(new)
    assert await warned(queue, 90 * HOUR, replace(SETTINGS, delay_warning=0.0)) == []
    assert await warned(queue, 90 * HOUR) == [new.id]


async def test_what_is_no_delay(queue: SqliteQueue) -> None:
    """Delivered, held or in quarantine is not late; paused and deferred is, with the primary's words."""
    gone, held, kept, paused, put_off = (
        letter("anna@example.jp"), letter(state=State.HELD), letter(state=State.DISCARDED),
        letter("anna@example.net"), letter("berta@example.jp"),
    )  # fmt: skip
    for new in (gone, put_off):
        await queue.put(new)
    for claim in await queue.claim(HOP, 9, NOW + 1, 60.0):
        outcome = State.DELIVERED if claim.id == gone.id else State.DEFERRED
        said = settled(claim, outcome, next_attempt=NOW + 9 * HOUR)
        words = "host primary1[192.0.2.9] said: 452 4.2.2 mailbox full"
        await queue.settle(replace(said, outcomes=tuple(replace(o, reason=words) for o in said.outcomes)), NOW + 1)
    for new in (held, kept, paused):
        await queue.put(new)
    await queue.pause("example.net", NOW)
    assert sorted(await warned(queue, 5 * HOUR)) == sorted([paused.id, put_off.id])
    statuses = {g["Status"] for n in await notices(queue) for g in n.get_payload(1).get_payload()[1:]}  # type: ignore
    assert statuses == {"4.2.2", "4.4.1"}


async def test_many(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page at a time, each message once; one sender domain hears no more than bounce_rate an hour."""
    monkeypatch.setattr(delay, "_PAGE", 3)
    new = [letter(arrived=NOW + n) for n in range(10)]
    for one in new:
        await queue.put(one)
    assert await warned(queue, 4 * HOUR + 5) == [one.id for one in new[:5]]
    returns, two = Returns(), replace(SETTINGS, bounce_rate=2)
    assert await warned(queue, 4 * HOUR + 60, two, returns) == [one.id for one in new[5:7]]
    assert await warned(queue, 6 * HOUR, two, returns) == []


async def test_gone_meanwhile(queue: SqliteQueue) -> None:
    """What was delivered between the look and the word is not told of."""
    new = letter()
    await queue.put(new)
    page = await queue.late(NOW + HOUR, 9)
    await queue.change(new.id, "", State.DELETED, now=NOW)
    assert await queue.warned(page.mark, {new.id: entry(id="notice")}) == []
    assert await queue.waiting() == []


def test_the_mark_sorts() -> None:
    """All ids of mail since then are greater, all older ones less: through the digits' carries, too."""
    for time in (NOW, NOW + 0.999999, 52**2 * 52**2 - 1.0, 52**2 * 52**2 * 300.0):
        assert new_id(time - 1) < id_prefix(time) <= new_id(time)
