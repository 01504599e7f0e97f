"""sight: what is so now, as values: for the pages, for the API, for /metrics.

    status     everything at a glance; read at most every two seconds, however many look at it
    waiting    messages of the queue, a page at a time, of one next hop or state
    message    one of them, wherever it lies, with its header block and its life
    mine       what waits for one domain, for its owner: not from whom, nor what

What it gives is facts.py's.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from backupmx import __version__
from backupmx.config import Config
from backupmx.journal import RULE_HITS
from backupmx.mail.address import domain_of
from backupmx.operate.cli.check import remarks
from backupmx.operate.desk import WAITING, Pages, queue_name, why_and_when
from backupmx.operate.page.facts import (
    End,
    Found,
    Listing,
    Message,
    Mine,
    Own,
    PastOutage,
    Recipient,
    RecipientList,
    Rule,
    Status,
    Trace,
    VerdictHour,
)
from backupmx.operate.report import glance, tally
from backupmx.operate.serve import sources
from backupmx.operate.serve.lock import is_running
from backupmx.queue.account import Life
from backupmx.queue.entry import HopState, QueuedEntry, State, Total
from backupmx.queue.refusals import kind_of
from backupmx.queue.sqlite import SqliteQueue
from backupmx.recipients.store import StoreTrouble
from backupmx.route.routes import Routes
from backupmx.route.transport_map import fold

T = TypeVar("T")

_FRESH = 2.0
_WEEK = 7 * 86400.0
_PAGE = 1000
_MOST_PAGES = 20
"""So many are looked through for a page of one next hop; then its reader is asked whether to go on."""
_HEAD = 64 << 10
_LIVES = 200
_OWN = 200


class Sight:
    """By one process's connection."""

    def __init__(self, queue: SqliteQueue, config: Config, routes: Routes) -> None:
        self.queue, self.config, self.routes = queue, config, routes
        self._lock = asyncio.Lock()
        self._last: dict[str, tuple[float, Any]] = {}
        """What was asked for -> until when its answer will do, and the answer."""

    async def status(self) -> Status:
        """Raises QueueTrouble."""
        return await self._lately("status", self._status)

    def forget(self) -> None:
        """Something was done: the next look is a new one."""
        self._last.clear()

    async def _lately(self, what: str, look: Callable[[], Awaitable[T]]) -> T:
        """One look at a time, and what took long is remembered longer: who asks often costs a tenth of a core."""
        async with self._lock:
            began = time.monotonic()
            until, found = self._last.get(what, (0.0, None))
            if began >= until:
                found = await look()
                now = time.monotonic()
                self._last = {one: kept for one, kept in self._last.items() if now < kept[0]}
                self._last[what] = now + max(_FRESH, 10 * (now - began)), found
            return cast(T, found)

    async def _status(self) -> Status:
        now, config, queue = time.time(), self.config, self.queue
        totals, states = await queue.totals(), await queue.hop_states()
        counted, lists, trouble = await asyncio.to_thread(self._files, now)
        disk = os.statvfs(config.state_path(""))
        return Status(
            config.hostname, __version__, int(now), is_running(config),
            glance.alarms(counted), glance.next_hops(self.routes.next_hops, states, totals),
            glance.pauses(await queue.paused()), glance.refusals(await queue.refusals()), glance.engines(counted),
            lists,
            tuple(
                PastOutage(o.next_hop, int(o.began), None if o.ended is None else int(o.ended), o.error)
                for o in await queue.outages(now - _WEEK) if o.next_hop in self.routes.next_hops
            ),
            glance.quarantined(totals), glance.verdicts(counted),
            tuple(VerdictHour(one.hour, one.fate, one.value) for one in counted.hours),
            _rules(counted), int(counted.began) or None,
            disk.f_bavail * disk.f_frsize, config.queue.min_free,
            tuple(remarks(config, self.routes)), trouble or counted.trouble,
        )  # fmt: skip

    def _files(self, now: float) -> tuple[tally.Tally, tuple[RecipientList, ...], str]:
        """Tally and lists, in a thread."""
        counted = tally.read(self.config)
        try:
            return counted, recipient_lists(self.config, now), ""
        except StoreTrouble as trouble:
            return counted, (), str(trouble)

    async def tally(self) -> tally.Tally:
        return await asyncio.to_thread(tally.read, self.config)

    async def waiting(
        self, after: str = "", limit: int = 100, next_hop: str = "", state: str = "", quarantine: bool = False
    ) -> Listing:
        """Oldest first.  Raises QueueTrouble."""
        pages: Pages = self.queue.quarantined if quarantine else self.queue.waiting
        hops, found = await self.queue.hop_states(), list[Message]()
        chosen = bool(next_hop or state)
        for _ in range(_MOST_PAGES):
            page = await pages(after=after, limit=_PAGE if chosen else limit)
            for entry in page:
                after = entry.id
                if not chosen or _is_chosen(entry, next_hop, state):
                    found.append(message(entry, hops))
                if len(found) == limit:
                    return Listing(tuple(found), after)
            if not page or not chosen:
                return Listing(tuple(found), "")
        return Listing(tuple(found), after)

    async def message(self, id: str) -> Found | None:
        """None: nobody knows it.  Raises QueueTrouble."""
        hops = await self.queue.hop_states()
        waits, kept = await self.queue.waiting(id=id), await self.queue.quarantined(id=id)
        lives = [life for life in await self.queue.trace(id, 1) if life.id == id]
        content = await self.queue.message(id) if waits or kept else None
        if not (waits or kept or lives):
            return None
        return Found(
            message(waits[0], hops) if waits else None, message(kept[0], hops) if kept else None,
            _lines(content[0].headers) if content else (), content[1] if content else "",
            trace(lives[0]) if lives else None,
        )  # fmt: skip

    async def lives(self, word: str) -> Sequence[Trace]:
        """Messages by queue id, Message-ID, sender or recipient.  Raises QueueTrouble."""
        return [trace(life) for life in await self.queue.trace(word, _LIVES)]

    async def mine(self, domain: str) -> Mine | None:
        """For its owner; None: not one of ours, or no longer.  Raises QueueTrouble."""
        folded = fold(domain.removesuffix("."))
        if not folded or not self.routes.is_ours(f"postmaster@{folded}"):
            return None
        return await self._lately(f"mine {folded}", lambda: self._mine(folded))

    async def _mine(self, domain: str) -> Mine:
        hops, own = await self.queue.hop_states(), list[Own]()
        counts: dict[str, dict[State, list[float]]] = {self.routes.next_hop(f"postmaster@{domain}"): {}}
        after, capped = "", False
        for _ in range(_MOST_PAGES):
            page = await self.queue.waiting(after=after, limit=_PAGE)
            for entry in page:
                for r in entry.recipients:
                    if r.state in WAITING and fold(domain_of(r.address)) == domain:
                        counts.setdefault(r.next_hop, {}).setdefault(r.state, []).append(entry.arrived)
                        why, when = why_and_when(entry, r, hops)
                        own.append(Own(int(entry.arrived), entry.size, r.address, str(r.state), why, int(when)))
            after, capped = (page[-1].id, True) if page else ("", False)
            if not page:
                break
        totals = [Total(hop, s, len(at), min(at)) for hop, by in counts.items() for s, at in by.items()]
        primaries = tuple(glance.next_hop(hop, hops.get(hop), totals) for hop in counts)
        paused = any(one.domain == domain for one in await self.queue.paused())
        return Mine(domain, int(time.time()), primaries, paused, tuple(own[:_OWN]), capped or len(own) > _OWN, capped)


def message(entry: QueuedEntry, hops: Mapping[str, HopState]) -> Message:
    """Pure."""
    recipients = []
    for r in entry.recipients:
        why, when = why_and_when(entry, r, hops)
        refusal = str(kind_of(r.reason)) if r.state is State.REFUSED else ""
        recipients.append(Recipient(r.address, r.next_hop, str(r.state), why, r.attempts, int(when), refusal))
    name = "quarantine" if any(r.state.in_quarantine for r in entry.recipients) else queue_name(entry.recipients)
    return Message(
        name, entry.id, int(entry.arrived), entry.size, entry.sender, entry.message_id, entry.reason, tuple(recipients)
    )


def trace(life: Life) -> Trace:
    """Pure."""
    ends = (
        End(f.address, str(f.state), f.ended is None, None if f.ended is None else int(f.ended), f.attempts, f.relay,
            f.reason)
        for f in life.fates
    )  # fmt: skip
    return Trace(life.id, int(life.arrived), life.size, life.message_id, life.sender, tuple(ends))


def recipient_lists(config: Config, now: float) -> tuple[RecipientList, ...]:
    """Those of [[recipients.source]].  Raises StoreTrouble."""
    states = sources.states(config) or {}
    found, oldest = [], config.recipients.max_age
    for name in (one.name for one in config.recipients.source):
        state = states.get(name)
        synced, many, error = (state.synced, state.many, state.error) if state else (None, 0, "")
        stale = synced is None or bool(oldest and now - synced > oldest)
        found.append(RecipientList(name, many, None if synced is None else int(synced), error, stale))
    return tuple(found)


def _rules(counted: tally.Tally) -> tuple[Rule, ...]:
    hits = sorted(counted.named(RULE_HITS), key=lambda count: (-count.value, count.labels["line"]))
    return tuple(
        Rule(c.labels["table"], int(c.labels["line"]), c.labels["rule"], c.value, int(c.last) or None) for c in hits
    )


def _is_chosen(entry: QueuedEntry, next_hop: str, state: str) -> bool:
    return any(
        (not next_hop or r.next_hop == next_hop) and (not state or str(r.state) == state) for r in entry.recipients
    )


def _lines(headers: Sequence[bytes]) -> tuple[str, ...]:
    """Pure.  A header block for eyes."""
    block = b"\n".join(bytes(part).rstrip(b"\n") for part in headers)[:_HEAD]
    return tuple(block.decode("utf-8", "replace").expandtabs(4).split("\n"))
