"""source_command: a program that prints the addresses, one a line.

It is run as we are, without a shell, with no input, in a session of its own, so
that what it started ends with it.  Its list counts only when it ends with
status 0 in time: half a list looks like a whole one.

Trouble
    SourceTrouble   no such program, a status other than 0 (with the last line
                    it wrote to standard error), too slow, too much, not UTF-8.
"""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from threading import Event

from backupmx.recipients.source import NEVER, Fetched, SourceTrouble, read

_LARGEST = 64 << 20
"""Octets of a list: two million addresses."""
_LOOK = 0.05
"""Seconds between two looks at how much it has printed."""


@dataclass(frozen=True, slots=True)
class CommandSource:
    name: str
    command: tuple[str, ...]
    """Program and arguments."""
    domains: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    every: float = 3600.0
    timeout: float = 60.0

    def fetch(self, given_up: Event = NEVER) -> Fetched:
        """Raises SourceTrouble."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if status := self._run(out.fileno(), err.fileno(), given_up):
                raise self._trouble(f"{_how(status)}{_last_line(err.fileno())}")
            out.seek(0)
            try:
                return read((line.decode("utf-8") for line in out), self.name, self.domains, self.suffixes)
            except UnicodeDecodeError as error:
                raise self._trouble(f"printed what is not UTF-8: {error.reason}") from None

    def _trouble(self, what: str) -> SourceTrouble:
        return SourceTrouble(f"{self.name}: {self.command[0]} {what}")

    def _run(self, out: int, err: int, given_up: Event) -> int:
        try:
            process = subprocess.Popen(  # noqa: S603 the operator's own command, no shell
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise self._trouble(f"cannot be run: {error.strerror}") from None
        deadline = time.monotonic() + self.timeout
        try:
            while (status := _ended(process)) is None:
                if time.monotonic() > deadline:
                    raise self._trouble(f"took longer than {self.timeout:.0f} s")
                if given_up.is_set():
                    raise self._trouble("was given up")
                self._not_too_much(out, err)
            self._not_too_much(out, err)
            return status
        finally:
            _end(process)

    def _not_too_much(self, *files: int) -> None:
        """It is looked at while it prints: the disk that it would fill is everybody's."""
        if any(os.fstat(file).st_size > _LARGEST for file in files):
            raise self._trouble(f"printed more than {_LARGEST >> 20} MiB; is this a list of addresses?")


def _ended(process: "subprocess.Popen[bytes]") -> int | None:
    """Its status, or None after a moment."""
    try:
        return process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The program and what it left running; until it is waited for, its number is nobody else's."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of them have gone already
    process.wait()


def _how(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"


def _last_line(err: int) -> str:
    size = os.fstat(err).st_size
    lines = os.pread(err, 1000, max(0, size - 1000)).decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last}" if last else ""
