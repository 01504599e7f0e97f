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
from dataclasses import dataclass

from backupmx.recipients.source import Fetched, SourceTrouble, read

_LARGEST = 256 << 20
"""Octets of a list: some millions of addresses."""


@dataclass(frozen=True, slots=True)
class CommandSource:
    name: str
    command: tuple[str, ...]
    """Program and arguments."""
    domains: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    every: float = 3600.0
    timeout: float = 60.0

    def fetch(self) -> Fetched:
        """Raises SourceTrouble."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if status := self._run(out.fileno(), err.fileno()):
                raise self._trouble(f"{_how(status)}{_last_line(err.fileno())}")
            size = os.fstat(out.fileno()).st_size
            if size > _LARGEST:
                raise self._trouble(f"printed {size} octets; is this a list of addresses?")
            out.seek(0)
            try:
                text = out.read().decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._trouble(f"printed what is not UTF-8: {error.reason}") from None
        return read(text.splitlines(), self.name, self.domains, self.suffixes)

    def _trouble(self, what: str) -> SourceTrouble:
        return SourceTrouble(f"{self.name}: {self.command[0]} {what}")

    def _run(self, out: int, err: int) -> int:
        try:
            process = subprocess.Popen(  # noqa: S603 the operator's own command, no shell
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise self._trouble(f"cannot be run: {error.strerror}") from None
        try:
            return process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise self._trouble(f"took longer than {self.timeout:.0f} s") from None
        finally:
            _end(process)


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
