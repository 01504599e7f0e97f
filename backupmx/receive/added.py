"""added: milter_header_checks on what milters write, one header after another, told to the journal.

A milter's next edit depends on what became of the one before, so each header
is asked about when it comes; the verdict grows with them.  A REDIRECT lets the
rest through unasked, an end adds nothing more (rules.engine.judge_added).
"""

from collections.abc import Callable

from backupmx.mail.verdict import Verdict
from backupmx.rules.engine import Added, Tables, judge_added


class Ruled:
    """What check.milters calls Shown."""

    def __init__(self, tables: Tables, before: Verdict, tell: Callable[[Added], None]) -> None:
        self.verdict = before
        self._tables = tables
        self._tell = tell

    def show(self, header: bytes) -> bytes | None:
        if self.verdict.redirect_to:
            return header
        added = judge_added((header,), self._tables, self.verdict)
        self.verdict = added.verdict
        self._tell(added)
        return added.fields[0] if added.fields else None
