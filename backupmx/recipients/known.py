"""known: relay_recipient_maps from a file, who exists in the domains we take mail for.

The file has the syntax of Postfix's maps: a key, blanks, a value that is not
looked at; `#` at the start of a line is a comment, a line that begins with
blanks continues the one before.

    user@example.jp    OK       this person
    @example.jp        OK       everybody in this domain
    "a b"@example.jp   OK       quotes keep blanks in the key

A map of virtual aliases is such a list; its line for the domain itself,
"example.jp anything", is passed over beside addresses of that domain.
Keys are compared without case, as Postfix folds them.  `parse` is pure;
`read` opens the file.  `postmaster` of our domains exists without being
listed (receive.admit sees to that).

Trouble
    KnownTrouble   the file cannot be used: every error at once, with file,
                   line and what to write instead.  A list with a hole in it
                   would refuse people who exist, so none is used.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from backupmx.config.home import unreadable
from backupmx.mail.address import Malformed, check, folded

_QUOTED_KEY = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')


class KnownTrouble(Exception):
    """The list cannot be used.  `errors` are sentences: "relay_recipients:3: what, and what to write"."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class Known:
    """Who exists.  A hundred thousand addresses are one dict."""

    __slots__ = ("_lines", "name", "read_at")

    def __init__(self, name: str, lines: dict[str, int], read_at: float | None = None) -> None:
        """`read_at`: when the file was last changed, seconds since the epoch."""
        self.name = name
        self.read_at = read_at
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        """The keys as they were read, in lower case."""
        return iter(self._lines)

    def knows(self, address: str) -> bool:
        return self._line(address) is not None

    def source(self, address: str) -> str:
        """The line that says so, "relay_recipients:12", or ""."""
        line = self._line(address)
        return "" if line is None else f"{self.name}:{line}"

    def _line(self, address: str) -> int | None:
        key = address.lower()
        line = self._lines.get(key)
        return self._lines.get(key[key.rfind("@") :]) if line is None else line


def parse(text: str, name: str, read_at: float | None = None) -> Known:
    """Pure.  Raises KnownTrouble with every error of the file."""
    lines: dict[str, int] = {}
    errors: list[tuple[str, str]] = []
    for number, entry in _logical_lines(text):
        key, value = split(entry)
        wrong = _wrong_with(key, value)
        if not wrong and entry[:1].isspace():
            wrong = "the first line begins with a blank and continues nothing; take the blank away"
        if wrong:
            errors.append((key.lower(), f"{name}:{number}: {wrong}"))
        else:
            lines.setdefault(folded(key), number)  # postmap keeps the first of two and warns
    if errors and (left := beside(errors, {key[key.rfind("@") + 1 :] for key in lines})):
        raise KnownTrouble(left)
    return Known(name, lines, read_at)


def split(line: str) -> tuple[str, str]:
    """Pure.  A line's key and value, as postmap(1) parts them: at the first blank that no quotes hold."""
    line = line.strip()
    if not line.startswith('"'):
        key, _, value = line.partition(" ")
    else:
        key = match[0] if (match := _QUOTED_KEY.match(line)) else line
        value = line[len(key) :]
    return key, value.strip()


def beside(errors: Iterable[tuple[str, str]], domains: Container[str]) -> list[str]:
    """Pure.  By key, what is wrong, without the lines that virtual(5) has for a domain whose addresses are here."""
    return [wrong for key, wrong in errors if key not in domains]


def read(path: Path) -> Known:
    """Raises KnownTrouble, also when the file cannot be read."""
    try:
        changed = path.stat().st_mtime
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise KnownTrouble([f"{path}: {unreadable(error)}"]) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise KnownTrouble([f"{path}:{line}: not UTF-8; save the file as UTF-8"]) from None
    return parse(text, path.name, changed)


def _wrong_with(key: str, value: str) -> str:
    """What is wrong with one entry, and what to write instead; "" when it is right."""
    if not value.strip():
        return f'"{key}" has no value; write "{key} OK"'
    if "@" not in key:
        return f'"{key}" is no address; write "{key}@DOMAIN OK" for a person, "@{key} OK" for a whole domain'
    try:
        check(f"x{key}" if key.startswith("@") else key)
    except Malformed as error:
        return f'"{key}": {error}; write "user@example.jp OK" or "@example.jp OK"'
    return ""


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Postfix's: comments and empty lines fall out, a leading blank continues (readlline.c)."""
    number, held = 0, ""
    for n, line in enumerate(text.split("\n"), 1):
        line = line.rstrip().replace("\t", " ")
        if not line.lstrip() or line.lstrip().startswith("#"):
            continue
        if line[0] == " " and held:
            held += line
            continue
        if held:
            yield number, held
        number, held = n, line
    if held:
        yield number, held
