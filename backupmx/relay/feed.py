"""feed: the attempts for one next hop, as many at once as it can take.

Claims come in handfuls and each becomes one attempt.  The next handful is
fetched when half of the last one is done, so the next hop never waits for the
queue; and never more than a few seconds' work is held, so a slow next hop
holds neither memory nor leases.

    unknown     one claim.  The others wait for what it finds.
    answers     as many attempts as `ramp` says; at most sixteen for each connection
                of the window: three on the line, the others on their way to or from
                the disk
    silent      nothing is tried.  When its probe is due, a connection; what became too
                old meanwhile is given up
    max_rate    attempts begin no faster than that

An attempt that outlives its lease finds its entry claimed again by ourselves;
that only renews the lease: what is in hand is not begun twice.  What is in hand
is recipients, not messages: others of the same message that become due
meanwhile are an attempt of their own.  While the hand is full nothing is claimed,
and a lease may lapse: harmless, one relay claims.

Trouble
    QueueTrouble in a claim: reported; the runner asks again a second later.
    A bug in an attempt: a traceback in the log; its lease runs out, then it is
    tried again.
    A probe finds that DNS denies the next hop: that is an answer about mail, so
    mail asks for it.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from backupmx.queue.entry import Claim, QueueTrouble
from backupmx.relay.attempt import Means, attempt, give_up, is_too_old
from backupmx.relay.connections import Connections, HopDown
from backupmx.relay.ramp import Mood, Ramp
from backupmx.route.hosts import NoHosts
from backupmx.route.next_hop import NextHop

_HAND = 16
_EXPIRED_BATCH = 50
_SECONDS_HELD = 2
"""Where max_rate is the limit, so much of it is claimed ahead."""


class Feed:
    """One next hop's work.  `nudge` when something may be due for it."""

    def __init__(self, hop: NextHop, connections: Connections, means: Means, tasks: asyncio.TaskGroup) -> None:
        self.hop = hop
        self.connections = connections
        self.means = means
        self.ramp = Ramp(_HAND * means.settings.most_connections)
        if means.health.state(hop.text).up is False:
            self.ramp.revive()  # it had just come back when the last relay ended
        self._tasks = tasks
        self._hand: dict[asyncio.Task[None], Claim] = {}
        self._ours: Counter[str] = Counter()  # queue ids of what is in hand: nearly every claim is of none of them
        self._moved = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._again = False
        self._stopping = False
        self._next_start = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._hand) or (self._pump is not None and not self._pump.done())

    @property
    def probing(self) -> bool:
        return self._probe is not None and not self._probe.done()

    def probe(self) -> None:
        """Does it take connections?  Returns at once; wakes the runner when it knows."""
        if not self.probing and not self._stopping:
            self._probe = self._tasks.create_task(self._look())

    def nudge(self) -> None:
        """Something is due.  Returns at once."""
        if self._pump is None or self._pump.done():
            self._pump = self._tasks.create_task(self._fetch())
        else:
            self._again = True

    async def stop(self, patience: float) -> None:
        """No new claims; attempts may end; those that do not within `patience` are given back."""
        self._stopping = True
        self._moved.set()
        if self._probe is not None:
            self._probe.cancel()
        if self._hand:
            await asyncio.wait(self._hand, timeout=patience)
        rest = list(self._hand)
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)
        await self.connections.close()

    async def give_up_old(self) -> None:
        """The hop rests; mail older than `lifetime` does not wait for it."""
        why = self.means.health.state(self.hop.text).error or "next hop is down"
        while not self._stopping:
            claims = [fresh for claim in await self._claim(_EXPIRED_BATCH) if (fresh := self._not_in_hand(claim))]
            old = [claim for claim in claims if is_too_old(claim, self.means)]
            await self.means.queue.give_back([claim for claim in claims if claim not in old])
            for claim in old:
                await give_up(claim, why, self.means)
            if not old:
                return

    async def _look(self) -> None:
        """The border of a probe."""
        health, hop = self.means.health, self.hop.text
        try:
            if await self.connections.knock():
                await self._heard(Mood.EASY)
            else:
                health.seen(hop)
        except HopDown as down:
            if down.loops:
                self.means.journal.looped(hop, str(down))
            await health.failed(hop, str(down))
        except NoHosts:
            await health.forget(hop)
        except QueueTrouble as trouble:
            self.means.journal.queue_trouble(str(trouble))
        except Exception as error:
            self.means.journal.bug(f"probe of {hop}", error)
        self.means.wake()

    async def _fetch(self) -> None:
        """Claim and begin, until nothing is due."""
        try:
            more = True
            while (more or self._again) and not self._stopping:
                if self.means.health.is_silent(self.hop.text):
                    return
                if (rest := self.ramp.rest(self._now())) > 0:
                    await self._movement(rest)
                    continue
                room = self._capacity() - len(self._hand)
                if room <= 0 or room < self._capacity() // 2:
                    await self._movement()
                    continue
                self._again = False
                more = await self._begin_some(room)
        except QueueTrouble as trouble:
            self.means.journal.queue_trouble(str(trouble))

    async def _begin_some(self, room: int) -> bool:
        """A handful of attempts.  False: nothing is due.  Fewer than `room` says nothing: they may be large."""
        claims = await self._claim(room)
        for claim in claims:
            if fresh := self._not_in_hand(claim):
                if self.means.settings.max_rate:
                    await self._pace()
                await self._begin(fresh)
        return bool(claims)

    def _not_in_hand(self, claim: Claim) -> Claim | None:
        """Without the recipients that an attempt of ours has already; None: it has them all."""
        if claim.id not in self._ours:
            return claim
        ours = {r.address for mine in self._hand.values() if mine.id == claim.id for r in mine.recipients}
        fresh = tuple(r for r in claim.recipients if r.address not in ours)
        return replace(claim, recipients=fresh) if fresh else None

    async def _claim(self, most: int) -> Sequence[Claim]:
        return await self.means.queue.claim(self.hop.text, most, self.means.clock(), self.means.settings.lease)

    def _capacity(self) -> int:
        settings = self.means.settings
        if not self.hop.connects:
            return _HAND * settings.first_connections
        if not self.means.health.answers(self.hop.text):
            return 1
        most = min(_HAND * self.connections.window.size, self.ramp.size)
        return min(most, max(1, int(settings.max_rate * _SECONDS_HELD))) if settings.max_rate else most

    async def _movement(self, seconds: float | None = None) -> None:
        """Until an attempt ends, or for so long."""
        self._moved.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            pass

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _begin(self, claim: Claim) -> None:
        if self._stopping:
            await self._give_back(claim)
            return
        task = self._tasks.create_task(self._attempt(claim))
        self._hand[task] = claim
        self._ours[claim.id] += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        claim = self._hand.pop(task)
        self._ours[claim.id] -= 1
        if not self._ours[claim.id]:
            del self._ours[claim.id]
        self._moved.set()

    async def _pace(self) -> None:
        rate, now = self.means.settings.max_rate, self._now()
        self._next_start = max(now, self._next_start) + 1 / rate
        await asyncio.sleep(self._next_start - 1 / rate - now)

    async def _attempt(self, claim: Claim) -> None:
        """The border of an attempt: what goes wrong here is one message's trouble, not the relay's."""
        try:
            said = await attempt(claim, self.hop, self.connections, self.means)
            if said is not None:
                await self._heard(said)
        except asyncio.CancelledError:
            await self._give_back(claim)
        except QueueTrouble as trouble:
            self.means.journal.queue_trouble(str(trouble))
        except Exception as error:
            self.means.journal.bug(f"{claim.id} to {claim.next_hop}", error)

    async def _heard(self, said: Mood) -> None:
        """It was there.  Who is in trouble has not shown yet that it takes mail."""
        if said is not Mood.TROUBLED and await self.means.health.answered(self.hop.text):
            self.ramp.revive()
            self.connections.window.revive()
            self._moved.set()
            self.nudge()
        self.ramp.heard(said, self._now())

    async def _give_back(self, claim: Claim) -> None:
        """We are told to stop: it was not tried, or not to its end."""
        try:
            await self.means.queue.give_back([claim])
        except QueueTrouble as trouble:
            self.means.journal.queue_trouble(str(trouble))
