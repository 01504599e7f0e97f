"""loop: an event loop for one process, and what the process is told from outside."""

import asyncio
import errno
import gc
import os
import signal
from collections.abc import Coroutine
from typing import Any, Literal

from backupmx.journal import Journal

Word = Literal["reload", "stop"]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(story: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed (an extra: FreeBSD has no wheel), else on asyncio's own loop."""
    _collect_seldom()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(story)
    return int(uvloop.run(story))


def _collect_seldom() -> None:
    """Python looks for cycles after every 700 new objects, which is after every few messages, and again through
    everything that policy and libraries have made.  What goes its way here leaves no cycles but after an exception:
    that look took a twelfth of the relay's time, and finds the same after 10,000.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def report_to(journal: Journal) -> None:
    """What the loop itself has to say goes to the journal and not past it; the lines of one turn go together."""

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            journal.out_of_files(error.strerror or str(error))  # asyncio waits a second and accepts again
        else:
            journal.bug(str(context.get("message", "event loop")), error or RuntimeError(str(context)))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell)
    journal.gather(loop.call_soon)


class Told:
    """Signals and the supervisor's pipe as words, in order: SIGHUP "reload"; SIGTERM, or its death, "stop".

    `supervisor` is the reading end of a pipe nobody writes to: it becomes
    readable when the supervisor is gone, however it went.  -1: no supervisor.
    """

    def __init__(self, supervisor: int = -1) -> None:
        loop = asyncio.get_running_loop()
        self._words: asyncio.Queue[Word] = asyncio.Queue()
        loop.add_signal_handler(signal.SIGHUP, self._words.put_nowait, "reload")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._words.put_nowait, "stop")
        if supervisor >= 0:
            loop.add_reader(supervisor, self._orphaned, supervisor)
        # Blocked since before the fork: what came meanwhile is heard now, and kills nobody.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _orphaned(self, supervisor: int) -> None:
        asyncio.get_running_loop().remove_reader(supervisor)
        os.close(supervisor)
        self._words.put_nowait("stop")

    async def word(self) -> Word:
        return await self._words.get()
