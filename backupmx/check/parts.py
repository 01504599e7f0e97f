"""Pure.  parts: what base64 and quoted-printable hide in a message.

`decoded` yields each encoded body as it was before it was encoded, in order.
It does not build a tree of parts: wherever a header line says
Content-Transfer-Encoding, what follows that header block up to a boundary is
such a body, at any depth and inside forwarded messages as well.  No recursion,
no more memory than the message, no octet decoded more than four times.

Whoever wants to hide a body from it writes what a mail reader forgives:

    (comment) "base64"       comments, quotes, folds, a blank before the colon
    no empty line            the body begins with the first line that is no header
    "--" in the middle       only a line with a boundary= of this message ends a body

It searches and decodes by `aside.PIECE`: each such call holds Python's lock
until it is done, and the event loop wants it.

Trouble
    Unscannable   more than 20,000 encoded bodies: nobody sends that, and each
                  costs an engine a call.

BUGS    Readers differ in what they forgive, and what is a boundary to one is text to another.
"""

import binascii
import re
from collections.abc import Iterator

from backupmx.check.aside import PIECE
from backupmx.check.field import uncommented
from backupmx.check.trouble import Unscannable

MOST = 20_000

_NAME = rb"content-transfer-encoding[ \t]{0,100}:"
_TOP = re.compile(_NAME, re.IGNORECASE)
_FIELD = re.compile(b"\n" + _NAME, re.IGNORECASE)
# A "^" in place of the line end makes this search twelve times as slow.
_LONGEST = 300
_VALUE = re.compile(rb"(?:[^\r]|\r\n[ \t]){0,20000}")
_HEADER = re.compile(rb"[ \t]|[!-9;-~]{1,200}[ \t]*:")
_BOUNDARY = re.compile(rb"[ \t\r\n]{0,99}=[ \t\r\n]{0,99}(?:\"([^\"\r\n]{1,250})|([^\s;\"]{1,250}))")
_MOST_DASHES = 1_000_000
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def decoded(raw: bytes) -> Iterator[bytes]:
    """The encoded bodies of a message (CRLF line ends), decoded.  Raises Unscannable."""
    ends: _Ends | None = None
    at = count = 0
    match = _TOP.match(raw)
    while match := match or _next(raw, at, len(raw)):
        at, match = match.end(), None
        encodings = {_encoding(raw, at)}
        if not any(encodings):
            continue
        start = _body(raw, at)
        while other := _next(raw, at, start):
            at = other.end()
            encodings.add(_encoding(raw, at))
        ends = ends or _Ends(raw)
        end, at = ends.of(start)
        for encoding in filter(None, sorted(encodings)):
            count += 1
            if count > MOST:
                raise Unscannable(f"more than {MOST:,} encoded parts")
            yield b"".join((_base64 if encoding == b"base64" else _printable)(raw, start, end))


def _encoding(raw: bytes, at: int) -> bytes:
    """base64, quoted-printable or b"": what the field's value says to somebody who wants to read it."""
    match = _VALUE.match(raw, at)
    word = uncommented(match[0] if match else b"")[0].strip(b' \t\r\n"').lower()
    return next((known for known in (b"base64", b"quoted-printable") if word.startswith(known)), b"")


def _body(raw: bytes, at: int) -> int:
    """Behind the header block that `at` is in: its empty line, or the line end before what is no header."""
    while (line := _find(raw, b"\r\n", at)) >= 0:
        at = line + 2
        if not _HEADER.match(raw, at):
            return at + 2 if raw.startswith(b"\r\n", at) else at
    return len(raw)


class _Ends:
    """Where encoded bodies end."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._boundaries = frozenset(_boundaries(raw))
        self._covered = self._dashes = 0

    def of(self, start: int) -> tuple[int, int]:
        """-> the line end before the boundary, and where to look for more.

        A body inside another one (a message quoted as text) ends before any line with "--".
        """
        inside = start < self._covered
        end = start - 2
        while (end := _find(self._raw, b"\r\n--", end)) >= 0 and not (inside or self._is_boundary(end + 4)):
            end += 2
        end = max(end, start) if end >= 0 else len(self._raw)
        self._covered = max(self._covered, end)
        return end, end if inside else start

    def _is_boundary(self, at: int) -> bool:
        self._dashes += 1
        if self._dashes > _MOST_DASHES:
            raise Unscannable(f'more than {_MOST_DASHES:,} lines with "--"')
        line = self._raw[at : at + _LONGEST].partition(b"\r")[0].rstrip().lower()
        return line in self._boundaries or line.removesuffix(b"--") in self._boundaries


def _boundaries(raw: bytes) -> Iterator[bytes]:
    """Every boundary= that stands anywhere, in lower case."""
    for start in range(0, len(raw), PIECE):
        piece = raw[start : start + PIECE + 2 * _LONGEST].lower()
        at = -1
        while 0 <= (at := piece.find(b"boundary", at + 1)) < PIECE:
            if match := _BOUNDARY.match(piece, at + 8):
                yield (match[1] or match[2]).rstrip()


def _next(raw: bytes, at: int, end: int) -> re.Match[bytes] | None:
    for start in range(at, end, PIECE):
        if match := _FIELD.search(raw, start, min(start + PIECE + _LONGEST, end)):
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
