"""Pure.  body: what follows the first header block, on its way through the tables.

`Walk.run` goes through the body once.  Untouched stretches are given back as
slices of the content: a message of 10 MB costs 10 MB.  What is new between
them is gathered: many short pieces would cost more than their text.  Where nothing can be
asked, in a segment past body_checks_size_limit or with no body_checks at all,
it looks only for lines that begin with "--" while a boundary is open.

A body line longer than 2,048 octets is asked about in pieces, and each piece
is replaced or left out alone, as Postfix does (cleanup_body_callback).
"""

import re

from backupmx.mail.headers import RECORD, Field, fields, label, line_end, records, rendered
from backupmx.mail.message import Buffer, head_of, stretch
from backupmx.rules.actions import Edit, Ruling
from backupmx.rules.mime import NAMES, Mime, State
from backupmx.rules.table import Table
from backupmx.rules.tables import Settings, Tables, ask, ask_body

_DASHES = re.compile(rb"\n--")
_GATHERED = 16 << 10
_AT_ONCE = 1000
"""Headers of a part that are held in memory together."""


class Walk:
    """One pass over one body."""

    __slots__ = (
        "_body_limit", "_data", "_gathered", "_header_limit", "_kept", "_mime", "_offset", "_ruling", "_tables",
        "changed", "out",
    )  # fmt: skip

    def __init__(self, data: Buffer, ruling: Ruling, mime: Mime, tables: Tables, settings: Settings) -> None:
        self._data = data
        self._ruling = ruling
        self._mime = mime
        self._tables = tables
        self._header_limit = settings.header_size_limit
        self._body_limit = settings.body_checks_size_limit
        self._kept = 0
        self._offset = 0
        self._gathered = bytearray()
        self.out: list[Buffer] = []
        self.changed = False

    def run(self, at: int, unended: bool) -> None:
        """From the end of the first header block to the end of the message."""
        self._kept = at
        size = len(self._data)
        if at < size:
            at = self._block_end(at) if not unended else self._broken(at)
        while at < size and not self._ruling.over:
            if self._mime.state is State.BODY:
                at = self._segment(at)
            else:
                found, at = fields(self._data, at, self._header_limit, _AT_ONCE)
                self._headers(found)
                if at < size and len(found) < _AT_ONCE:
                    at = self._block_end(at)
        if self._kept < size:
            self._put(stretch(self._data, self._kept, size))
        self._flush()
        if self._kept == size and self.out and bytes(self.out[-1][-2:]) != b"\r\n":
            self.out.append(b"\r\n")  # the end of a long last line was left out

    def _block_end(self, at: int) -> int:
        """The first line after a header block: empty, or no header at all."""
        if bytes(self._data[at : at + 2]) != b"\r\n":
            return self._broken(at)
        self._mime.blank()
        self._offset = 1
        return at + 2

    def _broken(self, at: int) -> int:
        self._mime.broken()
        self._offset = 0
        return at

    def _headers(self, found: list[Field]) -> None:
        """The header block of a part or of an attached message."""
        nested = self._mime.state is State.NESTED
        self._ruling.spend(len(found))
        for field in found:
            name = label(field.text)
            if name == b"content-type":
                self._ruling.spend(len(field.text) // 10)
            self._mime.header(name, field.text)
            table = self._tables.nested if nested and name not in NAMES else self._tables.mime
            edit = ask(self._ruling, table, field.text, name, "header")
            if self._ruling.over:
                return
            lines = [rendered(line, self._header_limit) for line in (edit.before, edit.kept) if line is not None]
            self._replace(field.start, field.end, head_of(lines))

    def _segment(self, at: int) -> int:
        """Body lines up to a boundary behind which headers begin, or to the end.  -> where to go on."""
        table = self._tables.body
        while at < len(self._data) and self._mime.state is State.BODY and not self._ruling.over:
            if not (table and self._ruling.checking and self._checked()):
                at = self._next_dashes(at)
                if at == len(self._data):
                    break
            end, following = line_end(self._data, at)
            line = bytes(self._data[at:end])
            if line[:2] == b"--":
                self._ruling.spend(1)
                if self._mime.boundary(line):
                    self._behind_boundary(line)
            if table:
                if self._silent(table, line):
                    self._offset += len(line) + 1
                else:
                    self._line(table, line, at, following)
            at = following
        return at

    def _behind_boundary(self, line: bytes) -> None:
        """Headers begin, or body goes on.  The rest of a long boundary line comes as a record of its own: no header."""
        pieces = records(line)
        if self._mime.state is State.MULTIPART and len(pieces) > 1:
            if pieces[1]:
                self._mime.broken()
            else:
                self._mime.blank()
        if self._mime.state is State.BODY:
            self._offset = 0

    def _next_dashes(self, at: int) -> int:
        """Where the next line begins that may be a boundary; the end when none is looked for."""
        if self._mime.searching:
            match = _DASHES.search(self._data, at - 1)
            return match.start() + 1 if match else len(self._data)
        return len(self._data)

    def _silent(self, table: Table, line: bytes) -> bool:
        """Most lines are one record, hold no NUL, and no rule matches them: nothing else is to be done then."""
        if len(line) >= RECORD - 1 or b"\0" in line:
            return False
        if not (line and self._ruling.checking and self._checked()):
            return True
        self._ruling.asked.check_time()
        return table.find(line, table.everything, self._ruling.asked) is None

    def _line(self, table: Table, line: bytes, start: int, end: int) -> None:
        """One body line.  Each of its records may be asked about, replaced, or left out."""
        pieces = records(line)
        out, touched = b"", False
        for piece in pieces:
            ending = b"\r\n" if piece is pieces[-1] else b""
            edit = self._record(table, piece)
            self._offset += len(piece) + 1
            if edit is None:
                out += piece + ending
                continue
            touched = True
            out += edit.before + b"\r\n" if edit.before is not None else b""
            out += edit.kept + ending if edit.kept is not None else b""
        if touched:
            self._replace(start, end, out)

    def _record(self, table: Table, piece: bytes) -> Edit | None:
        """What a rule makes of one record; None: nothing."""
        if not (self._ruling.checking and self._checked()) or not piece:
            return None
        text = piece.partition(b"\0")[0] if b"\0" in piece else piece
        edit = ask_body(self._ruling, table, text) if text else None
        if edit is None or edit.written or edit.kept is None:
            return edit
        return Edit(piece, edit.before) if edit.before is not None else None

    def _checked(self) -> bool:
        return not self._body_limit or self._offset < self._body_limit

    def _replace(self, start: int, end: int, new: bytes) -> None:
        if bytes(self._data[start:end]) == new:
            return
        if self._kept < start:
            self._put(stretch(self._data, self._kept, start))
        self._put(new)
        self._kept = end
        self.changed = True

    def _put(self, chunk: Buffer) -> None:
        """What comes next.  A long stretch goes out as it is, behind all that was gathered."""
        if len(chunk) < _GATHERED:
            self._gathered += chunk
        if len(chunk) >= _GATHERED or len(self._gathered) >= _GATHERED:
            self._flush()
        if len(chunk) >= _GATHERED:
            self.out.append(chunk)

    def _flush(self) -> None:
        if self._gathered:
            self.out.append(bytes(self._gathered))
            self._gathered.clear()
