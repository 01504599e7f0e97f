"""scene: a night at mx2: one primary down, another up, mail refused, quarantined, held, an engine away.

What the browser tests look at, and what the pictures in docs/ show (`python -m tests.operate.page.scene docs`).
"""

import asyncio
import math
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from backupmx.check.breaker import EngineState
from backupmx.config import load
from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.operate.page import guard, listen
from backupmx.operate.page.app import build
from backupmx.operate.page.deeds import Deeds
from backupmx.operate.page.guard import Guard
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.tokens import FILE, OPERATOR, Tokens
from backupmx.operate.report import tally
from backupmx.operate.serve.lock import lock
from backupmx.operate.serve.policy import read_routes
from backupmx.queue.entry import HopState, NewEntry, NewRecipient, State, new_id
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.neighbours.unbound import free_port

CONFIGURATION = """\
hostname = "mx2.example.net"
state_dir = "state"
[relay]
transport_map = "transport.map"
"""
ONE, TWO = "smtp:[mail.example.jp]:25", "smtp:[lists.example.org]:25"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
HEADERS = (
    b"Received: from mail.sender.example (mail.sender.example [192.0.2.7])\n\tby mx2.example.net (backupmx)",
    b"Authentication-Results: mx2.example.net; spf=pass smtp.mailfrom=sender.example; dkim=pass",
    "From: Dorothée <d@sender.example>".encode(),
    b"To: anna@example.jp",
    b"Subject: The minutes of Tuesday",
    b"Message-ID: <20261124.1@sender.example>",
)


@dataclass(frozen=True, slots=True)
class Night:
    """The page, on a port of its own."""

    address: str
    token: str
    queue: SqliteQueue
    folder: Path
    ids: dict[str, str]


def _mail(arrived: float, sender: str, *to: tuple[str, str, State, str]) -> NewEntry:
    recipients = tuple(NewRecipient(address, hop, "", "", state, reason) for address, hop, state, reason in to)
    reason = next((r.reason for r in recipients if r.state in (State.HELD, State.DISCARDED)), "")
    return NewEntry(
        new_id(arrived), arrived, Envelope(sender, tuple(Recipient(r.address) for r in recipients)), recipients,
        Message(HEADERS, (b"\r\nHello.\r\n" * 300,)), Client("192.0.2.7", 25, "mail.sender.example", "x", "ESMTP"),
        f"<{int(arrived)}@sender.example>", reason,
    )  # fmt: skip


async def _fill(queue: SqliteQueue, now: float) -> dict[str, str]:
    hour = 3600.0
    for began, ended in ((130, 127.5), (61, 60.6)):
        await queue.set_hop_state(HopState(ONE, False, now - began * hour, "connection timed out", 0, 3))
        await queue.set_hop_state(HopState(ONE, True, now - ended * hour, "", 0, 0))
    error = "connect to mail.example.jp[198.51.100.4]:25: Connection timed out"
    await queue.set_hop_state(HopState(ONE, False, now - 3.1 * hour, error, now + 44, 12))
    await queue.set_hop_state(HopState(TWO, True, now - 9 * 24 * hour, "", 0, 0))
    said = "host mail.example.jp[198.51.100.4] said: 550 5.1.1 <{}>: Recipient address rejected: User unknown"
    spam = "host lists.example.org[198.51.100.9] said: 554 5.7.1 Message contains spam"
    mail = {
        "waiting": _mail(now - 3 * hour, "d@sender.example", ("anna@example.jp", ONE, State.QUEUED, "")),
        "two": _mail(now - 2 * hour, "news@paper.example", ("bob@example.jp", ONE, State.QUEUED, ""),
                     ("staff@lists.example.org", TWO, State.QUEUED, "")),
        "held": _mail(now - hour, "boss@evil.example", ("pay@example.jp", ONE, State.HELD, "header_checks:7: odd")),
        "refused": _mail(now - 5 * hour, "x@sender.example",
                         ("old@example.jp", ONE, State.REFUSED, said.format("old@example.jp"))),
        "spam": _mail(now - 4 * hour, "y@sender.example", ("staff@lists.example.org", TWO, State.REFUSED, spam)),
        "discarded": _mail(now - 6 * hour, "win@prize.example",
                           ("anna@example.jp", ONE, State.DISCARDED, "header_checks:3: X-Spam-Flag: YES")),
        "virus": _mail(now - 7 * hour, "bill@sender.example",
                       ("bob@example.jp", ONE, State.DISCARDED, "virus found: Win.Test.EICAR_HDB-1")),
    }  # fmt: skip
    for n in range(31):
        mail[f"more{n}"] = _mail(now - 100 - n, f"u{n}@sender.example", (f"user{n}@example.jp", ONE, State.QUEUED, ""))
    for one in mail.values():
        await queue.put(one)
    return {name: one.id for name, one in mail.items()}


def _count(config, now: float) -> None:  # type: ignore[no-untyped-def]
    journal = Journal(sink=lambda line: None)
    for fate, many in (("accept", 19), ("discard", 5), ("reject", 4), ("defer", 1)):
        for _ in range(many):
            journal.judged("", fate, "")
    for line, rule, hits in (
        (2, "/^X-Spam-Flag: YES/ DISCARD", 290), (3, "/^X-Virus-Status: Yes/ DISCARD", 21),
        (7, "/^Subject:.*invoice/ HOLD odd", 1), (9, "/^X-Mailer: bulk/ WARN", 0),
    ):  # fmt: skip
        journal.counting("header_checks", line, rule)
        if hits:
            journal.rule_hit("header_checks", line, rule, hits)
    journal.engine_down("rspamd", "connect to 127.0.0.1:11333: Connection refused")
    for hour in range(167, 0, -1):  # a week before, as each hour's process would have counted it
        past = Journal(sink=lambda line: None)
        day = 12 + 10 * math.sin(hour / 24 * 2 * math.pi)
        for fate, many in (("accept", day), ("discard", day / 4), ("reject", 2 + hour % 5), ("defer", hour == 60)):
            for _ in range(int(many)):
                past.judged("", fate, "")
        then = now - 3600 * hour
        tally.Publisher(tally.path(config), "worker 1", past, clock=lambda then=then: then).publish()
    engines = [EngineState("clamd", True, now - 800_000), EngineState("rspamd", False, now - 400, "Connection refused")]
    tally.Publisher(tally.path(config), "worker 1", journal, lambda: engines).publish()


@asynccontextmanager
async def night(folder: Path, *, quiet: bool = False) -> AsyncIterator[Night]:
    """`quiet`: nothing waits and all is well."""
    (folder / "backupmx.toml").write_text(CONFIGURATION)
    (folder / "transport.map").write_text(f"example.jp {ONE}\nlists.example.org {TWO}\n")
    (folder / "state").mkdir()
    config, now = load(folder / "backupmx.toml"), time.time()
    lock(config)  # somebody works on it: us
    queue, routes, keys = await open_queue(config.queue_store), read_routes(config), Tokens(config.state_path(FILE))
    ids = {} if quiet else await _fill(queue, now)
    if quiet:
        for hop in (ONE, TWO):
            await queue.set_hop_state(HopState(hop, True, now - 9 * 86400, "", 0, 0))
    else:
        await asyncio.to_thread(_count, config, now)
    journal, port = Journal(sink=lambda line: None), free_port()
    sight = Sight(queue, config, routes)
    app = build(sight, Deeds(queue, config, routes, journal, sight.forget), keys)
    server = listen.server(Guard(app, keys, guard.place(f"127.0.0.1:{port}", ()), journal))
    bound = listen.bind(f"127.0.0.1:{port}", "0660")
    task = asyncio.create_task(server.serve([bound]))
    yield Night(f"http://127.0.0.1:{port}", keys.issue(OPERATOR), queue, folder, ids)
    server.should_exit = True
    await task
    bound.close()
    await queue.close()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's, with a folder of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        yield browser
        await browser.close()


async def pictures(folder: Path) -> None:
    """Those of docs/page.md."""
    with tempfile.TemporaryDirectory(prefix="backupmx-page-") as scratch:
        async with night(Path(scratch)) as scene, chromium() as browser:
            for name, path, scheme, width, height in (
                ("overview", "/", "light", 900, 980), ("dark", "/", "dark", 900, 700),
                ("phone", "/", "light", 380, 760),
                ("message", f"/message/{scene.ids['refused']}", "light", 900, 820),
            ):  # fmt: skip
                context = await browser.new_context(
                    color_scheme=scheme,
                    viewport={"width": width, "height": height},  # type: ignore[arg-type]
                )
                page = await context.new_page()
                await page.goto(f"{scene.address}/login")
                await page.get_by_label("Token").fill(scene.token)
                await page.get_by_role("button", name="Sign in").click()
                await page.goto(f"{scene.address}{path}")
                await page.screenshot(path=folder / f"page-{name}.png")
                await context.close()


if __name__ == "__main__":
    asyncio.run(pictures(Path(sys.argv[1])))
