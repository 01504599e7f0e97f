"""served: the appliance as a process of its own, its log and its commands.

`backupmx serve` runs in a session of its own: a Ctrl-C on the demo's terminal
is the demo's to answer, and `kill()` takes the supervisor and all its
children at once, as a power cut does.  Its log is JSON; a thread reads it and
keeps every event, `wait_for` waits for one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backupmx.operate.demo.step import Trouble

Event = Mapping[str, Any]

PATIENCE = 15.0
"""Seconds for anything that is a matter of milliseconds on an idle machine."""

_BACKUPMX = (sys.executable, "-c", "from backupmx.operate.cli import main; main()")


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that ended."""

    status: int
    out: str
    err: str

    def objects(self) -> list[dict[str, Any]]:
        """What --json printed, an object a line.  Raises Trouble."""
        try:
            return [json.loads(line) for line in self.out.splitlines()]
        except ValueError:
            raise Trouble(f"not JSON: {(self.out or self.err)[:200]!r}") from None


def run(*words: str, config: Path | None = None) -> Ran:
    """`backupmx WORDS -c CONFIG`, to its end.  Raises Trouble."""
    line = [*_BACKUPMX, *words, *(("-c", str(config)) if config else ())]
    try:
        ended = subprocess.run(  # noqa: S603  (our own program)
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Trouble(f"backupmx {' '.join(words)} did not end in {2 * PATIENCE:.0f} s") from None
    return Ran(ended.returncode, ended.stdout, ended.stderr)


class Served:
    """start(), stop(), kill(); `events` is its log so far, also that of earlier starts."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._events: list[Event] = []
        self._other: list[str] = []
        self._news = threading.Condition()

    @property
    def events(self) -> list[Event]:
        with self._news:
            return list(self._events)

    @property
    def complaints(self) -> list[str]:
        """What it wrote that is no event: a message of ours about its configuration, a traceback of Python's."""
        with self._news:
            return list(self._other)

    def start(self) -> None:
        """Run it and wait until it says that it runs.  Raises Trouble."""
        seen = len(self.events)
        self._process = subprocess.Popen(  # noqa: S603  (our own program)
            [*_BACKUPMX, "serve", "-c", str(self._config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="demo log", daemon=True)
        self._reader.start()
        self.wait_for(lambda e: e["event"] == "started", "the appliance to start", after=seen)

    def wait_for(self, wanted: Callable[[Event], bool], what: str, after: int = 0) -> Event:
        """The first event from number `after` on that is wanted.  Raises Trouble."""
        until = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for event in self._events[after:]:
                    if wanted(event):
                        return event
                after = len(self._events)
                if self._process is None or self._process.poll() is not None:
                    raise Trouble(f"waited for {what}, but the appliance ended: {' '.join(self._other)[-400:]}")
                if (left := until - time.monotonic()) <= 0:
                    raise Trouble(f"waited {PATIENCE:.0f} s for {what}")
                self._news.wait(min(left, 0.2))

    def wait_for_event(self, queue_id: str, *names: str) -> Event:
        """The first event of these names about one message.  Raises Trouble."""
        return self.wait_for(
            lambda e: e.get("queue_id") == queue_id and e["event"] in names, f"{queue_id} to be {' or '.join(names)}"
        )

    def stop(self) -> int | None:
        """SIGTERM, and its exit status; None when it had to be killed or was not running.

        A child of a supervisor that was killed may hold the log open: the
        reader is not waited for then.
        """
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            status: int | None = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        self.kill()
        return status

    def kill(self) -> None:
        """SIGKILL to the supervisor and every child, as a power cut.  Nothing when it does not run."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader:
            self._reader.join(PATIENCE)
        self._process = None

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stderr is not None
        with process.stderr as log:
            for line in log:
                self._keep(line.decode("utf-8", "replace").rstrip("\n"))

    def _keep(self, line: str) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        with self._news:
            if isinstance(event, dict) and "event" in event:
                self._events.append(event)
            else:
                self._other.append(line)
            self._news.notify_all()
