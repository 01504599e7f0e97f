"""deeds: what an operator does by the page or the API: what the commands do, and a line in the log of who did it.

    hold release retry delete return     a message, or one recipient of it
    retry return delete                  a group of refused mail
    flush pause resume                   a domain

A message that lies in quarantine is released from there and deleted there; the same words
mean the same to whoever reads them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate import desk
from backupmx.operate.desk import Done
from backupmx.operate.groups import Act, Choice, act_on_all, changing
from backupmx.operate.serve.lock import is_running
from backupmx.queue.entry import FlushProgress, QueuedEntry, State
from backupmx.queue.sqlite import SqliteQueue
from backupmx.route.routes import Routes

VERBS = {verb.name: verb for verb in (desk.HOLD, desk.RELEASE, desk.RETRY, desk.DELETE)}
QUARANTINE_VERBS = {verb.name: verb for verb in (desk.FREE, desk.FORGET)}
WORDS = (*VERBS, "return")
GROUP_WORDS = ("retry", "return", "delete")


class Unknown(Exception):
    """No such message, domain or group."""


class Refused(Exception):
    """It is there, and this cannot be done to it now."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """With the queue of one process."""

    queue: SqliteQueue
    config: Config
    routes: Routes
    journal: Journal
    changed: Callable[[], None]
    """Called when something was done: what was seen before is no longer so."""

    async def on_message(self, by: str, word: str, id: str, address: str = "", force: bool = False) -> int:
        """-> how many recipients it was done to.  Raises Unknown, Refused."""
        if word == "return":
            done = await self._return(id, address, force)
        else:
            done = await self._change(word, id, address, force)
        if done.unknown:
            raise Unknown(f"no message {id}{f' for {address}' if address else ''} in the queue")
        if done.why:
            raise Refused(f"{id}: {done.why}")
        self._done(by, word, f"{id}{f' to {address}' if address else ''}", done.many)
        return done.many

    async def _change(self, word: str, id: str, address: str, force: bool) -> Done:
        if word in QUARANTINE_VERBS and await self.queue.quarantined(id=id):
            verb = desk.FREE_BY_FORCE if force and word == "release" else QUARANTINE_VERBS[word]
            return await desk.act(self.queue, verb, id, address)
        return await desk.act(self.queue, VERBS[word], id, address)

    async def _return(self, id: str, address: str, force: bool) -> Done:
        bounce_to = "all" if force else self.config.relay.bounce_to
        return await desk.give_back(
            self.queue, self.routes, self.config.hostname, id, address, bounce_to=bounce_to
        )  # fmt: skip

    async def on_group(self, by: str, word: str, next_hop: str, kind: str) -> int:
        """-> how many recipients.  Raises Unknown."""
        done = await act_on_all(self.queue, Choice(next_hop, kind), self._act(word))
        if not done:
            raise Unknown(f"nothing that {next_hop} refused ({kind}) is left")
        self._done(by, word, f"refused by {next_hop}: {kind}", done)
        return done

    def _act(self, word: str) -> Act:
        now = time.time()
        if word == "retry":
            return changing(State.QUEUED, "", now)
        if word == "delete":
            return changing(State.DELETED, "deleted by operator", now)
        refused = frozenset({State.REFUSED})

        async def give_back(queue: SqliteQueue, entry: QueuedEntry) -> int:
            many = 0
            for address in await desk.refused_addresses(queue, entry):
                many += (
                    await desk.give_back(
                        queue, self.routes, self.config.hostname, entry.id, address,
                        bounce_to=self.config.relay.bounce_to, states=refused,
                    )
                ).many  # fmt: skip
            return many

        return give_back

    async def flush(self, by: str, domain: str = "") -> FlushProgress:
        """What is deferred is due now, for this domain or all.  Raises Unknown, Refused."""
        domains = [self._ours(domain)] if domain else []
        if not is_running(self.config):
            raise Refused("the appliance does not run; what waits goes out when it starts")
        account = await self.queue.start_flush(domains, time.time())
        self._done(by, "flush", domain or "all domains", account.total)
        return account

    async def pause(self, by: str, domain: str) -> int:
        """-> how many wait.  Raises Unknown."""
        waiting = await self.queue.pause(self._ours(domain), time.time())
        self._done(by, "pause", domain, waiting)
        return waiting

    async def resume(self, by: str, domain: str) -> int:
        """-> how many waited.  Raises Unknown."""
        folded = domain.lower().removesuffix(".")
        waiting = {one.domain: one.recipients for one in await self.queue.paused()}
        if not await self.queue.resume(folded):
            raise Unknown(f"{folded or 'no domain'} is not paused")
        self._done(by, "resume", folded, waiting.get(folded, 0))
        return waiting.get(folded, 0)

    def _done(self, by: str, what: str, on: str, many: int) -> None:
        self.journal.ordered(by, what, on, many)
        self.changed()

    def _ours(self, domain: str) -> str:
        folded = domain.lower().removesuffix(".")
        if not folded or not self.routes.is_ours(f"postmaster@{folded}"):
            raise Unknown(f"{folded or 'that'} is not among our relay domains")
        return folded
