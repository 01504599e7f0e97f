"""disk: what a power cut leaves, told from a trace of system calls.

`traced` runs a program under strace; `Disk` plays its writes and fsyncs: what
was written before the last fsync of its file is there, what came later may be
there, in part, or not; a name is there for sure after the fsync of its folder.
"""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_HALF = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>")
_REST = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_FILE = re.compile(r"(\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_ENV = {**os.environ, "PYTHONPATH": os.getcwd()}
_WATCHED = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"


@dataclass(frozen=True, slots=True)
class Event:
    """A call that had succeeded."""

    call: str
    path: str
    data: bytes = b""
    at: int = 0
    said: str = ""
    """Not a file: what the program wrote to standard output."""


def traced(log: Path, *arguments: str) -> list[Event]:
    strace = ["strace", "-f", "-y", "-xx", "-s", "2000000", "-e", f"trace={_WATCHED}", "-o", str(log)]
    subprocess.run([*strace, sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=_ENV, timeout=100)
    return list(_events(log.read_text()))


def _events(log: str) -> Iterator[Event]:
    halves: dict[str, str] = {}
    for line in log.splitlines():
        if match := _HALF.fullmatch(line):
            halves[match[1]] = match[2]
        elif match := _REST.match(line):
            yield from _event(f"{match[1]} {halves.pop(match[1])}{match[2]}")
        else:
            yield from _event(line)


def _event(line: str) -> Iterator[Event]:
    """A call counts when it has returned: an fsync promises nothing before."""
    match = _CALL.match(line)
    if match is None or int(match[4]) < 0:
        return
    _, call, arguments, result = match.groups()
    file, texts = _FILE.match(arguments), _TEXT.findall(arguments)
    data = bytes.fromhex(texts[0].replace("\\x", "")) if texts else b""
    if call == "unlink":
        yield Event(call, data.decode())
    elif file and file[1] == "1":
        yield Event("said", "", said=data.decode())
    elif file:
        path = bytes.fromhex(file[2].replace("\\x", "")).decode() if file[2].startswith("\\x") else file[2]
        at = int(arguments.rpartition(", ")[2]) if call in ("pwrite64", "ftruncate") else -1
        yield Event(call, path, data[: int(result)] if texts else b"", at)


@dataclass(slots=True)
class File:
    content: bytearray = field(default_factory=bytearray)
    """What is on the disk."""
    size: int = 0
    """With what is not yet there."""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since the last fsync; None: cut to this length."""


class Disk:
    """The files of one folder and the folders in it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._now: dict[str, File] = {}
        self._named: dict[str, File] = {}

    def play(self, event: Event) -> None:
        if not event.path.startswith(self._folder) or event.path.endswith("-shm"):  # SQLite makes that one anew
            return
        if event.call == "unlink":
            self._now.pop(event.path, None)
        elif event.call in ("fsync", "fdatasync"):
            self._sync(event.path)
        elif not event.path.endswith("(deleted)"):
            file = self._now.setdefault(event.path, File())
            at = file.size if event.at < 0 else event.at
            file.pending.append((at, None if event.call == "ftruncate" else event.data))
            file.size = at if event.call == "ftruncate" else max(file.size, at + len(event.data))

    def _sync(self, path: str) -> None:
        if path in self._now:
            file = self._now[path]
            file.content = _written(file, file.pending)
            file.pending = []
            return
        for names in (self._named, self._now):
            for name in [name for name in names if os.path.dirname(name) == path]:
                if names is self._named and name not in self._now:
                    del self._named[name]
                else:
                    self._named[name] = self._now[name]

    def power_cut(self, folder: Path, luck: float) -> None:
        """Write what is left into `folder`; each thing that was not asked for is there with this probability."""
        (folder / "bodies").mkdir(parents=True)
        names = {**self._named} if luck < 1 else {**self._now}
        if 0 < luck < 1:
            names |= {name: file for name, file in self._now.items() if random.random() < luck}
        for name, file in names.items():
            lucky = [write for write in file.pending if random.random() < luck]
            (folder / os.path.relpath(name, self._folder)).write_bytes(_written(file, lucky))


def _written(file: File, writes: list[tuple[int, bytes | None]]) -> bytearray:
    content = bytearray(file.content)
    for at, data in writes:
        if data is None:
            del content[at:]
        content.extend(bytes(max(0, at + len(data or b"") - len(content))))
        content[at : at + len(data or b"")] = data or b""
    return content
