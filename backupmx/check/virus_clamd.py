"""virus_clamd: ClamAV's daemon over its socket, with INSTREAM.

A message is streamed as it lies in memory, in chunks of 256 KiB, nothing is
copied, over a connection that is kept (virus_sessions).  clamd unpacks and decodes; what it may scan is set in its own
clamd.conf (MaxScanSize, MaxFileSize, StreamMaxLength).

    connection refused, or no clamd behind it      EngineAway
    "INSTREAM size limit exceeded. ERROR", any     Unscannable: raise
    other ERROR, a limit of a scan exceeded        StreamMaxLength
    silence, the connection closed                 Unscannable

Heuristics.Limits.Exceeded.* (AlertExceedsMax yes) is clamd's way to say that
it did not look at everything: that is Unscannable too, not a virus.

VERSION is asked once a minute: what was said with other signatures is not
remembered any longer.  It also tells how old they are.

For an operator (`check services`) it also tells its queue (STATS), and whether
it takes a message of a given size: it looks at the length of a chunk before the
chunk is there, so four octets find out what StreamMaxLength is set to.

Why not RELOAD?  freshclam does that (NotifyClamd), and so does clamdscan --reload.
Why not the package clamd?  It waits in its thread, without a time limit for all.
Why not FILDES?  It passes a file descriptor, but most messages are in no file,
and it does not work over TCP.

Standards: clamd(8).
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backupmx.check.field import plain
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.check.virus import Scan
from backupmx.check.virus_sessions import Sessions
from backupmx.check.wire import dialogue, places
from backupmx.mail.message import Buffer, Message
from backupmx.net.endpoint import Endpoint

_CHUNK = 256 << 10
_VERSION_SECONDS = 60.0
# freshclam reloads clamd a few times a day; X-Virus-Scanned may lag this long behind.
_MAIL = b"From backupmx\r\n"
# clamd tells mail by its first line and decodes attachments only in mail; a message that begins with
# DKIM-Signature: is none to it.  clamav-milter begins with such a line too.
_DATE = re.compile(rb"[A-Z][a-z]{2} ([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_THREADS = re.compile(rb"THREADS: live (\d{1,9}) +idle \d{1,9} max (\d{1,9})")
_QUEUE = re.compile(rb"QUEUE: (\d{1,9}) items")
_MEMORY = re.compile(rb"pools_used (\d{1,9}(?:\.\d{1,9})?)M")
_UNAVAILABLE = b"COMMAND UNAVAILABLE"
_SIZE_SECONDS = 1.0
"""It refuses a length at once; who has not by then waits for the octets."""
_FOUND = re.compile(rb"stream: (.+) FOUND")


@dataclass(frozen=True, slots=True)
class Stats:
    """How busy it is."""

    queue: int
    """Messages that wait for a thread."""
    threads: int
    most_threads: int
    """Scans at once (MaxThreads)."""
    signatures_mb: float
    """Memory of the signatures."""


class Clamd:
    name = "clamd"

    def __init__(
        self,
        address: Endpoint,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_age: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Signatures older than `max_age` seconds are `too_old`; 0: any age will do."""
        self._address = address
        self._seconds = seconds
        self._clock, self._now = clock, now
        self._max_age = max_age
        self.too_old = ""
        self.made: float | None = None
        """When its signatures were made; None: it was not asked yet, or does not say."""
        self._turn = places()
        self._sessions = Sessions(address, seconds, self._turn)
        self._version = ""
        self._version_until = 0.0

    async def signatures(self) -> str:
        if self._clock() >= self._version_until:
            await self._learn_version()
        return self._version

    async def scan(self, message: Message) -> Scan:
        await self.signatures()
        answer = await self._sessions.ask(lambda: _instream(message))
        return Scan(signature(answer), self._version)

    async def ping(self) -> str:
        """ "ClamAV 1.4.6/27815"; `too_old` and `made` are known then."""
        await self._learn_version()
        return self._version

    async def takes(self, size: int) -> bool:
        """Whether StreamMaxLength lets a message of so many octets in.  Raises EngineAway, Unscannable."""
        try:
            async with dialogue(self._address, _SIZE_SECONDS, places()) as clamd:
                await clamd.send(b"zINSTREAM\0" + size.to_bytes(4, "big"))
                return b"size limit" not in await clamd.receive(until=b"\0")
        except Lost:
            return True  # it waits for the chunk

    async def stats(self) -> "Stats | None":
        """None: it does not tell (EnableStatsCommand no).  Raises EngineAway, Unscannable."""
        async with dialogue(self._address, min(self._seconds, 5.0), places()) as clamd:
            await clamd.send(b"zSTATS\0")
            return stats(await clamd.receive(until=b"\0"))

    async def _learn_version(self) -> None:
        """Asks VERSION: "ClamAV 1.4.6/27815/Mon Nov 23 ..." -> "ClamAV 1.4.6/27815", and how old that is."""
        try:
            async with dialogue(self._address, min(self._seconds, 5.0), places()) as clamd:
                await clamd.send(b"zVERSION\0")
                answer = await clamd.receive(until=b"\0")
        except Unscannable as trouble:  # no message is involved yet
            raise EngineAway(f"{self._address}: {trouble}") from None
        if answer == _UNAVAILABLE:  # EnableVersionCommand no: nobody learns how old its signatures are
            answer = b"ClamAV"
        if not answer.startswith(b"ClamAV"):
            raise EngineAway(f"{self._address}: this is no clamd, it says {plain(answer.decode('latin-1'), 60)!r}")
        self._version = plain("/".join(answer.decode("latin-1").split("/")[:2]), 60)
        self._version_until = self._clock() + _VERSION_SECONDS
        self.made = database_time(answer)
        self.too_old = too_old(answer, self._now(), self._max_age)


def too_old(answer: bytes, now: float, max_age: float) -> str:
    """Pure.  "signatures of 2026-11-01, older than checks.virus.max_age", or "": young enough, or nobody knows."""
    made = database_time(answer)
    if not max_age or made is None or now - made <= max_age:
        return ""
    return f"signatures of {time.strftime('%Y-%m-%d', time.localtime(made))}, older than checks.virus.max_age"


def database_time(answer: bytes) -> float | None:
    """Pure.  When the signatures in VERSION's answer were made; None when it does not say (a site's own only)."""
    match = _DATE.fullmatch(answer.partition(b"/")[2].partition(b"/")[2])
    if match is None or match[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(number) for number in match.groups()[1:])
    try:
        return time.mktime((year, _MONTHS.index(match[1]) + 1, day, hour, minute, second, 0, 0, -1))
    except (OverflowError, ValueError):
        return None


def stats(answer: bytes) -> Stats | None:
    """Pure.  What STATS says; None when it is no such answer.  Several pools are summed up."""
    threads = [tuple(map(int, match)) for match in _THREADS.findall(answer)]
    if not threads:
        return None
    queue = sum(int(number) for number in _QUEUE.findall(answer))
    memory = _MEMORY.search(answer)
    live, most = (sum(column) for column in zip(*threads, strict=True))
    return Stats(queue, live, most, float(memory[1]) if memory else 0.0)


def signature(answer: bytes) -> str:
    """Pure.  clamd's answer -> the signature, "" for clean.  Raises Unscannable, EngineAway."""
    if answer == b"stream: OK":
        return ""
    text = plain(answer.decode("latin-1"))
    if match := _FOUND.fullmatch(answer):
        found = plain(match[1].decode("latin-1"))
        if found.startswith("Heuristics.Limits.Exceeded"):
            raise Unscannable(found)
        return found
    if answer.endswith(b"ERROR"):
        raise Unscannable(text)
    raise EngineAway(f"this is no clamd, it says {text[:60]!r}")


def _instream(message: Message) -> Iterator[Buffer]:
    """The command, each chunk after its length, an empty chunk.  A small message is one send."""
    if message.size <= _CHUNK:
        content = _MAIL + b"".join(message.chunks())
        yield b"zINSTREAM\0" + len(content).to_bytes(4, "big") + content + bytes(4)
        return
    yield b"zINSTREAM\0"
    for piece in (_MAIL, *message.chunks()):
        for at in range(0, len(piece), _CHUNK):
            chunk = piece[at : at + _CHUNK]
            yield len(chunk).to_bytes(4, "big")
            yield chunk
    yield bytes(4)
