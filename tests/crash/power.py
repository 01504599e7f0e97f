"""power: the power fails at each moment of a story, with each kind of luck.

A story is traced once; its writes are played on a disk that is cut off after each of them (disk.py), and
what is left is examined.  The moments are those at which an fsync has just returned, a name has changed,
or somebody was just promised something: there a lie shows.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.crash.disk import Disk, Luck, lucks
from tests.crash.examine import Examined, examine
from tests.crash.result import Crash
from tests.crash.story import furnish
from tests.crash.told import Told
from tests.crash.trace import CHANGES, Event, Played, events, nothing, play

TRACED = ("-e", f"trace={','.join(CHANGES)}")


def power_cuts(
    story: str, work: Path, *, every: int = 1, start: int = 0, seed: int = 0, before: Callable[[], None] = nothing
) -> Iterator[Crash]:
    """Cut at every `every`-th moment from `start` on, with each luck.  `before`: called in the story's process."""
    played = play(story, work, *TRACED, before=before)
    if played.status:
        yield Crash(f"power cut, {story}", "before it", Examined((f"{story} ended by itself: {played.errors}",)))
        return
    yield from _cuts(f"power cut, {story}", story, work, played, lucks(seed), every, start)


def forgetful_disks(
    story: str,
    work: Path,
    *,
    every: int = 1,
    start: int = 0,
    before: Callable[[], None] = nothing,
    chosen: Callable[[list[str]], list[str]] = list,
) -> Iterator[Crash]:
    """Each fsync of the log fails in turn and the disk forgets what it was asked for; later the power fails."""
    for when in chosen(_syncs_of_the_log(list(events(play(story, work, *TRACED).log)))):
        played = play(story, work, *TRACED, "-e", f"inject=fdatasync:error=EIO:when={when}", before=before)
        kind = f"power cut after a failed fsync, {story}"
        for crash in _cuts(kind, story, work, played, [Luck()], every, start):
            yield replace(crash, what=f"fdatasync {when} failed; {crash.what}")


def _syncs_of_the_log(happened: Sequence[Event]) -> list[str]:
    """As strace counts, for each thread.

    Linux tells an error once to each descriptor: what failed for SQLite's fails for ours too, the next time.
    """
    writing = {(e.thread, e.file) for e in happened if e.call == "pwrite64" and e.path.endswith("-wal")}
    found: dict[str, None] = {}
    seen: Counter[int] = Counter()
    for event in happened:
        if event.call == "fdatasync":
            n = seen[event.thread] = seen[event.thread] + 1
            if event.path.endswith("-wal"):
                found[f"{n}..{n + 1}" if (event.thread, event.file) in writing else f"{n}"] = None
    return list(found)


def _cuts(
    kind: str, story: str, work: Path, played: Played, chosen: Sequence[Luck], every: int, start: int
) -> Iterator[Crash]:
    before = furnish(story, work / "live")
    disk, told = Disk(work / "live"), Told()
    told.hear(before)
    left, moment = work / "left", 0
    for at, event in enumerate(events(played.log)):
        if event.call == "said":
            told.hear(event.data.decode())
        else:
            disk.play(event)
        if not _moment(event, work):
            continue
        moment += 1
        if moment < start or (moment - start) % every:
            continue
        for luck in chosen:
            shutil.rmtree(left, ignore_errors=True)
            disk.power_cut(left, luck)
            yield Crash(kind, f"event {at}, {event.call} {Path(event.path).name}, {luck.name}", examine(left, told))


def _moment(event: Event, work: Path) -> bool:
    """After an answer from the disk, after a promise, after a name has changed.  In between luck decides anyway."""
    if event.call == "said":
        return any(word in event.data for word in (b"end ", b"failed ", b"dropped "))
    return event.call in ("fsync", "fdatasync", "unlink", "rename") and event.path.startswith(str(work / "live"))
