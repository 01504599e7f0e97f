"""remembered: what an engine said of the same message a few minutes ago, and whoever asks it the same just now.

    answer, again = await remembered.get(key, ask)

`again` says that no engine was asked for this one.  Those who ask for the same
key at the same time share one question; it is given up when the last of them
is.  An answer is kept for `seconds`; of more than `most` answers the one that
nobody asked for the longest goes.  Trouble is shared and not kept.

A key begins with the digest of what the engine is shown, our own Received
aside: that differs each time and says nothing that is not in the key.

Each receiving process remembers for itself: a flood of one message costs one
scan in each.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from backupmx.check.aside import aside
from backupmx.check.finding import Mail

V = TypeVar("V")


@dataclass(slots=True)
class _Question(Generic[V]):
    task: "asyncio.Future[V]"
    waiting: int = 0


class Remembered(Generic[V]):
    """A memory of bounded size."""

    def __init__(self, seconds: float, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._known: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._asking: dict[Hashable, _Question[V]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[V]]) -> tuple[V, bool]:
        """The answer, and whether it was there already.  Raises what `ask` raises."""
        entry = self._known.get(key)
        if entry is not None and self._clock() < entry[0]:
            self._known.move_to_end(key)
            return entry[1], True
        question = self._asking.get(key)
        again = question is not None
        if question is None:
            question = self._begin(key, ask)
        question.waiting += 1
        try:
            return await asyncio.shield(question.task), again
        finally:
            question.waiting -= 1
            if not question.waiting and not question.task.done():
                self._end(key, question)
                question.task.cancel()
            del question  # trouble knows this frame, which would know it: the message would stay until gc looks

    def _begin(self, key: Hashable, ask: Callable[[], Awaitable[V]]) -> _Question[V]:
        question = _Question(asyncio.ensure_future(ask()))
        self._asking[key] = question
        question.task.add_done_callback(lambda task: self._done(key, question))
        return question

    def _done(self, key: Hashable, question: _Question[V]) -> None:
        self._end(key, question)
        if not question.task.cancelled() and question.task.exception() is None:
            self._known[key] = (self._clock() + self._seconds, question.task.result())
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def _end(self, key: Hashable, question: _Question[V]) -> None:
        if self._asking.get(key) is question:
            del self._asking[key]


async def digest(mail: Mail) -> bytes:
    """Of the message without what we put on top; of a large one in a thread."""
    return await aside(mail.message.size, digest_of, mail)


def digest_of(mail: Mail) -> bytes:
    """Pure."""
    hashed = hashlib.sha256(mail.as_sent.head)
    for chunk in mail.message.body:
        hashed.update(chunk)
    return hashed.digest()
