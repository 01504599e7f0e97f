"""Pure.  parts: what base64 and quoted-printable hide in a message.

`decoded` yields each encoded body as it was before it was encoded.  It reads a
message in two ways, and a body that is the same in both is decoded once:

    anywhere    wherever a header line says Content-Transfer-Encoding, what
                follows that header block up to a boundary is such a body, at any
                depth and inside forwarded messages; a boundary is what any
                boundary= of the message says
    declared    as RFC 2046 has it: a boundary is declared by a multipart, and
                counts until that is closed.  By the first of several
                Content-Type fields or boundary parameters and, where the last
                says something else, once more by the last

It builds no tree; memory is the message's and its largest body's.  A message
that was encoded as a whole is looked into, three deep.

Whoever wants to hide a body from it writes what a mail reader forgives:

    (comment) "base64"       comments, quotes, folds, a blank before the colon
    no empty line            the body begins with the first line that is no header
    "--" in the middle       only a line with a boundary= of this message ends a body
    boundary= elsewhere      in some other field, a comment, a text: ends nothing for
                             the second way; a multipart that is odd ends for the first

It searches and decodes by `aside.PIECE`: each such call holds Python's lock
until it is done, and the event loop wants it.

Trouble
    Unscannable   more than 20,000 encoded bodies: nobody sends that, and each
                  costs an engine a call.

BUGS    Readers differ in what they forgive, and what is a boundary to one is text to another.
"""

import binascii
import re
from collections.abc import Generator, Iterator
from typing import TypeAlias

from backupmx.check.aside import PIECE
from backupmx.check.field import uncommented
from backupmx.check.trouble import Unscannable

MOST = 20_000
_DEPTH = 3
"""Messages encoded as a whole, within each other."""
Body: TypeAlias = tuple[int, int, bytes]
"""Where an encoded body begins and ends, and its encoding."""

_NAME = rb"content-transfer-encoding[ \t]{0,100}:"
_TOP = re.compile(_NAME, re.IGNORECASE)
_FIELD = re.compile(b"\n" + _NAME, re.IGNORECASE)
_TYPE_NAME = rb"content-type[ \t]{0,100}:"
_TYPE_TOP = re.compile(_TYPE_NAME, re.IGNORECASE)
_TYPE = re.compile(b"\n" + _TYPE_NAME, re.IGNORECASE)
# A "^" in place of the line end makes this search twelve times as slow.
_LONGEST = 300
_VALUE = re.compile(rb"(?:[^\r]|\r\n[ \t]){0,20000}")
_HEADER = re.compile(rb"[ \t]|[!-9;-~]{1,200}[ \t]*:")
_BOUNDARY = re.compile(rb"[ \t\r\n]{0,99}=[ \t\r\n]{0,99}(?:\"([^\"\r\n]{1,250})|([^\s;\"]{1,250}))")
_PARAMETER = re.compile(
    rb';[ \t\r\n]{0,99}([^\s=;"()]{1,99})[ \t\r\n]{0,99}=[ \t\r\n]{0,99}'
    rb'(?:"((?:[^"\\]|\\.){0,999})"|([^\s;"()]{1,999}))',
    re.DOTALL,
)
_MOST_DASHES = 1_000_000
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def decoded(raw: bytes) -> Iterator[bytes]:
    """The encoded bodies of a message (CRLF line ends), decoded, each once.  Raises Unscannable."""
    yield from _decoded(raw, _Count(MOST, "encoded parts"), _DEPTH)


def _decoded(raw: bytes, count: "_Count", depth: int) -> Iterator[bytes]:
    """A message that was encoded as a whole (it begins with a header) is looked into, as some readers do."""
    seen: set[Body] = set()
    for body in _bodies(raw):
        if body not in seen:
            seen.add(body)
            count.one()
            start, end, encoding = body
            octets = b"".join((_base64 if encoding == b"base64" else _printable)(raw, start, end))
            yield octets
            if depth > 1 and _HEADER.match(octets) and (_TOP.match(octets) or _next(octets, 0, len(octets))):
                yield from _decoded(octets, count, depth - 1)


def _bodies(raw: bytes) -> Iterator[Body]:
    """As each reading has them; of most messages they are the same."""
    encoded = False
    for body in _anywhere(raw):
        encoded = True
        yield body
    if encoded and (yield from _declared(raw, 0)):
        yield from _declared(raw, -1)


def _anywhere(raw: bytes) -> Iterator[Body]:
    """Behind each header that names an encoding, up to any boundary that the message names anywhere."""
    ends: _Ends | None = None
    at = 0
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
            yield start, end, encoding


def _declared(raw: bytes, which: int) -> Generator[Body, None, bool]:
    """As RFC 2046 5.1 has it: a boundary counts within its multipart, until that is closed.

    `which`: of several where one belongs the first (0) or the last (-1), as readers differ.  -> whether they do.
    """
    scope: dict[bytes, None] = {}
    differ = False
    lines, at = _Count(_MOST_DASHES, 'lines with "--"'), 0
    while at < len(raw):
        start = at + 2 if raw.startswith(b"\r\n", at) else _body(raw, at)
        encodings = {_encoding(raw, value) for value in _values(raw, at, start, _TOP, _FIELD)} - {b""}
        types = _content_types(raw, at, start)
        kind, boundary = types[which]
        differ = differ or types[0] != types[-1]
        if kind.startswith(b"message/") and not encodings:
            at = start
            continue
        if boundary:
            scope[boundary] = None
        end, at = _left(raw, start, scope, lines)
        for encoding in sorted(encodings):
            yield start, max(start, end), encoding
    return differ


def _left(raw: bytes, start: int, scope: dict[bytes, None], lines: "_Count") -> tuple[int, int]:
    """The line end before the boundary that ends a body, and where the next part begins; `scope` as it is there."""
    end, at = -1, start - 2
    while (at := _find(raw, b"\r\n--", at)) >= 0:
        lines.one()
        line = raw[at + 4 : at + 4 + _LONGEST].partition(b"\r")[0].rstrip()
        opens, closes = line in scope, line[-2:] == b"--" and line[:-2] in scope
        end = at if end < 0 and (opens or closes) else end
        if opens or closes:
            _close(scope, line if opens else line[:-2], closes and not opens)
        if opens:
            after = _find(raw, b"\r\n", at + 4)
            return end, after + 2 if after >= 0 else len(raw)
        at += 2
    return (end if end >= 0 else len(raw)), len(raw)


def _close(scope: dict[bytes, None], boundary: bytes, itself: bool) -> None:
    """The multiparts inside that one are over; it, too, at its last boundary."""
    while next(reversed(scope)) != boundary:
        scope.popitem()
    if itself:
        scope.popitem()


def _content_types(raw: bytes, at: int, end: int) -> list[tuple[bytes, bytes]]:
    """All there may be for somebody: "multipart/mixed" and its boundary; b"" for what there is none of."""
    types = []
    for value in _values(raw, at, end, _TYPE_TOP, _TYPE):
        kind, boundaries = _content_type(raw, value)
        types += [(kind, boundary) for boundary in boundaries or (b"",)]
    return types or [(b"", b"")]


def _content_type(raw: bytes, at: int) -> tuple[bytes, list[bytes]]:
    """ "multipart/mixed" and each boundary= of it."""
    value = _VALUE.match(raw, at)
    if value is None:
        return b"", []
    kind = uncommented(value[0].partition(b";")[0])[0].strip().lower()
    if not kind.startswith(b"multipart/"):
        return kind, []
    named = (match[2] or match[3] for match in _PARAMETER.finditer(value[0]) if match[1].lower() == b"boundary")
    return kind, [boundary.rstrip() for boundary in named]


def _values(raw: bytes, at: int, end: int, top: re.Pattern[bytes], field: re.Pattern[bytes]) -> Iterator[int]:
    """Where the values of such fields begin, in the header block from `at` to `end`."""
    if match := top.match(raw, at, end):
        yield match.end()
    while match := _next(raw, at, end, field):
        at = match.end()
        yield at


class _Count:
    """So many, and no more."""

    def __init__(self, most: int, what: str) -> None:
        self._left, self._says = most, f"more than {most:,} {what}"

    def one(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unscannable(self._says)


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
        self._covered = 0
        self._dashes = _Count(_MOST_DASHES, 'lines with "--"')

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
        self._dashes.one()
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


def _next(raw: bytes, at: int, end: int, field: re.Pattern[bytes] = _FIELD) -> re.Match[bytes] | None:
    for start in range(at, end, PIECE):
        if match := field.search(raw, start, min(start + PIECE + _LONGEST, end)):
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
