"""The page on a queue of its own, asked as a browser or a program asks; no appliance runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from backupmx.config import Config, load
from backupmx.journal import Journal
from backupmx.operate.page import guard
from backupmx.operate.page.app import build
from backupmx.operate.page.deeds import Deeds
from backupmx.operate.page.guard import Guard
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.tokens import FILE, METRICS, OPERATOR, Tokens
from backupmx.operate.serve.policy import read_routes
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.operate.desk import Desk

HOST = "127.0.0.1:8025"


@dataclass
class Page:
    """One page, its tokens, and what it logged."""

    config: Config
    queue: SqliteQueue
    app: Guard
    tokens: Tokens
    log: list[bytes] = field(default_factory=list)

    def client(self, who: str = OPERATOR, **headers: str) -> httpx.AsyncClient:
        """A program with this one's token; "": with none."""
        known = {"authorization": f"Bearer {self.tokens.issue(who)}"} if who else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url=f"http://{HOST}", headers={**known, **headers}
        )

    @asynccontextmanager
    async def browser(self, who: str = OPERATOR) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
        """Somebody who signed in, and the word that his forms say."""
        async with self.client("") as client:
            answer = await client.post("/login", data={"token": self.tokens.issue(who)})
            assert answer.status_code == 303
            text = (await client.get("/")).text
            yield client, text.split('name="csrf" value="')[1].split('"')[0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
async def page(desk: Desk) -> AsyncIterator[Page]:
    config, log = load(desk.config), list[bytes]()
    journal = Journal(sink=log.append)
    queue = await open_queue(config.queue_store)
    routes, keys = read_routes(config), Tokens(config.state_path(FILE))
    keys.issue(OPERATOR), keys.issue(METRICS)
    sight = Sight(queue, config, routes)
    app = build(sight, Deeds(queue, config, routes, journal, sight.forget), keys)
    yield Page(config, queue, Guard(app, keys, guard.place(HOST, ["mx2.example.net"]), journal), keys, log)
    await queue.close()
