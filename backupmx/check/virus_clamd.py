"""virus_clamd: ClamAV's daemon over its socket, with INSTREAM.

A message is streamed as it lies in memory, in chunks of 256 KiB, nothing is
copied.  clamd unpacks and decodes; what it may scan is set in its own
clamd.conf (MaxScanSize, MaxFileSize, StreamMaxLength).

    connection refused, or no clamd behind it      EngineAway
    "INSTREAM size limit exceeded. ERROR", any     Unscannable: raise
    other ERROR, a limit of a scan exceeded        StreamMaxLength
    silence, the connection closed                 Unscannable

Heuristics.Limits.Exceeded.* (AlertExceedsMax yes) is clamd's way to say that
it did not look at everything: that is Unscannable too, not a virus.

Why not FILDES?  It passes a file descriptor, but most messages are in no file,
and it does not work over TCP.  Why not a session for several scans (IDSESSION)?
Measured: a new Unix connection costs less than a tenth of clamd's own work.

Standards: clamd(8).
"""

import re
import time
from collections.abc import Callable, Iterator

from backupmx.check.field import plain
from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.virus import Scan
from backupmx.check.wire import Address, dialogue, places
from backupmx.mail.message import Buffer, Message

_CHUNK = 256 << 10
_VERSION_SECONDS = 600.0
# freshclam reloads clamd a few times a day; X-Virus-Scanned may lag this long behind.
_MAIL = b"From backupmx\r\n"
# clamd tells mail by its first line and decodes attachments only in mail; a message that begins with
# DKIM-Signature: is none to it.  clamav-milter begins with such a line too.
_FOUND = re.compile(rb"stream: (.+) FOUND")


class Clamd:
    name = "clamd"

    def __init__(self, address: Address, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._seconds = seconds
        self._clock = clock
        self._turn = places()
        self._version = ""
        self._version_until = 0.0

    async def scan(self, message: Message) -> Scan:
        if self._clock() >= self._version_until:
            await self.ping()
        async with dialogue(self._address, self._seconds, self._turn) as clamd:
            await clamd.send(*_instream(message))
            answer = await clamd.receive(until=b"\0")
        return Scan(signature(answer), self._version)

    async def ping(self) -> str:
        """Asks VERSION: "ClamAV 1.4.6/27815/Mon Nov 23 ..." -> "ClamAV 1.4.6/27815"."""
        try:
            async with dialogue(self._address, min(self._seconds, 5.0), places()) as clamd:
                await clamd.send(b"zVERSION\0")
                answer = await clamd.receive(until=b"\0")
        except Unscannable as trouble:  # no message is involved yet
            raise EngineAway(f"{self._address}: {trouble}") from None
        if not answer.startswith(b"ClamAV"):
            raise EngineAway(f"{self._address}: this is no clamd, it says {plain(answer.decode('latin-1'), 60)!r}")
        self._version = plain("/".join(answer.decode("latin-1").split("/")[:2]), 60)
        self._version_until = self._clock() + _VERSION_SECONDS
        return self._version


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
