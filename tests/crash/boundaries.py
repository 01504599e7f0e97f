"""boundaries: SIGKILL exactly before each write, fsync, rename and unlink of a story; of a crowd at any moment.

A kill loses no page that the kernel has, so the state of the files changes only at these calls: before
the N-th is after the one before it.  Each point is a life of its own: started, killed there, examined.
Of those with many at once no two are alike: they are killed when so many lines were said, one of two
processes or both.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.crash.examine import Examined, examine
from tests.crash.power import TRACED
from tests.crash.result import Crash
from tests.crash.story import furnish
from tests.crash.told import Told
from tests.crash.trace import Event, Fault, events, forked, play
from tests.journeys.appliance import alive, kill
from tests.journeys.patience import eventually

TRIES = 5
"""Lives in which a call may come."""


def boundaries(story: str, work: Path) -> list[Fault]:
    """Every call that changes a file or asks the disk, as a place to be killed at."""
    log = play(story, work, *TRACED).log
    return [Fault(call, path, str(n)) for call, path, n in counted(events(log), work) if call != "openat"]


def counted(happened: Iterable[Event], work: Path) -> Iterator[tuple[str, str, int]]:
    """(call, path, N) as strace counts: the N-th such call of one thread.  Each once."""
    seen: Counter[tuple[int, str, str]] = Counter()
    places: dict[tuple[str, str, int], None] = {}
    for event in happened:
        own = event.path.startswith(str(work / "live")) and not event.path.endswith(("-shm", "(deleted)"))
        if own and event.call not in ("asks", "said"):
            seen[event.thread, event.call, event.path] += 1
            places[event.call, event.path, seen[event.thread, event.call, event.path]] = None
    yield from places


def kills(story: str, work: Path, *, every: int = 1, start: int = 0) -> Iterator[Crash]:
    for fault in boundaries(story, work)[start::every]:
        # strace counts the calls of a thread, and which thread writes a body is chance: not each life has each.
        lives = (play(story, work, *fault.options) for _ in range(TRIES))
        played = next((life for life in lives if life.status == -9), None)
        found = examine(work / "live", played.told) if played else Examined((f"was not killed in {TRIES} lives",))
        yield Crash(f"kill -9 at a call, {story}", str(fault), found)


def kills_in_a_crowd(story: str, work: Path, *, times: int, chance: random.Random) -> Iterator[Crash]:
    for _ in range(times):
        lines = chance.randrange(1, 250)
        victim = chance.choice(("all", "all", "one that puts", "one that relays"))
        told = Told()
        told.hear(_killed(story, work, lines, victim))
        yield Crash(f"kill -9 at any moment, {story}", f"{victim}, line {lines}", examine(work / "live", told))


def _killed(story: str, work: Path, lines: int, victim: str) -> str:
    """-> what was said; of a killed process up to its last whole line, which is all there is."""
    furnish(story, work / "live")
    said = work / "said"
    pid = forked(story, work, said)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGCONT)
    while said.read_text().count("\n") < lines and alive(pid):
        time.sleep(0.0005)  # a line is the moment: no coarser
    both = [pid, *children(pid)]
    for one in {"all": both, "one that puts": both[:1], "one that relays": both[1:]}[victim]:
        kill(one)
    os.waitpid(pid, 0)
    eventually(lambda: not any(alive(one) for one in both))  # the other one ends its work
    return said.read_text()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []  # it has ended
