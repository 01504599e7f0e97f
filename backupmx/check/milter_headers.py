"""Pure.  milter_headers: the header lines that a milter sees, while it changes them.

A milter names a line by its name and by its number among those of that name.
Whoever sends 20,000 lines of one name makes clamav-milter take away each of
them, the last one first: a search through all lines for each edit would be
minutes.  So lines of one name are looked for once and then kept; a line that
is deleted only loses its text, and goes when somebody inserts.

    top     what milters put above our own Received
    below   the client's, as the rules left them
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from backupmx.mail.headers import label


class _Line:
    __slots__ = ("header", "name")

    def __init__(self, header: bytes) -> None:
        self.header: bytes | None = header
        """None: deleted."""
        self.name = label(header)


class Lines:
    """Top and below, in pieces."""

    def __init__(self, top: Iterable[bytes], below: Iterable[bytes]) -> None:
        self._top, self._below = [_Line(header) for header in top], [_Line(header) for header in below]
        self._named: dict[bytes, list[_Line]] = {}
        self._gaps = False

    @property
    def top(self) -> tuple[bytes, ...]:
        return tuple(_left(self._top))

    @property
    def below(self) -> tuple[bytes, ...]:
        return tuple(_left(self._below))

    def has(self, name: bytes, number: int) -> bool:
        """`name` in lower case; 1 is the first."""
        return number <= len(self._of(name))

    def add(self, header: bytes) -> None:
        line = _Line(header)
        self._below.append(line)
        if line.name in self._named:
            self._named[line.name].append(line)

    def insert(self, index: int, header: bytes, between: int) -> None:
        """Before the line of that index, counted from 0; `between` top and below there are so many others."""
        self._close_gaps()
        line = _Line(header)
        if index <= len(self._top):
            self._top.insert(index, line)
        else:
            self._below.insert(max(0, index - len(self._top) - between), line)
        self._named.pop(line.name, None)

    def change(self, name: bytes, number: int, header: bytes) -> None:
        """A line that is there; its new text may have another name."""
        line = self._of(name)[number - 1]
        line.header, line.name = header, label(header)
        if line.name != name:
            self._named.pop(name, None)
            self._named.pop(line.name, None)

    def delete(self, name: bytes, number: int) -> None:
        """A line that is there."""
        self._of(name).pop(number - 1).header = None
        self._gaps = True

    def _of(self, name: bytes) -> list[_Line]:
        if name not in self._named:
            lines = chain(self._top, self._below)
            self._named[name] = [line for line in lines if line.name == name and line.header is not None]
        return self._named[name]

    def _close_gaps(self) -> None:
        if self._gaps:
            self._top = [line for line in self._top if line.header is not None]
            self._below = [line for line in self._below if line.header is not None]
            self._gaps = False


def _left(lines: Iterable[_Line]) -> Iterator[bytes]:
    return (line.header for line in lines if line.header is not None)
