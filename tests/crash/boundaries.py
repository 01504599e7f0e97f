"""boundaries: SIGKILL exactly before each write, fsync, rename and unlink of a story.

A kill loses no page that the kernel has, so the state of the files changes only at these calls: before
the N-th is after the one before it.  Each point is a life of its own: started, killed there, examined.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.crash.examine import Examined, examine
from tests.crash.power import TRACED
from tests.crash.result import Crash
from tests.crash.trace import Event, Fault, events, play


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
        played = play(story, work, *fault.options)
        if played.status != -9:
            found = Examined((f"was not killed: status {played.status}",))
        else:
            found = examine(work / "live", played.told)
        yield Crash(f"kill -9 at a call, {story}", str(fault), found)
