"""runner: what is due goes out: the relay process, start, run, stop.

    queue --due--> Relay --nudge--> Feed (one a next hop) --claim--> attempt --settle--> queue
              ^ wake() when somebody put or flushed            Connections, Health

A pass asks the queue which next hops have something due and nudges their
feeds; each works on its own, so a slow one never holds another.  Primaries that nothing
was heard of for a minute are probed, and those that are down when it is time,
a score at once.  Between passes the runner sleeps until it is woken, the next
deferred mail or lease is due, or a probe.  Wakes that come close together are one
pass.

A new map: what waits is asked anew for its next hop, in the background, a page at a
time (a million recipients take half a minute).  Until that is done a next hop that the
map does not name gets nothing; and of mail that moves from one primary to another
what is due in these seconds may still go to the old one.  Mail that a worker put by
other routes than ours gets its next hop in the same way, before anything is tried.

All connections together are limited; a next hop that the map names may always
have one, while strangers (who get notices) share half of the limit.

A clock that was set back, while the relay runs or before, leaves mail and probes due at
times that may be days away: they are due now instead.

Stopping: no new claims; attempts may end until `patience` is over; what is left
is given back to the queue and tried by the next relay at once.

Trouble
    QueueTrouble   reported once a minute, asked again every second.
    A next hop in the queue that cannot be read any more (an old map): an
    alarm once a minute; its mail waits for a better map.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from backupmx.journal import Journal
from backupmx.mail.reply import Reply
from backupmx.queue.entry import UNROUTED, Queue, QueueTrouble
from backupmx.relay import schedule
from backupmx.relay.attempt import Means
from backupmx.relay.connections import Budget, Connections
from backupmx.relay.feed import Feed
from backupmx.relay.health import Health
from backupmx.relay.returns import Returns
from backupmx.relay.settings import RelaySettings
from backupmx.route import hosts, next_hop
from backupmx.route.routes import Routes

__all__ = ["Relay", "RelaySettings"]

_AT_ONCE = 1.0
"""Seconds for which a new map is waited for before anything is tried; most queues are asked within."""
_GATHER = 0.05
# Passes are 50 ms apart: a lone message goes at once, under load a pass finds a handful and costs them little.
_AFTER_TROUBLE = 1.0
_SET_BACK = 60.0
"""Seconds; less is a clock that is being kept right."""
_LONGEST_SLEEP = 10.0
_TIDY = 1.0
_PROBES = 20
"""At once: a thousand primaries are a thousand connections, but not in one moment."""


class Relay:
    """One for a queue."""

    def __init__(
        self,
        queue: Queue,
        routes: Routes,
        resolver: hosts.Resolver,
        settings: RelaySettings,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        own: Callable[[str], bool] = hosts.bindable,
        learn: Callable[[str, Reply], None] = lambda address, reply: None,
    ) -> None:
        """`own`: is this IP address ours; for looking for ourselves in MX lists.  `learn`: see Means."""
        self.health = Health(queue, settings, journal, clock, chance)
        self._means = Means(queue, routes, self.health, settings, journal, clock, chance, self.wake, Returns(), learn)
        self._resolver = resolver
        self._own = own
        self._budget = Budget(settings.all_connections)
        self._strangers = Budget(settings.all_connections // 2)
        self._feeds: dict[str, Feed] = {}
        self._watched: list[str] = []
        self._woken = asyncio.Event()
        self._stopping = False
        self._patience = 0.0
        self._done = asyncio.Event()
        self._rerouting: asyncio.Task[None] | None = None
        self._clock_set = clock() - time.monotonic()

    async def start(self) -> None:
        """Next hops as the map says now; what is known of them.  Raises QueueTrouble."""
        await self.reload(self._means.routes)
        wait = schedule.farthest(retry_min=self.settings.retry_min, retry_max=self.settings.retry_max)
        await self._bring_forward(by=wait)
        await self.health.refresh()

    async def reload(self, routes: Routes, settings: RelaySettings | None = None) -> None:
        """A new map, perhaps new settings: waiting mail is routed anew, at once or, when there is much, soon."""
        self.health.settings = settings = settings or self._means.settings
        self._means = replace(self._means, routes=routes, settings=settings)
        self._watched = [text for text in routes.next_hops if _connects(text)]
        for feed in self._feeds.values():
            feed.means = self._means
            feed.connections.reload(settings)
        if self._rerouting is not None:
            self._rerouting.cancel()  # between two pages; the new map begins at the first
        self._rerouting = asyncio.create_task(self._reroute(routes))
        await asyncio.wait([self._rerouting], timeout=_AT_ONCE)

    async def _reroute(self, routes: Routes) -> None:
        """Every waiting recipient's next hop, by this map."""
        while True:
            try:
                await self._means.queue.reroute(routes.next_hop, routes.signature)
                self.wake()
                return
            except QueueTrouble as trouble:
                self._means.journal.queue_trouble(f"waiting mail is not routed anew yet: {trouble}")
            await asyncio.sleep(_AFTER_TROUBLE)

    def _is_routed(self) -> bool:
        """The new map has been asked about all that waits."""
        if self._rerouting is None or not self._rerouting.done():
            return False
        self._rerouting.result()  # a bug ends the relay, and the next one begins anew
        return True

    @property
    def routes(self) -> Routes:
        return self._means.routes

    @property
    def settings(self) -> RelaySettings:
        return self._means.settings

    @property
    def busy(self) -> bool:
        """An attempt, or the fetching of one, is under way."""
        return any(feed.busy for feed in self._feeds.values())

    def wake(self) -> None:
        """Something may be due: mail was put, a flush began."""
        self._woken.set()

    async def run(self) -> None:
        """Until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            tidying = tasks.create_task(self._keep_tidy())
            while not self._stopping:
                self._woken.clear()
                began = asyncio.get_running_loop().time()
                await self._sleep(await self._pass(tasks), began)
            await asyncio.gather(*(feed.stop(self._patience) for feed in self._feeds.values()))
            tidying.cancel()
            if self._rerouting is not None:
                self._rerouting.cancel()  # the next relay goes on: the queue remembers that it was not the end
        self._done.set()

    async def stop(self, patience: float = 30.0) -> None:
        """End, and wait for it.  Only with `run` running."""
        self._patience = patience
        self._stopping = True
        self.wake()
        await self._done.wait()

    async def _pass(self, tasks: asyncio.TaskGroup) -> float:
        """Nudge who has something to do.  -> seconds until the next look"""
        means = self._means
        try:
            await self._mind_the_clock()
            if self.health.any_down:
                await self.health.refresh()
            now, longest, routed = means.clock(), _LONGEST_SLEEP, self._is_routed()
            for due in await means.queue.due(now):
                if due.next_hop == UNROUTED and routed:
                    self._rerouting = asyncio.create_task(self._reroute(means.routes))
                if due.next_hop == UNROUTED or not (routed or due.next_hop in means.routes.next_hops):
                    continue
                feed = self._feed(due.next_hop, tasks)
                if feed is None:
                    longest = _AFTER_TROUBLE
                    continue
                if self.health.is_silent(due.next_hop):
                    if schedule.expired(due.oldest, now, means.settings.lifetime):
                        await feed.give_up_old()
                    self._probe(due.next_hop, tasks)
                else:
                    feed.nudge()
                    longest = _AFTER_TROUBLE  # it may meet trouble with the queue
            for text in sorted(self._watched, key=self.health.probe_at):
                if self.health.probe_at(text) > now:
                    break
                self._probe(text, tasks)
            return min(longest, await self._until_next(now))
        except QueueTrouble as trouble:
            means.journal.queue_trouble(str(trouble))
            return _AFTER_TROUBLE

    async def _mind_the_clock(self) -> None:
        """Was it set back since the last pass?"""
        before, now = self._clock_set, self._means.clock() - time.monotonic()
        if before - now > _SET_BACK:
            await self._bring_forward(by=0.0)
        self._clock_set = now

    async def _bring_forward(self, by: float) -> None:
        """What is due only after so many seconds more is due now."""
        now = self._means.clock()
        if many := await self._means.queue.bring_forward(now + by, now):
            why = "the clock was set back, or queue.retry_max is shorter now"
            self._means.journal.warned(f"{many} recipients were due too far ahead and are due now: {why}")

    def _probe(self, text: str, tasks: asyncio.TaskGroup) -> None:
        """If its time has come, and not too many are under way: their ends wake us."""
        if self.health.rests(text) or sum(feed.probing for feed in self._feeds.values()) >= _PROBES:
            return
        if feed := self._feed(text, tasks):
            feed.probe()

    async def _until_next(self, now: float) -> float:
        quiet = [text for text in self._watched if text not in self._feeds or not self._feeds[text].probing]
        times = [await self._means.queue.next_due(now), self.health.next_probe(quiet)]
        soonest = min((t for t in times if t is not None), default=now + _LONGEST_SLEEP)
        return min(_LONGEST_SLEEP, max(_GATHER, soonest - now))

    async def _sleep(self, seconds: float, began: float) -> None:
        """Until woken, or for so long; but the next pass is not too close to the one that `began`."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        early = began + _GATHER - asyncio.get_running_loop().time()
        if early > 0 and not self._stopping:
            await asyncio.sleep(early)

    def _feed(self, text: str, tasks: asyncio.TaskGroup) -> Feed | None:
        """The feed of a next hop.  None: it cannot have one now."""
        if text in self._feeds:
            return self._feeds[text]
        stranger = text not in self._means.routes.next_hops
        if stranger and sum(f.busy for f in self._feeds.values()) >= self._strangers.most:
            return None
        try:
            hop = next_hop.parse(text)
        except next_hop.HopTrouble as trouble:
            self._means.journal.warned(f"queued mail has no usable next hop: {trouble}")
            return None
        budget = self._strangers if stranger else self._budget
        connections = Connections(
            lambda: self._find(hop, stranger=stranger),
            hop.transport == "lmtp", self._means.settings, budget, self._means.journal,
            heard=None if stranger else partial(self.health.heard, text),
        )  # fmt: skip
        self._feeds[text] = Feed(hop, connections, self._means, tasks)
        return self._feeds[text]

    async def _find(self, hop: next_hop.NextHop, *, stranger: bool) -> list[hosts.Host]:
        """Its hosts; those of a primary are told to all.  Raises NoHosts."""
        found = await hosts.find(hop.destinations, self._resolver, own=self._own)
        if not stranger:
            await self.health.learned(hop.text, [host.address for host in found if host.address])
        return found

    async def _keep_tidy(self) -> None:
        """Idle connections are closed; feeds of strangers with nothing to do are forgotten."""
        while True:
            await asyncio.sleep(_TIDY)
            for text, feed in list(self._feeds.items()):
                await feed.connections.tidy()
                if not feed.busy and not feed.connections.many and text not in self._means.routes.next_hops:
                    del self._feeds[text]


def _connects(text: str) -> bool:
    try:
        return next_hop.parse(text).connects
    except next_hop.HopTrouble:
        return False
