"""result: what each crash left, counted and printed."""

import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TextIO

from tests.crash.examine import Examined


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash point and what was found after it."""

    kind: str
    """A row of the table."""
    what: str
    """Where exactly."""
    found: Examined


@dataclass(slots=True)
class Row:
    crashes: int = 0
    wrong: int = 0
    duplicates: int = 0
    aside: int = 0
    kept: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """Every crash of a run."""

    rows: dict[str, Row] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)

    def counting(self, crashes: Iterable[Crash]) -> Iterator[Crash]:
        """The same, counted."""
        began = time.monotonic()
        for crash in crashes:
            row, found = self.rows.setdefault(crash.kind, Row()), crash.found
            row.crashes += 1
            row.wrong += bool(found.wrongs)
            row.duplicates += found.duplicates
            row.aside += found.aside
            row.kept += found.kept
            row.seconds += time.monotonic() - began
            self.wrongs += [f"{crash.kind}: {crash.what}: {wrong}" for wrong in found.wrongs]
            yield crash
            began = time.monotonic()

    @property
    def crashes(self) -> int:
        return sum(row.crashes for row in self.rows.values())

    def table(self) -> str:
        """Markdown, as docs/durability.md has it."""
        lines = ["| kind | crash points | wrong | duplicates | set aside | kept after 451 | seconds |"]
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        total = Row()
        for kind, row in self.rows.items():
            lines.append(_line(kind, row))
            for name, value in asdict(row).items():
                setattr(total, name, getattr(total, name) + value)
        return "\n".join([*lines, _line("**all**", total)])

    def write(self, file: TextIO, proofs: Sequence[str]) -> None:
        told = {
            "machine": machine(),
            "crashes": self.crashes,
            "kinds": {kind: asdict(row) for kind, row in self.rows.items()},
            "wrongs": self.wrongs,
            "mutations": proofs,
        }
        json.dump(told, file, indent=1)
        file.write("\n")


def _line(kind: str, row: Row) -> str:
    numbers = (row.crashes, row.wrong, row.duplicates, row.aside, row.kept)
    return f"| {kind} | {' | '.join(f'{number:,}' for number in numbers)} | {row.seconds:.0f} |"


def machine() -> str:
    """What the figures are of."""
    return f"{os.uname().sysname} {os.uname().release}, {os.cpu_count()} cores, Python {platform.python_version()}"
