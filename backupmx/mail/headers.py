"""Pure.  headers: the header block of a message, or of a part, as Postfix cuts it.

A *physical* line becomes one or more *records*: 2,048 octets as they came over
the wire, then the rest (smtpd.c, line_length_limit).  A *logical* header is
the record that begins it and the lines that continue it, joined by LF with
their blanks (mime_state.c):

    name      at least one printable ASCII octet but ":", in the first record
    "Name :"  becomes "Name:"
    NUL       ends the text of its record (C strings)
    limit     while the text is shorter than header_size_limit a whole record
              is added; after that the rest of the header is read and forgotten

A block ends at the first line that neither begins nor continues a header.

Standards: RFC 5322 2.2, 4.5 (obsolete blanks before the colon).
"""

import re
from dataclasses import dataclass

from backupmx.mail.message import Buffer

RECORD = 2048
"""Postfix line_length_limit: longer lines are seen in pieces of this many octets."""

_EOL = re.compile(rb"\r\n")
_CONTINUATIONS = re.compile(rb"(?:[ \t][^\r]*+\r\n)*+")
_LABEL = re.compile(rb"([!-9;-~]+)[ \t]*:")
_LOOSE_FOLD = re.compile(rb"\n(?![ \t])")
# Headers in which nothing needs repair.  Possessive: what is no header is found out in one pass.
_PLAIN = re.compile(rb"^[!-9;-~]{1,1000}+:[^\n\0]*+(?:\n[ \t][^\n\0]*+)*+(?=\n)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Field:
    """One logical header and where it stands in the content."""

    text: bytes
    start: int
    end: int


def label(text: bytes) -> bytes:
    """The name of a header in lower case; b"" when the text is none (Postfix is_header)."""
    match = _LABEL.match(text)
    return match[1].lower() if match else b""


def plain_block(block: bytes, limit: int) -> list[bytes] | None:
    """The logical headers of a block that ends in CRLF; None when it needs the care of `fields`."""
    if len(block) > limit:
        return None
    block = block.replace(b"\r\n", b"\n")
    found = _PLAIN.findall(block)
    return found if sum(map(len, found)) + len(found) == len(block) else None


def fields(data: Buffer, at: int, limit: int, most: int = 1 << 30) -> tuple[list[Field], int]:
    """The logical headers that begin at `at`, and where the block ends, or where `most` of them do."""
    found: list[Field] = []
    text: bytes | None = None
    start, size = at, len(data)
    while at < size:
        end, following = line_end(data, at)
        line = bytes(data[at:end])
        if text is not None and line[:1] in (b" ", b"\t"):
            if len(text) >= limit and (rest := _CONTINUATIONS.match(data, at)) and rest.end() > at:
                at = rest.end()
                continue
            text = _joined(text, b"\n", records(line), limit)
        elif match := _LABEL.match((first := records(line))[0]):
            if text is not None:
                found.append(Field(text, start, at))
                if len(found) == most:
                    return found, at
            start = at
            begun = match[1] + first[0][match.end() - 1 :].partition(b"\0")[0]
            text = _joined(begun, b"", first[1:], limit)
        else:
            break
        at = following
    if text is not None:
        found.append(Field(text, start, at))
    return found, at


def line_end(data: Buffer, at: int) -> tuple[int, int]:
    """Of the line that begins at `at`: where its CRLF begins, and where the next line does."""
    match = _EOL.search(data, at)
    return (match.start(), match.end()) if match else (len(data), len(data))


def records(line: bytes) -> list[bytes]:
    """A physical line in the pieces in which Postfix reads it; always at least one."""
    first = RECORD - 1 if line[:1] == b"." else RECORD  # the dot was stuffed on the wire
    if len(line) < first:
        return [line]
    return [line[:first], *(line[i : i + RECORD] for i in range(first, len(line) + 1, RECORD))]


def _joined(text: bytes, fold: bytes, pieces: list[bytes], limit: int) -> bytes:
    for piece in pieces:
        if len(text) < limit:
            text += fold + piece.partition(b"\0")[0]
        fold = b""
    return text


def rendered(text: bytes, limit: int) -> bytes:
    """A logical header as it leaves: cut at the limit, stray lines made continuations (cleanup_out.c).

    The cut falls between two lines when that loses at most a tenth, else inside a line.
    """
    if len(text) <= limit and not _LOOSE_FOLD.search(text):
        return text
    kept: list[bytes] = []
    offset = 0
    for line in text.split(b"\n"):
        if offset + len(line) > limit:
            if offset > 0.9 * limit:
                break
            kept.append(line[: limit - offset])
            break
        kept.append(line)
        offset += len(line) + 1
    return b"\n".join(line if n == 0 or line[:1] in (b" ", b"\t") else b"\t" + line for n, line in enumerate(kept))
