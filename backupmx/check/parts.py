"""Pure.  parts: what base64 and quoted-printable hide in a message.

`decoded` yields each encoded body as it was before it was encoded, in order.
It does not parse MIME: wherever a line says Content-Transfer-Encoding, what
follows the next empty line up to a line that begins with "--" is such a body,
at any depth and inside forwarded messages as well.  One pass, no recursion,
no more memory than the message.

It searches and decodes by `aside.PIECE`: each such call holds Python's lock
until it is done, and the event loop wants it.

Trouble
    Unscannable   more than 20,000 encoded bodies: nobody sends that, and each
                  costs an engine a call.
"""

import binascii
import re
from collections.abc import Iterator

from backupmx.check.aside import PIECE
from backupmx.check.trouble import Unscannable

MOST = 20_000

_FIELD = rb"content-transfer-encoding:[ \t\r\n]{0,200}(base64|quoted-printable)"
_TOP = re.compile(_FIELD, re.IGNORECASE)
_ENCODING = re.compile(b"\n" + _FIELD, re.IGNORECASE)
# A "^" in place of the line end makes this search twelve times as slow.
_LONGEST = 300
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def decoded(raw: bytes) -> Iterator[bytes]:
    """The encoded bodies of a message (CRLF line ends), decoded.  Raises Unscannable."""
    at = count = 0
    match = _TOP.match(raw)
    while match := match or _next(raw, at):
        start = _find(raw, b"\r\n\r\n", match.end())
        if start < 0:
            return
        at = _find(raw, b"\r\n--", start + 2)
        at = len(raw) if at < 0 else at
        count += 1
        if count > MOST:
            raise Unscannable(f"more than {MOST:,} encoded parts")
        yield b"".join((_base64 if match[1].lower() == b"base64" else _printable)(raw, start + 4, at))
        match = None


def _next(raw: bytes, at: int) -> re.Match[bytes] | None:
    for start in range(at, len(raw), PIECE):
        if match := _ENCODING.search(raw, start, start + PIECE + _LONGEST):
            return match
    return None


def _find(raw: bytes, word: bytes, at: int) -> int:
    for start in range(at, len(raw), PIECE):
        if (found := raw.find(word, start, start + PIECE + len(word) - 1)) >= 0:
            return found
    return -1


def _base64(raw: bytes, start: int, end: int) -> Iterator[bytes]:
    """As mail readers take it: other characters are skipped, what is cut off at the end is left out."""
    rest = b""
    for at in range(start, end, PIECE):
        letters = rest + raw[at : min(at + PIECE, end)].translate(None, _NOT_BASE64)
        whole = len(letters) // 4 * 4
        yield binascii.a2b_base64(letters[:whole])
        rest = letters[whole:]
    if len(rest) > 1:  # the last two or three letters are one or two octets; a single one is nothing
        yield binascii.a2b_base64(rest + b"=" * (4 - len(rest)))


def _printable(raw: bytes, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        stop = _border(raw, start, end)
        yield binascii.a2b_qp(raw[start:stop])
        start = stop


def _border(raw: bytes, start: int, end: int) -> int:
    """Where a piece ends: with a line or, where lines have no end, before an =XX and all "=" that stand before it."""
    stop = start + PIECE
    if stop >= end:
        return end
    if line := raw.rfind(b"\n", start, stop) + 1:
        return line
    escape = raw.rfind(b"=", stop - 2, stop)
    before = len(raw[start:escape].rstrip(b"=")) if escape > start else 0
    return start + before if before else stop
