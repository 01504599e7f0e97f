"""source_import: a list that somebody brings by hand: `backupmx recipients import NAME FILE`.

It is fetched from nowhere; its age counts from the day it was brought.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event

from backupmx.recipients.source import NEVER, Fetched, SourceTrouble, read


@dataclass(frozen=True, slots=True)
class ImportedSource:
    name: str
    domains: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    lines: Iterable[str] | None = None
    """The file, when somebody brings one."""

    @property
    def every(self) -> float:
        """Never by itself."""
        return 0.0

    def fetch(self, given_up: Event = NEVER) -> Fetched:
        """Raises SourceTrouble."""
        if self.lines is None:
            raise SourceTrouble(f"{self.name}: fetched from nowhere; bring it with `backupmx recipients import`")
        return read(self.lines, self.name, self.domains, self.suffixes)
