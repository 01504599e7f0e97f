"""digest: the daily message to the postmaster: when, from what, and into the queue.

At seven in the morning, local time, or at the first chance after it, what there is to
tell (digest_text) is put into the queue as mail of our own.  When there is nothing, or
`relay.digest_to` is "off", none is.  The time of the last one is a fact of the queue,
written in the same commit: whatever crashes, there is one a day.  Before the first seven
o'clock of a new queue nothing is told.

Trouble
    QueueTrouble    reported; the next look is ten minutes later.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate.report import digest_text, tally
from backupmx.operate.report.digest_text import News
from backupmx.queue.entry import QueuedEntry, QueueTrouble, State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.route.routes import Routes

FACT = "digest"
_HOUR = 7
_EVERY = 600.0


async def keep_telling(config: Config, routes: Routes, journal: Journal, wake: Callable[[], None]) -> None:
    """Until cancelled.  With a queue of its own: reading it whole does not hold up the relay's reads."""
    while True:
        try:
            queue = await open_queue(config.queue_store, journal=journal, on_commit=wake)
            try:
                await tell(queue, config, routes, journal, time.time())
            finally:
                await queue.close()
        except QueueTrouble as trouble:
            journal.queue_trouble(f"digest: {trouble}")
        await asyncio.sleep(_EVERY)


async def tell(queue: SqliteQueue, config: Config, routes: Routes, journal: Journal, now: float) -> bool:
    """If it is time and there is something.  -> whether there is a digest now.  Raises QueueTrouble."""
    to = config.relay.digest_to or routes.postmaster
    before = await queue.fact(FACT)
    if before and float(before) > now:  # the clock was set back since: the next seven o'clock is by ours
        await queue.put_once(FACT, before, str(now), None)
        return False
    if before and not is_due(float(before), now):
        return False
    entry = None
    if before and to not in ("off", ""):
        news = await gather(queue, config, routes, float(before), now)
        if news.something:
            entry = digest_text.message(news, config.hostname, to, routes.next_hop(to), routes.signature)
    if not await queue.put_once(FACT, before, str(now), entry) or entry is None:
        return False
    journal.queued(entry.id, "", entry.message.size, 1)
    return True


def is_due(last: float, now: float) -> bool:
    """Pure.  A seven o'clock has been since."""
    today = time.localtime(now)
    seven = time.mktime((*today[:3], _HOUR, 0, 0, 0, 0, -1))
    return last < (seven if seven <= now else time.mktime((*today[:2], today.tm_mday - 1, _HOUR, 0, 0, 0, 0, -1)))


async def gather(queue: SqliteQueue, config: Config, routes: Routes, since: float, now: float) -> News:
    """Everything as it is now, and what came since."""
    counted = await asyncio.to_thread(tally.read, config)
    unreturned: list[QueuedEntry] = []
    kept = octets = 0
    after = ""
    while page := await queue.quarantined(after=after):
        for entry in page:
            kept, octets = kept + 1, octets + entry.size
            new = tuple(r for r in entry.recipients if r.state is State.UNRETURNED and r.next_attempt >= since)
            if new:
                unreturned.append(replace(entry, recipients=new))
        after = page[-1].id
    return News(
        since, now, [one.alarm for one in counted.alarms],
        [outage for outage in await queue.outages(since) if outage.next_hop in routes.next_hops],
        await queue.refusals(), unreturned, kept, octets,
    )  # fmt: skip
