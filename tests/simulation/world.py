"""world: a month of mail in seconds: senders, spam tools, a primary with its outages, our door; no sockets, no clock.

The door is the real one: Admission, PrimaryUp, Recipients, TurnedAway over a real recipients.db; so is what the
relay makes of what it sees of the primary (relay.health).  Made up are the primary, the routes between the
parties, and the senders.

    the primary   up or not, as `outages` say; a sender in `cut_off` cannot reach it at all
    the relay     looks when Health says, and once a minute while it is up
    a worker      knows what the relay knew two seconds ago
    a sender      tries the primary, then us; on 4xx again, as its own schedule says, for five days
    a tool        tries us alone, once
"""

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backupmx.journal import silent
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.operate.report.outlook import read
from backupmx.queue.entry import HopState
from backupmx.receive.admit import Admission
from backupmx.receive.primary_up import PrimaryUp
from backupmx.recipients.known import parse
from backupmx.recipients.store import Store
from backupmx.recipients.turned_away import TurnedAway
from backupmx.recipients.who import Lists, Recipients
from backupmx.relay.health import Health
from backupmx.relay.settings import RelaySettings
from backupmx.route.primaries import Primaries, Standing
from tests.receive.doors import RelayDomains

HOP = "smtp:[primary]"
DAY = 86400.0
START = 1_800_000_000.0
LIFETIME = 5 * DAY
# RFC 5321 4.5.4.1: the give-up time generally needs to be at least 4-5 days.
LOOKS = 2.0
# operate.report.outlook: every two seconds.

Schedule = Callable[[int], float]
"""The number of the try that failed -> seconds until the next."""

SCHEDULES: dict[str, Schedule] = {
    "postfix": lambda n: min(300.0 * 2 ** (n - 1), 4000.0),
    "half-hourly": lambda n: 1800.0,  # RFC 5321 4.5.4.1: at least 30 minutes
    "hourly": lambda n: 3600.0,
    "four-hourly": lambda n: 4 * 3600.0,
    "qmail": lambda n: 400.0 * (n * n - (n - 1) ** 2),
    "exim": lambda n: 900.0 if n < 8 else min(3600.0 * 1.5 ** (n - 8), 6 * 3600.0),
}


@dataclass(frozen=True, slots=True)
class Outage:
    begins: float
    lasts: float


def outages(chance: random.Random, days: float) -> list[Outage]:
    """Seconds to two days, and times of flapping."""
    found, at = [], START + chance.uniform(0, DAY)
    while at < START + days * DAY:
        lasts = chance.choice([5.0, 40.0, 200.0, 900.0, 3600.0, 6 * 3600.0, 2 * DAY]) * chance.uniform(0.5, 1.0)
        if chance.random() < 0.3:
            for _ in range(int(lasts // 30) % 100):
                found.append(Outage(at, chance.uniform(1, 20)))
                at += chance.uniform(21, 60)
        else:
            found.append(Outage(at, lasts))
            at += lasts
        at += chance.expovariate(1 / (DAY / 2))
    return found


@dataclass
class Message:
    sender: str
    recipient: str
    client: Client
    schedule: Schedule | None
    """None: it is tried once."""
    cut_off: bool = False
    born: float = 0.0
    tries: int = 0
    fate: str = ""
    """primary, backup, lost; "" while it is tried."""
    at: float = 0.0
    last: Reply | None = None


@dataclass
class Stored:
    """The queue, as far as Health goes."""

    states: dict[str, HopState] = field(default_factory=dict)

    async def hop_states(self) -> dict[str, HopState]:
        return self.states

    async def set_hop_state(self, state: HopState) -> None:
        self.states[state.next_hop] = state

    async def hasten(self, next_hop: str, now: float, most: int) -> int:
        return 0


class World:
    def __init__(self, folder: Path, seed: int, away: Sequence[Outage], mode: str = "defer") -> None:
        self.chance = random.Random(seed)
        self.now = START
        self.away = sorted(away, key=lambda one: one.begins)
        self._next_outage = 0
        self.queue = Stored()
        stub: Any = self.queue
        self.health = Health(stub, RelaySettings("mx2"), silent(), lambda: self.now, self.chance.random)
        self.seen = [(0.0, Primaries())]
        self.store = Store(folder / "recipients.db")
        self.patience = TurnedAway(self.store, self._trouble, lambda: self.now)
        people = "".join(f"u{n}@example.jp OK\n" for n in range(50))
        self.door = Admission(
            RelayDomains(),
            Recipients(parse(people, "people", START), self.store, Lists(), lambda: self.now),
            primary=PrimaryUp(mode, {}, lambda _: HOP, lambda _: self.standing, patience=self.patience),
        )
        self._events: list[tuple[float, int, Message | str]] = []
        self._count = 0

    @staticmethod
    def _trouble(why: str) -> None:
        raise AssertionError(why)

    # what is true, and what a worker knows of it

    @property
    def is_up(self) -> bool:
        while self._next_outage < len(self.away) - 1 and self.away[self._next_outage + 1].begins <= self.now:
            self._next_outage += 1
        one = self.away[self._next_outage] if self.away else None
        return one is None or not one.begins <= self.now < one.begins + one.lasts

    @property
    def standing(self) -> Standing:
        while len(self.seen) > 1 and self.seen[1][0] <= self.now - LOOKS:
            self.seen.pop(0)
        return self.seen[0][1].state(HOP)

    # the course of things

    def at(self, when: float, what: Message | str) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def send(self, messages: Iterable[Message]) -> list[Message]:
        kept = list(messages)
        for message in kept:
            self.at(message.born, message)
        return kept

    async def run(self) -> None:
        """Until every message has its fate."""
        self.at(START, "look")
        self.at(START, "write")
        while any(isinstance(what, Message) for _, _, what in self._events[:50]) or self._waits():
            self.now, _, what = heapq.heappop(self._events)
            if isinstance(what, Message):
                self._try(what)
            elif what == "look":
                await self._look()
            else:
                self._write()

    def _waits(self) -> bool:
        return any(isinstance(what, Message) for _, _, what in self._events)

    async def _look(self) -> None:
        """The relay's probe; each costs what a connection costs."""
        if self.is_up:
            await self.health.answered(HOP)
        else:
            await self.health.failed(HOP, "connection refused")
        self.seen.append((self.now, read(self.queue.states, [HOP])))
        self.at(max(self.health.probe_at(HOP), self.now + 0.5), "look")

    def _write(self) -> None:
        """As a worker does, and the broom; a worker that dies has forgotten the rest."""
        self.patience.end()
        self.store.tidy(self.now)
        if self.chance.random() < 0.2:
            self.patience = TurnedAway(self.store, self._trouble, lambda: self.now)
            self.door._primary._patience = self.patience  # type: ignore[union-attr]
        self.at(self.now + 600, "write")

    def _try(self, message: Message) -> None:
        message.tries += 1
        message.at = self.now
        if message.schedule and self.is_up and not message.cut_off:
            message.fate = "primary"
            return
        reply = self.door.recipient(message.client, message.sender, message.recipient)
        assert reply is None or isinstance(reply, Reply)
        message.last = reply
        if reply is None:
            message.fate = "backup"
        elif reply.permanent or message.schedule is None:
            message.fate = "lost"
        else:
            again = self.now + message.schedule(message.tries)
            if again - message.born > LIFETIME:
                message.fate = "lost"
            else:
                self.at(again, message)
