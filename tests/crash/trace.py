"""trace: a story under strace: what it did to its files, killed or refused at one of its calls.

    play      run a story in a fork of this process.  -> how it ended, and its events
    Fault     at which call on which file what is to happen: SIGKILL before it is done, or an error in its place

strace counts for each thread; in the scripted stories each file has one writer, so the N-th call is
the same call in each run.  A fork spares the start of Python; what is forked holds no queue open.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.story import furnish, tell
from tests.crash.told import Told

CHANGES = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "openat")
"""What changes files, or asks the disk.  SQLite's other files are memory (-shm) or are not written."""

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_HALF = re.compile(r"(\d+) +((\w+)\(.*) <unfinished \.\.\.>")
_REST = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_FILE = re.compile(r"(\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Event:
    """A call that had returned; `asks` is an fsync that begins."""

    call: str
    path: str
    data: bytes = b""
    """What was written; O_CREAT, O_TRUNC of an openat."""
    at: int = 0
    """Where in the file; -1: at its end."""
    ok: bool = True
    thread: int = 0
    to: str = ""
    """The new name after a rename."""
    file: int = -1
    """Its descriptor."""


@dataclass(frozen=True, slots=True)
class Fault:
    call: str
    path: str
    """The file."""
    when: str
    """strace's: "3" the third such call of a thread, "3+" from there on, "3..9" a while."""
    error: str = ""
    """EIO, ENOSPC ...; "": SIGKILL."""

    def __str__(self) -> str:
        return f"{self.error or 'SIGKILL'} at {self.call} {self.when} of {os.path.basename(self.path)}"

    @property
    def options(self) -> list[str]:
        what = f"error={self.error}" if self.error else "signal=KILL"
        return ["-e", f"trace={self.call}", "-P", self.path, "-e", f"inject={self.call}:{what}:when={self.when}"]


@dataclass(frozen=True, slots=True)
class Played:
    status: int
    """0; below zero the signal that ended it."""
    told: Told
    log: str
    errors: str
    """What it said when it ended otherwise than well."""


def nothing() -> None:
    """Before a story that is played as it is."""


def play(
    story: str,
    work: Path,
    *options: str,
    before: Callable[[], None] = nothing,
    seconds: float = 60.0,
) -> Played:
    """Run `story` in work/live under strace with these options; `before` is called in its process."""
    before_it = furnish(story, work / "live")
    said, log = work / "said", work / "trace"
    pid = forked(story, work, said, before)
    os.waitpid(pid, os.WUNTRACED)
    command = ["strace", "-f", "-y", "-xx", "-s", "2000000", *options, "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        if b"attached" not in strace.stderr.readline():
            raise RuntimeError(f"strace cannot attach: {strace.stderr.read().decode()}")
        os.kill(pid, signal.SIGCONT)
        status = _ended(pid, seconds)
    told = Told()
    told.hear("".join(line for line in before_it.splitlines(True) if not line.startswith("word")))
    told.hear(said.read_text())
    return Played(os.waitstatus_to_exitcode(status), told, log.read_text(), (work / "errors").read_text())


def forked(story: str, work: Path, said: Path, before: Callable[[], None] = nothing) -> int:
    """A child that waits for its tracer before it does anything."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(os.open(work / "errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), 2)
        before()
        os.kill(os.getpid(), signal.SIGSTOP)
        tell(story, work / "live")
        status = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def _ended(pid: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise RuntimeError(f"the story did not end within {seconds:.0f} s")


# What strace wrote


def events(log: str) -> Iterator[Event]:
    """In the order in which the calls returned."""
    halves: dict[str, str] = {}
    for line in log.splitlines():
        if match := _HALF.fullmatch(line):
            halves[match[1]] = match[2]
            if match[3] in ("fsync", "fdatasync") and (file := _FILE.search(match[2])):
                yield Event("asks", _name(file[2]), thread=int(match[1]))
        elif match := _REST.match(line):
            yield from _event(f"{match[1]} {halves.pop(match[1])}{match[2]}")
        else:
            for event in _event(line):
                if event.call in ("fsync", "fdatasync"):
                    yield Event("asks", event.path, thread=event.thread)
                yield event


def _event(line: str) -> Iterator[Event]:
    match = _CALL.match(line)
    if match is None:
        return
    thread, call, arguments, result = int(match[1]), match[2], match[3], int(match[4])
    ok, file = result >= 0, _FILE.match(arguments)
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
    if call in ("unlink", "rename"):
        to = texts[1].decode() if call == "rename" else ""
        yield Event(call, texts[0].decode(), ok=ok, thread=thread, to=to)
    elif call == "openat":
        flags = b"".join(flag.encode() for flag in ("O_CREAT", "O_TRUNC") if flag in arguments)
        yield Event(call, texts[0].decode(), flags, ok=ok, thread=thread)
    elif file and file[1] == "1":
        yield Event("said", "", texts[0], thread=thread)
    elif file:
        at = int(arguments.rpartition(", ")[2]) if call in ("pwrite64", "ftruncate") else -1
        data = texts[0][: max(result, 0)] if texts and call in ("pwrite64", "write") else b""
        yield Event(call, _name(file[2]), data, at, ok, thread, file=int(file[1]))


def _name(shown: str) -> str:
    return bytes.fromhex(shown.replace("\\x", "")).decode() if shown.startswith("\\x") else shown
