"""logbook: how an event is written, counted and kept in mind.  What events there are is journal.py's.

    Journal ─_write, _seldom─► a line     once, or at most once a minute
            ─_raise, clear───► alarms     what is wrong now
                             ─► counters, counts

Lines go to standard error whole, so the lines of several processes never mix;
under systemd (JOURNAL_STREAM is set) the journal adds time and host itself and we
leave them out.  Control bytes become "?".

In an event loop the lines of one turn go together (`gather`): a message has seven
lines, and a busy process writes those of many at once.  A write holds no
more than a pipe takes in one piece (PIPE_BUF, pipe(7)).  A process that is killed
in the middle of a turn takes its lines with it.

A log that cannot be written stops nothing.
"""

import json
import os
import re
import select
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Final

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUIET_SECONDS = 60.0

EVENTS: Final = "backupmx_events_total"
VERDICTS: Final = "backupmx_verdicts_total"
CHECKS: Final = "backupmx_checks_total"
CHECK_TIME: Final = "backupmx_check_milliseconds_total"
DELIVERIES: Final = "backupmx_deliveries_total"
FSYNCS: Final = "backupmx_fsyncs_total"
FSYNC_TIME: Final = "backupmx_fsync_microseconds_total"
FSYNC_STEPS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, float("inf"))
"""Seconds: an SSD with a safe cache takes less than the first, a disk that turns about the third."""
RULE_HITS: Final = "backupmx_rule_hits_total"
LABELS: Final[dict[str, tuple[str, ...]]] = {
    EVENTS: ("event",),
    VERDICTS: ("fate",),
    CHECKS: ("check", "engine", "seen"),
    CHECK_TIME: ("check", "engine"),
    DELIVERIES: ("state",),
    FSYNCS: ("within",),
    FSYNC_TIME: (),
    RULE_HITS: ("table", "line", "rule"),
}
"""What is counted, and by what."""

Key = tuple[str, ...]
"""A name of LABELS and a value for each of its labels."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is wrong, and stays so until somebody or something mends it."""

    key: str
    """What it is about: "engine clamd", "reload", "queue", "account", "child worker 1", "loop smtp:[192.0.2.1]"."""
    since: float
    """Seconds since the epoch."""
    text: str


def _stderr(line: bytes) -> None:
    """One write.  A log that cannot be written must not stop the mail."""
    try:
        os.write(2, line)
    except OSError:
        pass  # Standard error is gone or its disk is full: nowhere left to say so.


class Logbook:
    """Of one process.  `sink` takes finished lines; tests pass list.append."""

    def __init__(
        self,
        *,
        format: str = "postfix",
        sink: Callable[[bytes], object] = _stderr,
        clock: Callable[[], float] = time.time,
        host: str = "",
        stamped: bool | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """Events by their names."""
        self._labelled: Counter[Key] = Counter()
        self._alarms: dict[str, tuple[Alarm, float]] = {}
        self._json = format == "json"
        self._sink = sink
        self._clock = clock
        self._host = (host or os.uname().nodename).partition(".")[0]
        self._stamped = "JOURNAL_STREAM" not in os.environ if stamped is None else stamped
        self._second = -1
        self._prefix = ""
        self._last: dict[str, tuple[float, int]] = {}
        self._soon: Callable[[Callable[[], None]], object] | None = None
        self._thread = 0
        self._lines: list[bytes] = []

    @property
    def counts(self) -> dict[Key, int]:
        """Everything that is counted, since this process began."""
        return {(EVENTS, event): count for event, count in self.counters.items()} | self._labelled

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What is wrong now, in the order in which it went wrong."""
        now = self._clock()
        self._alarms = {key: (alarm, until) for key, (alarm, until) in self._alarms.items() if now < until}
        return tuple(alarm for alarm, _ in self._alarms.values())

    def clear(self, kind: str) -> None:
        """What an alarm told of is over: one by its key, or all whose keys begin with this word.  No line."""
        for key in [key for key in self._alarms if key == kind or key.startswith(f"{kind} ")]:
            del self._alarms[key]

    def gather(self, soon: Callable[[Callable[[], None]], object] | None) -> None:
        """From here on this thread's lines go at the end of each turn of its loop; `soon`: the loop's call_soon.

        None: the loop ends, and every line goes at once again.
        """
        self._soon, self._thread = soon, get_ident()
        self._write_lines()

    def _write_lines(self) -> None:
        lines, self._lines = self._lines, []
        piece: list[bytes] = []
        octets = 0
        for line in lines:
            if piece and octets + len(line) > select.PIPE_BUF:
                self._sink(b"".join(piece))
                piece, octets = [], 0
            piece.append(line)
            octets += len(line)
        if piece:
            self._sink(b"".join(piece))

    # The ways out

    def _raise(self, key: str, text: str, lasts: float = float("inf")) -> None:
        """`lasts`: seconds after which it is over unless it is raised again.  It stands since it was raised first."""
        now = self._clock()
        standing = self._alarms.get(key)
        since = standing[0].since if standing and now < standing[1] else now
        self._alarms[key] = (Alarm(key, since, _UNPRINTABLE.sub("?", text)), now + lasts)

    def _seldom(self, key: str, event: str, program: str, line: str, **fields: Any) -> None:
        """At most once a minute for each key; the counter counts every time."""
        now = self._clock()
        last, left_out = self._last.get(key, (-_QUIET_SECONDS, 0))
        if 0 <= now - last < _QUIET_SECONDS:  # below zero the clock was set back: say it
            self.counters[event] += 1
            self._last[key] = (last, left_out + 1)
            return
        if len(self._last) > 1000:
            self._last.clear()  # keys carry reasons; a log must not grow memory
        self._last[key] = (now, 0)
        more = f" (and {left_out} times more since)" if left_out else ""
        self._write(event, program, line + more, **fields)

    def _write(self, event: str, program: str, line: str, **fields: Any) -> None:
        self.counters[event] += 1
        if self._json:
            record = {"time": round(self._clock(), 3), "program": program, "pid": os.getpid(), "event": event, **fields}
            self._hand(json.dumps(record).encode() + b"\n")
            return
        if not line.isprintable():
            line = _UNPRINTABLE.sub("?", line)
        self._hand(f"{self._stamp()}backupmx/{program}[{os.getpid()}]: {line}\n".encode("utf-8", "replace"))

    def _hand(self, line: bytes) -> None:
        if self._soon is None or get_ident() != self._thread:
            self._sink(line)
            return
        if not self._lines:
            self._soon(self._write_lines)
        self._lines.append(line)

    def _stamp(self) -> str:
        if not self._stamped:
            return ""
        now = int(self._clock())
        if now != self._second:
            self._second = now
            self._prefix = f"{time.strftime('%b %e %H:%M:%S', time.localtime(now))} {self._host} "
        return self._prefix
