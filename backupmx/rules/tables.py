"""Pure.  tables: the five tables of one server, what they may see, and how one is asked."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from backupmx.rules.actions import Edit, Ruling
from backupmx.rules.mime import NAMES
from backupmx.rules.table import EMPTY, Rule, Table
from backupmx.rules.vocabulary import Where

DROPPED = frozenset((b"bcc", b"content-length", b"resent-bcc", b"return-path"))
"""Postfix message_drop_headers, its default."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one server; EMPTY asks nothing."""

    header: Table = EMPTY
    mime: Table = EMPTY
    nested: Table = EMPTY
    body: Table = EMPTY
    milter: Table = EMPTY
    """milter_header_checks: for headers that checks and milters add."""

    below: bool = field(init=False)
    """Is there a table that looks below the first header block?  One without a usable rule is one, as in Postfix."""
    wanted: frozenset[bytes] = field(init=False, repr=False)
    """Header names (lower case) of the first block that something is done about."""

    def __post_init__(self) -> None:
        below = any(table is not EMPTY for table in (self.mime, self.nested, self.body))
        object.__setattr__(self, "below", below)
        object.__setattr__(self, "wanted", self.header.names | DROPPED | (NAMES if below else frozenset()))

    @property
    def every(self) -> tuple[Table, ...]:
        """Each table once."""
        return tuple(dict.fromkeys((self.header, self.mime, self.nested, self.body, self.milter)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all of them, each once: one file may be several tables."""
        return tuple(dict.fromkeys(warning for table in self.every for warning in table.warnings))

    def rules(self) -> Iterator[tuple[Table, Rule]]:
        """Each rule that can take an action, of a file that is several tables once."""
        seen: set[tuple[str, int]] = set()
        for table in self.every:
            for rule in table.rules:
                place = (table.name, rule.line)
                if rule.statement.word == "rule" and place not in seen:
                    seen.add(place)
                    yield table, rule


@dataclass(frozen=True, slots=True)
class Settings:
    """Postfix parameters that change what a rule sees."""

    header_size_limit: int = 102_400
    body_checks_size_limit: int = 51_200
    mime: bool = True
    """False: disable_mime_input_processing = yes."""
    hopcount_limit: int = 0
    """This many Received headers are refused, 554 5.4.0; 0: the caller counts them itself."""
    drop: bool = True
    """Leave out Bcc, Resent-Bcc, Content-Length and Return-Path, as message_drop_headers says."""
    effort: int = 100_000
    """Headers, boundaries and lines that might be one. A message with more is refused, 550 5.6.0: nobody writes such
    mail, and looking at them takes seconds."""
    budget: float = 0.5
    """Seconds after which patterns that gave no answer are not asked again about this message."""


DEFAULT = Settings()


_PLAIN = re.compile(rb"[!-9;-~]+:[^\n]*(?:\n[ \t][^\n]*)*")


def ask(ruling: Ruling, table: Table, text: bytes, name: bytes, where: Where) -> Edit:
    """One table about one header of this name (lower case)."""
    if not (table and ruling.checking and text):
        return Edit(text)
    ruling.asked.check_time()
    if where == "header":
        hit = table.find(text, table.program(name), ruling.asked)
    else:  # nobody has looked at what a milter adds: "Name :" or a stray line may stand in it
        plain = _PLAIN.fullmatch(text) is not None
        hit = table.find(text, table.program(name) if plain else table.everything, ruling.asked, folded=plain)
    return ruling.act(hit, text, where) if hit else Edit(text)


def ask_body(ruling: Ruling, table: Table, text: bytes) -> Edit | None:
    """body_checks about one record of a body; None: no rule matches."""
    ruling.asked.check_time()
    hit = table.find(text, table.everything, ruling.asked)
    return ruling.act(hit, text, "body") if hit else None
