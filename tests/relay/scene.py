"""scene: a real queue, a relay on it and peers as primaries, in one loop, with a clock of its own.

    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        id = await s.put("u@example.jp")
        await s.settled()

`settled` returns when nothing is due and no attempt is under way; `s.pass_time`
moves the clock, so that tests of retries never sleep.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net.dns import Answer
from backupmx.net.smtp import Timeouts
from backupmx.queue.entry import NewEntry, NewRecipient, QueuedRecipient, new_id
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.relay.runner import Relay, RelaySettings
from backupmx.route import transport_map
from backupmx.route.routes import Routes
from tests.relay.samples import CLIENT

TIMEOUTS = Timeouts(connect=5, greeting=5, tls=1, hello=5, mail=5, rcpt=5, data=5, block=5, dot=5)


class Zones:
    """DNS as data: {("name", "MX"): ("10 mx.example.",)}; a name that is not there does not exist."""

    def __init__(self, records: dict[tuple[str, str], tuple[str, ...]] | None = None) -> None:
        self.records = records or {}

    async def lookup(self, name: str, rdtype: str) -> Answer:
        return Answer(self.records.get((name, rdtype), ()), exists=any(known == name for known, _ in self.records))


@dataclass
class Clock:
    offset: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class Scene:
    queue: SqliteQueue
    relay: Relay
    routes: Routes
    journal: Journal
    log: list[bytes]
    clock: Clock
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def put(
        self,
        *recipients: str,
        sender: str = "a@client.example",
        body: bytes = b"hello\r\n",
        age: float = 0.0,
        notify: str = "",
        client: Client | None = CLIENT,
        vouched: bool = True,
    ) -> str:
        now = self.clock()
        id = new_id(now)
        new = tuple(NewRecipient(a, self.routes.next_hop(a), notify) for a in recipients)
        envelope = Envelope(sender, tuple(Recipient(a) for a in recipients))
        message = Message((f"X-Id: {id}".encode(),), (b"\r\n" + body,))
        await self.queue.put(NewEntry(id, now - age, envelope, new, message, client, vouched=vouched))
        self.relay.wake()
        return id

    def pass_time(self, seconds: float) -> None:
        self.clock.offset += seconds
        self.relay.wake()

    async def settled(self) -> None:
        """Nothing is due now, or it may not be tried now, and no attempt is under way."""
        async with asyncio.timeout(15):
            while True:
                await asyncio.sleep(0.02)
                due = [d for d in await self.queue.due(self.clock()) if not self.relay.health.rests(d.next_hop)]
                if not due and not self.relay.busy:
                    return

    async def recipients(self) -> dict[str, QueuedRecipient]:
        return {r.address: r for entry in await self.queue.waiting() for r in entry.recipients}

    async def quarantined(self) -> dict[str, QueuedRecipient]:
        return {r.address: r for entry in await self.queue.quarantined() for r in entry.recipients}

    async def states(self) -> dict[str, str]:
        return {address: str(r.state) for address, r in (await self.recipients()).items()}

    def events(self, *words: str) -> int:
        """Log lines with all these words."""
        return sum(all(word.encode() in line for word in words) for line in self.log)


@asynccontextmanager
async def scene(
    folder: Path, map: str, *, records: dict[tuple[str, str], tuple[str, ...]] | None = None, **settings: Any
) -> AsyncIterator[Scene]:
    log: list[bytes] = []
    clock = Clock()
    journal = Journal(sink=log.append)
    queue = await open_queue(f"sqlite:{folder}/queue.db", clock=clock, journal=journal)
    routes = Routes(transport_map.parse(map))
    options = {"hostname": "mx2.example.net", "timeouts": TIMEOUTS, "probe_interval": 0.0, **settings}
    relay = Relay(
        queue, routes, Zones(records), RelaySettings(**options), journal,
        clock=clock, chance=lambda: 0.5, own=lambda _: False,
    )  # fmt: skip
    await relay.start()
    running = asyncio.create_task(relay.run())
    try:
        yield Scene(queue, relay, routes, journal, log, clock)
    finally:
        await asyncio.gather(relay.stop(2.0), running)
        await queue.close()
    assert journal.counters["bug"] == 0, b"".join(log).decode()
