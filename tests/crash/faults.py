"""faults: the disk says no at each call of a story, once, for a while, or from then on.

    ENOSPC EDQUOT    full; the sender reads 452
    EIO              broken; 451
    EROFS            became read-only, as ext4 does after trouble

The process lives, what it refused is not there, what it promised is; when the fault goes, mail flows.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.crash.boundaries import counted
from tests.crash.examine import Examined, examine
from tests.crash.power import TRACED
from tests.crash.result import Crash
from tests.crash.trace import Fault, events, play

ERRORS = {
    "pwrite64": ("ENOSPC", "EIO", "EDQUOT", "EROFS"),
    "write": ("ENOSPC", "EIO", "EDQUOT", "EROFS"),
    "openat": ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EMFILE"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT", "EROFS"),
    "ftruncate": ("EIO", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "pread64": ("EIO",),
}
"""By call: what it may answer."""

_READS = ("-e", "trace=pread64,openat")


def places(story: str, work: Path) -> list[tuple[str, str, int]]:
    """(call, path, N) of every call that may fail."""
    changes = counted(events(play(story, work, *TRACED).log), work)
    reads = counted(events(play(story, work, *_READS).log), work)
    return [place for place in dict.fromkeys([*changes, *reads]) if place[0] in ERRORS]


def faults(story: str, work: Path, *, every: int = 1, start: int = 0) -> Iterator[Crash]:
    """Every error at every call: once, for nine calls, and for good, in turn."""
    chosen = [
        (call, path, n, error, place + turn)
        for place, (call, path, n) in enumerate(places(story, work))
        for turn, error in enumerate(ERRORS[call])
    ]
    for call, path, n, error, turn in chosen[start::every]:
        long = ("", f"..{n + 8}", "", "+")[turn % 4]
        fault = Fault(call, path, f"{n}{long}", error)
        yield Crash(f"{error}, {story}", str(fault), _after(story, work, fault))


def _after(story: str, work: Path, fault: Fault) -> Examined:
    played = play(story, work, *fault.options)
    wrongs = []
    if "open" not in played.told.words:  # it must not start, and says why
        if not played.errors.startswith(("QueueTrouble: ", "QueueFull: ", "Uncertain: ")):
            wrongs.append(f"at the start, {played.status}: {played.errors[-300:]}")
    elif played.status:
        wrongs.append(f"the process ended with {played.status}: {played.errors[-300:]}")
    elif not fault.when.endswith("+") and "works" not in played.told.words:
        wrongs.append("mail is not taken again when the fault is gone")
    found = examine(work / "live", played.told)
    return Examined((*wrongs, *found.wrongs), found.duplicates, found.aside, found.kept)
