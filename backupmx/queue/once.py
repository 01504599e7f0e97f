"""once: mail of our own that must not be put twice, with the fact that says so.

Both are one commit: after a crash either the mail is there and the fact tells it, or
neither is.  Whoever comes second finds the fact changed and puts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backupmx.queue.commit import Work
from backupmx.queue.facts import facts, set_facts
from backupmx.queue.incoming import put, take_back
from backupmx.queue.rows import Packed
from backupmx.queue.schema import Connection


@dataclass(frozen=True, slots=True)
class Once:
    fact: str
    before: str
    """Its value until now; with another one nothing is done."""
    after: str
    entry: Packed | None
    """None: only the fact."""


def put_once(db: Connection, asked: Sequence[Once]) -> Sequence[bool]:
    """-> whether it was done"""
    return [_put_once(db, one) for one in asked]


def _put_once(db: Connection, one: Once) -> bool:
    if facts(db).get(one.fact, "") != one.before:
        return False
    set_facts(db, [(one.fact, one.after)])
    if one.entry is not None:
        put(db, [one.entry])
    return True


def _undo(db: Connection, asked: Sequence[Once]) -> None:
    """The disk did not say that it has it: as if it had not been asked."""
    for one in asked:
        if facts(db).get(one.fact, "") == one.after:
            set_facts(db, [(one.fact, one.before)])
            take_back(db, [one.entry] if one.entry is not None else [])


PUT_ONCE = Work(put_once, rings=True, undo=_undo)
