"""Pure.  message: content, and what becomes of it on its way.

Content is canonical: every line ends in CRLF, no bare CR or LF is left
(`canonical` sees to it), dot-stuffing is undone.  It is one buffer: bytes, or
a memoryview over a file that the receiver already spooled to disk.  Nothing
on the way copies a body: stages pass slices of that buffer on.

A logical header is `bytes`: "Name: value", folds as LF with their blanks, no
line end after it (what Postfix shows a rule, RFC 5322 2.2).  `Message.head`
writes CRLF again.
"""

import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Buffer: TypeAlias = bytes | memoryview
"""Read-only bytes; a memoryview when they lie in a spooled file."""

_COPIED = 16 << 10
_PIECE = 1 << 20
_STRAY = re.compile(rb"\r+\n?|\n")


@dataclass(frozen=True, slots=True)
class Spool:
    """A file in the queue's body folder that holds content from `offset` on."""

    path: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What a client sent between DATA and the final dot, canonical."""

    data: Buffer
    spool: Spool | None = None
    """Where `data` lies on disk already; None: only in memory."""
    kept: Callable[[], object] = bool
    """To be called when the queue has taken `spool` over; else the receiver removes the file after its reply."""


@dataclass(frozen=True, slots=True)
class Message:
    """Headers as they will be relayed, and the body that follows them."""

    headers: tuple[bytes, ...]
    """Logical headers in order, folds as LF, without a line end."""
    body: tuple[Buffer, ...] = ()
    """From the blank line on (it begins with CRLF), in chunks; () when there is none."""
    spool: Spool | None = None
    """The file that holds exactly `body`, when no rule changed it."""

    @property
    def head(self) -> bytes:
        """The header block with CRLF line ends, without the blank line after it."""
        return head_of(self.headers)

    @property
    def size(self) -> int:
        """Octets on the wire, without dot-stuffing."""
        return len(self.head) + sum(len(chunk) for chunk in self.body)

    def chunks(self) -> Iterator[Buffer]:
        """The whole message, CRLF, in pieces."""
        yield self.head
        yield from self.body

    def values(self, name: bytes) -> list[bytes]:
        """The values of all headers of that name, in order, unfolded as they stand."""
        prefix = name.lower() + b":"
        return [h[len(prefix) :].strip() for h in self.headers if h[: len(prefix)].lower() == prefix]


def let_go(data: Buffer) -> None:
    """Pages of a mapped file that were looked at and are not needed soon: the system has them at hand, we need not."""
    if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap):
        data.obj.madvise(mmap.MADV_DONTNEED)


def pieces(chunks: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same octets, a megabyte at a time: of a mapped file no more than that stays in our memory."""
    for chunk in chunks:
        for at in range(0, len(chunk), _PIECE):
            yield chunk[at : at + _PIECE]
            let_go(chunk)


def stretch(data: Buffer, start: int, end: int) -> Buffer:
    """A slice that copies nothing worth mentioning: short ones are bytes, long ones a view."""
    return data[start:end] if end - start < _COPIED else memoryview(data)[start:end]


def head_of(headers: Iterable[bytes]) -> bytes:
    """Logical headers -> header block with CRLF line ends."""
    block = b"\n".join(headers)
    return block.replace(b"\n", b"\r\n") + b"\r\n" if block else b""


def canonical(raw: bytes) -> bytes:
    """Any bytes -> CRLF line ends: LF alone ends a line, CR alone is a blank.

    That is what Postfix makes of them (smtpd takes LF for a line end and all
    the CRs before it, cleanup replaces a stray CR: cleanup_replace_stray_cr_lf).
    """
    if raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r"):
        return raw
    return _STRAY.sub(lambda match: b"\r\n" if match[0][-1:] == b"\n" else b" " * len(match[0]), raw)
