"""Pure.  mime: which lines of a body begin headers again, as Postfix sees it (mime_state.c).

A `Mime` is told each header with `header`, each end of a header block with
`blank` or `broken`, and each body line that begins with "--" with `boundary`;
it says what comes next: HEADERS of a multipart part, of an attached message
(NESTED), or BODY.

    message/rfc822, message/global      headers of an attached message follow
    multipart/digest                    its parts are message/rfc822 unless they say otherwise
    message/partial, external-body,
    delivery-status, text/*             body: not looked into
    Content-Transfer-Encoding           not decoded

Two details people rely on: several boundary= parameters are all remembered,
and a Content-Type that is neither text, message nor multipart leaves what an
earlier one said (or the digest's default) as it was.

Limits: 100 nested multiparts (mime_nesting_limit), boundaries of 2,048 octets
(mime_boundary_length_limit).

Standards: RFC 2045 5.1, RFC 2046 5.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_TSPECIALS = b'()<>@,;:\\"/[]?='
_BLANK = b" \t\n\r"
_DEPTH = 100
_BOUNDARY = 2048

NAMES = frozenset(
    (
        b"content-description", b"content-disposition", b"content-id",
        b"content-transfer-encoding", b"content-type", b"mime-version",
    )
)  # fmt: skip
"""Headers that belong to mime_header_checks wherever they stand (header_opts.c HDR_OPT_MIME)."""


class State(Enum):
    PRIMARY = "primary"  # the message's own headers
    MULTIPART = "multipart"  # headers of a part
    NESTED = "nested"  # headers of an attached message
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Boundary:
    text: bytes
    digest: bool
    """Parts are message/rfc822 unless they say otherwise."""


class Mime:
    """The state machine.  `enabled` False: everything after the first header block is body."""

    __slots__ = ("_attached", "_enabled", "_kind", "_open", "state", "too_deep")

    def __init__(self, enabled: bool = True) -> None:
        self.state = State.PRIMARY
        self.too_deep = False
        self._enabled = enabled
        self._kind = "text"  # text, message, multipart, other
        self._attached = False  # message/rfc822 or message/global
        self._open: list[Boundary] = []

    @property
    def searching(self) -> bool:
        """Is there a boundary to look for?"""
        return bool(self._open)

    def header(self, name: bytes, text: bytes) -> None:
        """A logical header of the current block, before any rule changed it."""
        if self._enabled and name == b"content-type":
            self._content_type(text[len(name) + 1 :])

    def blank(self) -> None:
        """The current header block ended with an empty line."""
        if self._kind == "message" and self._attached:
            self._enter(State.NESTED, "text")
        elif self._kind == "multipart":
            self._enter(State.BODY, "other")
        else:
            self.state = State.BODY

    def broken(self) -> None:
        """The current header block ended with a line that is no header: body from there on."""
        self.state = State.BODY

    def boundary(self, line: bytes) -> bool:
        """A body line that begins with "--".  True: it is a boundary, and `state` says what follows it."""
        for depth in range(len(self._open) - 1, -1, -1):
            known = self._open[depth]
            if len(line) > 2 and line.startswith(known.text, 2):
                del self._open[depth + 1 :]
                if line.startswith(b"--", 2 + len(known.text)):
                    del self._open[depth]
                    self._enter(State.BODY, "other")
                else:
                    self._enter(State.MULTIPART, "message" if known.digest else "text", known.digest)
                return True
        return False

    def _enter(self, state: State, kind: str, attached: bool = False) -> None:
        self.state, self._kind, self._attached = state, kind, attached

    def _content_type(self, value: bytes) -> None:
        items = parameters(value)
        first = next(items, None)
        if not first:
            self._kind = "other"
            return
        main = _word(first, 0)
        sub = _word(first, 2) if len(first) > 2 and first[1] == ("special", b"/") else b""
        if main == b"text":
            self._kind = "text"
        elif main == b"message":
            self._kind, self._attached = "message", sub in (b"rfc822", b"global")
        elif main == b"multipart":
            self._kind = "multipart"
            for item in items:
                if len(item) > 2 and _word(item, 0) == b"boundary" and item[1] == ("special", b"="):
                    self._push(item[2][1], sub == b"digest")

    def _push(self, boundary: bytes, digest: bool) -> None:
        if len(self._open) > _DEPTH + 1:  # its counter starts at -1, and "more than" is what it asks
            self.too_deep = True
        else:
            self._open.append(Boundary(boundary[:_BOUNDARY], digest))


Token = tuple[str, bytes]
"""("token" | "quoted" | "special", text)"""


def _word(item: list[Token], at: int) -> bytes:
    kind, text = item[at]
    return text.lower() if kind == "token" else b""


def parameters(value: bytes) -> Iterator[list[Token]]:
    """The parts of a Content-Type between semicolons, each its first three tokens (header_token.c)."""
    at = 0
    while True:
        item, at, ended = _item(value, at)
        if not item and ended:
            return
        yield item


def _item(value: bytes, at: int) -> tuple[list[Token], int, bool]:
    """-> (at most three tokens, where to go on, whether the value ended here)."""
    item: list[Token] = []
    size = len(value)
    while at < size:
        byte = value[at]
        at += 1
        if byte in _BLANK:
            continue
        if byte == 0x3B:
            return item, at, False
        if byte == 0x28:
            at = _comment_end(value, at)
            continue
        if byte == 0x22:
            text, at = _quoted(value, at)
            token = ("quoted", text)
        elif byte in _TSPECIALS or byte < 0x20 or byte == 0x7F:
            token = ("special", bytes([byte]))
        else:
            start = at - 1
            while at < size and not _ends_token(value[at]):
                at += 1
            token = ("token", value[start:at])
        if len(item) < 3:
            item.append(token)
    return item, at, True


def _ends_token(byte: int) -> bool:
    return byte <= 0x20 or byte == 0x7F or byte in _TSPECIALS


def _comment_end(value: bytes, at: int) -> int:
    level = 1
    while at < len(value) and level:
        byte = value[at]
        level += (byte == 0x28) - (byte == 0x29)
        at += 2 if byte == 0x5C else 1
    return min(at, len(value))


def _quoted(value: bytes, at: int) -> tuple[bytes, int]:
    """A quoted string unfolded: blanks before a fold go with it."""
    out = bytearray()
    while at < len(value):
        byte = value[at]
        at += 1
        if byte == 0x22:
            break
        if byte == 0x0A:
            while out and out[-1] in _BLANK:
                del out[-1]
            continue
        if byte == 0x5C:
            if at == len(value):
                break
            byte = value[at]
            at += 1
        out.append(byte)
    return bytes(out), at
