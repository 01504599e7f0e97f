"""spam_spamd: SpamAssassin's daemon over its own protocol.

A message is sent with SYMBOLS; the answer is the score and the names of the
tests that hit.  spamd's version is in no answer but X-Spam-Checker-Version,
so it is asked for once, with HEADERS and a message of two lines, and again
after spamd was away.

    connection refused, no spamd behind it          EngineAway
    EX_TEMPFAIL, EX_TIMEOUT ..., silence, closed    Unscannable
    more than 512 KiB                               TooLarge: not sent, as spamc
                                                    and spamass-milter do by default

Standards: spamd/PROTOCOL of SpamAssassin, version 1.5.
"""

import re
from collections.abc import Hashable

from backupmx.check.field import plain
from backupmx.check.finding import Findings, Mail
from backupmx.check.spam import Score
from backupmx.check.trouble import EngineAway, Lost, TooLarge, Unscannable
from backupmx.check.wire import dialogue, places
from backupmx.mail.message import Buffer
from backupmx.net.endpoint import Endpoint

_LARGEST = 512 << 10
_FIRST_LINE = re.compile(rb"SPAMD/[\d.]+ (\d{1,3}) ([^\r\n]*)\r\n")
_SPAM = re.compile(rb"^Spam: (?:True|False|Yes|No) ; (-?\d{1,9}(?:\.\d{1,9})?) / ", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(rb"^X-Spam-Checker-Version: (SpamAssassin [^\s()]{1,40})", re.MULTILINE)
_TESTS = 64 << 10
"""Octets of their names; spam.py writes 200 of them."""
_TWO_LINES = b"Subject: version\r\n\r\n"


class Spamd:
    name = "spamd"
    largest = _LARGEST

    def __init__(self, address: Endpoint, seconds: float, user: str = "") -> None:
        self._address = address
        self._seconds = seconds
        self._user = user
        self._turn = places()
        self._version = ""
        self._times_away = 0

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        """Its own plug-ins ask the DNS; `authentication` is not told to it."""
        size = mail.message.size
        if size > _LARGEST:
            raise TooLarge(f"{size} octets, spamd gets at most {_LARGEST}")
        try:
            score, tests = symbols(await self._ask(b"SYMBOLS", size, *mail.message.chunks()))
        except EngineAway:
            self._version = ""
            self._times_away += 1
            raise
        if not self._version:
            await self._try_to_learn_version()
        return Score(score, tests, self._version or "SpamAssassin")

    def depends_on(self, mail: Mail) -> Hashable:
        """Whoever comes back may be of another version.  (Its name is learnt after the first answer.)"""
        return (self._times_away, mail.client.address, mail.client.helo, mail.envelope.sender)

    async def ping(self) -> str:
        await self._learn_version()
        return self._version

    async def _try_to_learn_version(self) -> None:
        try:
            await self._learn_version()
        except (EngineAway, Unscannable):
            pass  # the message has its score; the next one may learn the version

    async def _learn_version(self) -> None:
        answer = await self._ask(b"HEADERS", len(_TWO_LINES), _TWO_LINES)
        match = _VERSION.search(answer)
        # A site may have taken the field out (clear_headers): then it is spamd that spoke, of no version.
        self._version = plain(match[1].decode("latin-1")) if match else "SpamAssassin"

    async def _ask(self, command: bytes, size: int, *pieces: Buffer) -> bytes:
        """-> what follows the first line of an EX_OK.  Raises EngineAway, Unscannable."""
        head = command + b" SPAMC/1.5\r\nContent-length: %d\r\n" % size
        if self._user:
            head += b"User: " + self._user.encode("ascii", "replace") + b"\r\n"
        async with dialogue(self._address, self._seconds, self._turn) as spamd:
            await spamd.send(head + b"\r\n", *pieces)
            spamd.end_sending()
            answer = await spamd.receive()
        return accepted(answer)


def accepted(answer: bytes) -> bytes:
    """Pure.  The answer after its first line, when that says EX_OK.  Raises EngineAway, Unscannable."""
    if not answer:
        raise Lost("it closed the connection while scanning")
    match = _FIRST_LINE.match(answer)
    if match is None:
        raise EngineAway(f"this is no spamd, it says {plain(answer[:60].decode('latin-1'))!r}")
    if int(match[1]) != 0:
        raise Unscannable(plain(f"{int(match[1])} {match[2].decode('latin-1')}"))
    return answer[match.end() :]


def symbols(answer: bytes) -> tuple[float, tuple[str, ...]]:
    """Pure.  "Spam: True ; 1000.0 / 5.0" and "GTUBE,NO_RECEIVED" -> score and tests.  Raises Unscannable."""
    head, _, body = answer.partition(b"\r\n\r\n")
    match = _SPAM.search(head)
    if match is None:
        raise Unscannable("an answer without a score")
    tests = body[:_TESTS].decode("latin-1").replace("\r", "").replace("\n", "").split(",")
    return float(match[1]), tuple(t.strip() for t in tests if t.strip())
