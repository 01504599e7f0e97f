"""disk: what a power cut leaves of a folder, told from a trace of system calls.

`Disk` plays the events of a story.  What was written before its file's last fsync is there; what came
later may be there, in part, or not at all.  A name is there for sure, or gone for sure, after the fsync
of its folder; before that as luck has it.  A disk that could not write when it was asked forgets: what
was asked for is lost for good, as Linux does it (a page that failed is clean afterwards).

    Luck    what happens to be there although nobody waited for it
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.trace import Event

SECTOR = 512


class Luck:
    """Nothing that nobody waited for is there.  The others are kinder, which is not always better."""

    name = "nothing unasked"

    def file(self, path: str) -> bool:
        """Asked once a file: is anything of it there?"""
        return False

    def write(self) -> bool:
        return False

    def sector(self) -> bool:
        return True

    def link(self) -> bool:
        """A name that was made or removed."""
        return False


class Everything(Luck):
    name = "everything"

    def file(self, path: str) -> bool:
        return True

    def write(self) -> bool:
        return True

    def link(self) -> bool:
        return True


class Contents(Everything):
    name = "contents, not names"

    def link(self) -> bool:
        return False


class Names(Luck):
    name = "names, not contents"

    def link(self) -> bool:
        return True


class Half(Everything):
    """Each write and each name by chance."""

    name = "each write by chance"

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def write(self) -> bool:
        return self._chance.random() < 0.5

    def link(self) -> bool:
        return self._chance.random() < 0.5


class Torn(Half):
    """Each sector of 512 octets by chance."""

    name = "torn at 512 octets"

    def write(self) -> bool:
        return True

    def sector(self) -> bool:
        return self._chance.random() < 0.6


class OneFile(Half):
    """Of some files all, of others nothing: the disk's own order between files."""

    name = "whole files by chance"

    def file(self, path: str) -> bool:
        return self._chance.random() < 0.5

    def write(self) -> bool:
        return True


def lucks(seed: int) -> list[Luck]:
    chance = random.Random(seed)
    return [Luck(), Everything(), Contents(), Names(), Half(chance), Torn(chance), OneFile(chance)]


@dataclass(slots=True)
class File:
    content: bytearray = field(default_factory=bytearray)
    """What is on the disk."""
    size: int = 0
    """With what is not yet there."""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since the last fsync; None: cut to this length."""


class Disk:
    """The files of one folder and the folders in it.  What is there already is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._now: dict[str, File] = {}
        self._named: dict[str, File] = {}
        self._renaming: dict[str, list[tuple[str, File | None]]] = {}
        """By folder: names made and (None) removed since its last fsync."""
        self._asked: dict[tuple[int, str], tuple[list[tuple[int, bytes | None]], int]] = {}
        """By thread and path: what an fsync under way is about."""
        for path in folder.rglob("*"):
            if path.is_file():
                content = bytearray(path.read_bytes())
                self._now[str(path)] = self._named[str(path)] = File(content, len(content))

    def play(self, event: Event) -> None:
        # SQLite makes -shm anew; a deleted file is nobody's.
        if not event.path.startswith(self._folder) or event.path.endswith(("-shm", "(deleted)")):
            return
        if event.call == "asks":
            self._ask(event)
        elif event.call in ("fsync", "fdatasync"):
            self._sync(event)
        elif not event.ok:
            pass
        elif event.call == "unlink":
            self._name(event.path, None)
        elif event.call == "rename":
            self._name(event.to, self._now[event.path])
            self._name(event.path, None)
        elif event.call == "openat":
            self._open(event)
        else:
            self._write(event)

    def _open(self, event: Event) -> None:
        if event.path not in self._now:
            if b"O_CREAT" in event.data:
                self._name(event.path, File())
        elif b"O_TRUNC" in event.data:
            self._now[event.path].pending.append((0, None))
            self._now[event.path].size = 0

    def _name(self, path: str, file: File | None) -> None:
        if file is None:
            self._now.pop(path, None)
        else:
            self._now[path] = file
        self._renaming.setdefault(os.path.dirname(path), []).append((path, file))

    def _write(self, event: Event) -> None:
        file = self._now[event.path]
        at = file.size if event.at < 0 else event.at
        cut = event.call == "ftruncate"
        file.pending.append((at, None if cut else event.data))
        file.size = at if cut else max(file.size, at + len(event.data))

    def _ask(self, event: Event) -> None:
        file = self._now.get(event.path)
        asked = list(file.pending) if file else []
        self._asked[event.thread, event.path] = asked, len(self._renaming.get(event.path, ()))

    def _sync(self, event: Event) -> None:
        """What was there when it began is on the disk; what came meanwhile is not."""
        asked, names = self._asked.pop((event.thread, event.path))
        if (file := self._now.get(event.path)) is not None:
            writes = {id(write) for write in asked}
            if event.ok:
                file.content = _written(file.content, [w for w in file.pending if id(w) in writes])
            file.pending = [w for w in file.pending if id(w) not in writes]
        elif event.ok:
            for path, renamed in self._renaming.get(event.path, [])[:names]:
                _rename(self._named, path, renamed)
            self._renaming[event.path] = self._renaming.get(event.path, [])[names:]

    def power_cut(self, folder: Path, luck: Luck) -> None:
        """Write what is left into `folder`."""
        (folder / "bodies").mkdir(parents=True)
        names = dict(self._named)
        for renamed in self._renaming.values():
            for path, file in renamed:
                if luck.link():
                    _rename(names, path, file)
        for name, file in names.items():
            writes = _lucky(file, luck) if luck.file(name) else []
            (folder / os.path.relpath(name, self._folder)).write_bytes(_written(file.content, writes))


def _rename(names: dict[str, File], path: str, file: File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _lucky(file: File, luck: Luck) -> list[tuple[int, bytes | None]]:
    """Of what is pending the part that is there."""
    lucky: list[tuple[int, bytes | None]] = []
    for at, data in file.pending:
        if not luck.write():
            continue
        if data is None:
            lucky.append((at, data))
            continue
        first = SECTOR - at % SECTOR
        starts = [0, *range(first, len(data), SECTOR)]
        for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
            if luck.sector():
                lucky.append((at + start, data[start:end]))
    return lucky


def _written(before: bytearray, writes: list[tuple[int, bytes | None]]) -> bytearray:
    content = bytearray(before)
    for at, data in writes:
        if data is None:
            del content[at:]
        content.extend(bytes(max(0, at + len(data or b"") - len(content))))
        content[at : at + len(data or b"")] = data or b""
    return content
