"""verify: a primary is asked whether somebody exists, while a client waits.

    door ─ask(address, next hop)─► Verify ─► the same question under way?   its answer
                                     ├─► may it be asked now?               store.may_ask
                                     ├─► probe ─► the primary's word        store.teach
                                     └─► the client has waited enough       SILENT; the answer is there when it
                                                                            comes again

The primary is protected from us: about one address it is asked once at a time and, over all workers, once
in 1000 seconds; each next hop so many times a minute (`recipients.probe_rate`), and from one worker over
ten connections at most.  So a dictionary of ten thousand names costs it a minute's allowance and no more: all
others read 450.  A domain that takes a random name is taken by its word for a day, whatever the name.

What the store learns is what a delivery would teach: a 2xx is a yes, an unknown user (refusal.py) a no.  A
4xx, another 5xx, a connection that broke teach nothing, and never undo a yes.

It is for its caller not to ask while the primary is down (receive/primary_up.py).

Trouble
    StoreTrouble   told; nobody is asked without the store, whose count protects the primary: SILENT.

Standards: Postfix ADDRESS_VERIFICATION_README, verify(8).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from backupmx.journal import Journal
from backupmx.mail.address import domain_of, folded
from backupmx.recipients.probe import Heard, ProbeTrouble
from backupmx.recipients.refusal import unknown_user
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import MayAsk, Store, StoreTrouble

T = TypeVar("T")

_AT_ONCE = 10
"""Questions to one next hop, of one process."""
_STRANGER_EVERY = 3600.0
"""A domain that refused a random name is tried with another after so long."""
_MOST = 10_000


class Word(StrEnum):
    """What came of asking."""

    EXISTS = "exists"
    UNKNOWN = "unknown"
    SILENT = "silent"  # no answer, none that says anything, or not asked


class Ask(Protocol):
    """Puts the question: probe.probe, with what it needs."""

    def __call__(self, address: str, next_hop: str, *, stranger: bool) -> Awaitable[Heard]:
        """Raises ProbeTrouble."""
        ...


@dataclass(frozen=True, slots=True)
class VerifySettings:
    wait: float = 9.0
    """Seconds a client waits (Postfix: address_verify_poll_count * address_verify_poll_delay)."""
    a_minute: float = 60.0
    """Questions to one next hop, over all processes."""


class Verify:
    """One process's questions.  `settings` and `probe` are replaced by a reload."""

    def __init__(
        self, store: Store, probe: Ask, settings: VerifySettings, journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`store`: for its own threads alone."""
        self.settings = settings
        self.probe = probe
        self._store = store
        self._journal = journal
        self._clock = clock
        self._asking: dict[str, asyncio.Task[Word]] = {}
        self._open: Counter[str] = Counter()
        self._wait_until: dict[str, float] = {}
        self._choosy: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(1, "verify")

    async def ask(self, address: str, next_hop: str) -> Word:
        """For at most `settings.wait` seconds."""
        task = self._begin(address, next_hop)
        if task is None:
            return Word.SILENT
        done, _ = await asyncio.wait([task], timeout=self.settings.wait)
        return task.result() if done and not task.cancelled() else Word.SILENT

    def refresh(self, address: str, next_hop: str) -> None:
        """Ask, and let nobody wait for it."""
        self._begin(address, next_hop)

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown()
        self._store.close()

    def _begin(self, address: str, next_hop: str) -> asyncio.Task[Word] | None:
        """The question that is under way, or a new one; None: not now."""
        key = folded(address)
        if (task := self._asking.get(key)) is not None:
            return task
        if self._open[next_hop] >= _AT_ONCE or self._clock() < self._wait_until.get(next_hop, 0.0):
            return None
        task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(address, next_hop))
        self._open[next_hop] += 1
        task.add_done_callback(lambda _: self._end(key, next_hop))
        return task

    def _end(self, key: str, next_hop: str) -> None:
        del self._asking[key]
        self._open[next_hop] -= 1

    async def _ask(self, address: str, next_hop: str) -> Word:
        try:
            return await self._ask_now(address, next_hop)
        except StoreTrouble as trouble:
            self._journal.recipients_trouble(str(trouble))
        except Exception as error:
            self._journal.bug(f"asking about {address}", error)
        return Word.SILENT

    async def _ask_now(self, address: str, next_hop: str) -> Word:
        if not await self._allowed(address, next_hop):
            return Word.SILENT
        try:
            heard = await self.probe(address, next_hop, stranger=self._doubts(domain_of(address)))
        except ProbeTrouble as trouble:
            self._journal.probed(address, next_hop, Word.SILENT, str(trouble))
            return Word.SILENT
        word = _word(heard)
        self._journal.probed(address, heard.host, word, str(heard.reply))
        await self._in_thread(lambda: self._learn(address, heard, word))
        return word

    async def _allowed(self, address: str, next_hop: str) -> bool:
        """Over all processes.  A next hop whose allowance is used up is left alone until there is more."""
        now, a_minute = self._clock(), self.settings.a_minute
        may = await self._in_thread(lambda: self._store.may_ask(folded(address), next_hop, a_minute, now))
        if may is MayAsk.SPENT:
            self._wait_until[next_hop] = now + 60 / a_minute
            self._journal.probes_spent(next_hop, a_minute)
        return may is MayAsk.YES

    def _doubts(self, domain: str) -> bool:
        """A random name of this domain was not refused lately."""
        return self._clock() >= self._choosy.get(domain, 0.0)

    def _learn(self, address: str, heard: Heard, word: Word) -> None:
        """In the thread.  Raises StoreTrouble."""
        now, whole = self._clock(), f"@{domain_of(address)}"
        lessons: dict[str, Taught] = {}
        if word is not Word.SILENT:
            lessons[folded(address)] = Taught(
                word is Word.EXISTS, now, str(heard.reply) if word is Word.UNKNOWN else ""
            )
        if heard.stranger is not None and heard.stranger.code < 300:
            lessons[whole] = Taught(True, now, whole=True)
        if lessons:
            self._store.teach(lessons)
        if heard.stranger is not None and unknown_user(heard.stranger):
            self._store.unteach([whole])
            if len(self._choosy) >= _MOST:
                self._choosy.clear()
            self._choosy[whole[1:]] = now + _STRANGER_EVERY

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _word(heard: Heard) -> Word:
    if heard.reply.code < 300:
        return Word.EXISTS
    return Word.UNKNOWN if unknown_user(heard.reply) else Word.SILENT
