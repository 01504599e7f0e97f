"""A month at our door in `relay.when_primary_up = "defer"`: no correct sender loses mail, no spam tool brings any."""

import random
from pathlib import Path

import pytest

from backupmx.mail.envelope import Client
from backupmx.route.primaries import Standing
from tests.simulation.world import DAY, SCHEDULES, START, Message, World, outages

DAYS = 30
SEEDS = (1, 2, 3)


def correct(chance: random.Random, *, cut_off: bool = False, every: float = 3600.0) -> list[Message]:
    """From servers with each schedule, one message an hour; each message its own sender and recipient."""
    messages = []
    for number, (name, schedule) in enumerate(SCHEDULES.items()):
        at = START
        while (at := at + chance.expovariate(1 / every)) < START + DAYS * DAY:
            client = Client(f"192.0.{number}.{chance.randrange(1, 255)}", 25)
            sender = f"s{chance.randrange(1000)}@{name}.example" if chance.random() > 0.05 else ""
            recipient = f"u{chance.randrange(50)}@example.jp"
            messages.append(Message(sender, recipient, client, schedule, cut_off, at))
    return messages


def tools(chance: random.Random, many: int) -> list[Message]:
    """Each from anywhere, as anybody, to people who exist; in volleys from one network and one forged domain."""
    messages = []
    for _ in range(many // 20):
        at, network = START + chance.uniform(0, DAYS * DAY), f"198.51.{chance.randrange(256)}"
        domain, to = f"d{chance.randrange(10)}.example", f"u{chance.randrange(50)}@example.jp"
        for number in range(20):
            sender = f"x{chance.randrange(10**6)}@{domain}"
            recipient = to if number % 2 else f"u{chance.randrange(50)}@example.jp"
            client = Client(f"{network}.{chance.randrange(256)}", 25)
            messages.append(Message(sender, recipient, client, None, born=at + number * chance.uniform(0, 120)))
    return messages


def fates(messages: list[Message]) -> dict[str, int]:
    return {fate: sum(message.fate == fate for message in messages) for fate in ("primary", "backup", "lost")}


@pytest.mark.parametrize("seed", SEEDS)
async def test_correct_senders_lose_nothing(tmp_path: Path, seed: int) -> None:
    """Outages of seconds to two days, and a primary that flaps: every message arrives, some through us."""
    chance = random.Random(seed)
    world = World(tmp_path, seed, outages(chance, DAYS))
    messages = world.send(correct(chance))
    await world.run()
    result = fates(messages)
    assert (result["lost"], [str(message.last) for message in messages if message.fate == "lost"]) == (0, [])
    assert result["backup"] > 50
    assert result["primary"] > len(messages) / 2


@pytest.mark.parametrize("seed", SEEDS)
async def test_who_cannot_reach_the_primary(tmp_path: Path, seed: int) -> None:
    """Asymmetric routing for a month: every message arrives through us, most of them at the first try."""
    chance = random.Random(seed)
    world = World(tmp_path, seed, outages(chance, DAYS))
    messages = world.send(correct(chance, cut_off=True))
    await world.run()
    assert fates(messages) == {"primary": 0, "backup": len(messages), "lost": 0}
    assert sum(message.tries == 1 for message in messages) > len(messages) * 0.9


async def test_who_cannot_reach_it_and_writes_seldom(tmp_path: Path) -> None:
    """One message in five days is known by nothing but its own tries."""
    chance = random.Random(7)
    world = World(tmp_path, 7, [])
    messages = world.send(correct(chance, cut_off=True, every=5 * DAY))
    await world.run()
    assert fates(messages)["lost"] == 0
    assert max(message.at - message.born for message in messages) < 13 * 3600.0


@pytest.mark.parametrize("seed", SEEDS)
async def test_spam_tools_bring_nothing(tmp_path: Path, seed: int) -> None:
    """Of twenty thousand messages that aim at the last MX host and are not tried again none is taken."""
    chance = random.Random(seed)
    world = World(tmp_path, seed, [])
    servers = world.send(correct(chance, cut_off=True))
    spam = world.send([message for message in tools(chance, 20_000) if message.born > START + 60])
    await world.run()
    assert fates(spam) == {"primary": 0, "backup": 0, "lost": len(spam)}
    assert fates(servers)["lost"] == 0


@pytest.mark.parametrize("seed", SEEDS)
async def test_spam_tools_in_an_outage(tmp_path: Path, seed: int) -> None:
    """What they bring comes while the primary is not known to be up, and ten minutes after an outage that is over."""
    chance = random.Random(seed)
    away = outages(chance, DAYS)
    world = World(tmp_path, seed, away)
    spam = world.send(tools(chance, 20_000))
    await world.run()
    assert fates(spam)["lost"] > 0
    for message in spam:
        if message.fate == "backup" and message.born > START + 60:
            assert any(one.begins <= message.at <= one.begins + one.lasts + 600 for one in away)


async def test_without_it_they_would(tmp_path: Path) -> None:
    """In `accept` all of them are taken: what the tests above see is the doing of `defer`."""
    chance = random.Random(1)
    world = World(tmp_path, 1, [], mode="accept")
    spam = world.send(tools(chance, 2000))
    await world.run()
    assert fates(spam)["backup"] == len(spam)
    assert world.standing is Standing.UP
