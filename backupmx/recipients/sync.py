"""sync: fetch a list, look at the difference, take it or refuse it.

    fetch ─► difference ─► too much gone? ─► store.replace
                             └─ Shrunk: the last good list stays until an operator confirms

A directory that answers with a tenth of its people is a directory in trouble,
and a list that has lost them refuses their mail for good.  So a list that
shrinks by more than `max_shrink`, or to nothing, is not taken; it is shown
(`recipients diff`) and taken when somebody says so (`recipients sync --confirm`).

Trouble
    SourceTrouble   it could not be fetched, or was refused: the last good list
                    stays, with its age, and the store knows why.
"""

from collections.abc import Collection
from dataclasses import dataclass
from threading import Event

from backupmx.recipients.source import NEVER, Source, SourceTrouble
from backupmx.recipients.store import Store


class Shrunk(SourceTrouble):
    """More would vanish than `max_shrink` allows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a fetched list would change."""

    before: int
    """Addresses that are known now."""
    added: frozenset[str]
    removed: frozenset[str]
    elsewhere: int = 0
    """Addresses of other domains, left out."""

    @property
    def after(self) -> int:
        return self.before + len(self.added) - len(self.removed)

    def too_much(self, max_shrink: float) -> bool:
        """`max_shrink`: the part, 0 to 1, that may vanish at once.  A first list may be of any length but 0."""
        return self.after == 0 or len(self.removed) > max_shrink * max(1, self.before)


def difference(known: Collection[str], fetched: frozenset[str], elsewhere: int = 0) -> Difference:
    """Pure."""
    old = frozenset(known)
    return Difference(len(old), fetched - old, old - fetched, elsewhere)


def look(source: Source, store: Store, given_up: Event = NEVER) -> Difference:
    """What a sync would change; nothing is written.  Raises SourceTrouble, StoreTrouble."""
    fetched = source.fetch(given_up)
    return difference(frozenset(store.addresses(source.name)), fetched.addresses, fetched.elsewhere)


def sync(
    source: Source, store: Store, *, max_shrink: float, now: float, confirmed: bool = False, given_up: Event = NEVER
) -> Difference:
    """Fetch the list and take it.  Raises SourceTrouble (the store keeps the reason), StoreTrouble."""
    try:
        change = look(source, store, given_up)
        if not confirmed and change.too_much(max_shrink):
            raise Shrunk(_shrunk(source.name, change))
    except SourceTrouble as trouble:
        if given_up.is_set():
            raise
        store.failed(source.name, str(trouble), now)
        raise
    store.replace(source.name, change.added, change.removed, now)
    return change


def _shrunk(name: str, change: Difference) -> str:
    if change.after == 0:
        what = f"{name}: the list is empty"
    else:
        what = f"{name}: {len(change.removed)} of {change.before} addresses would vanish"
    return f"{what}; not taken. See `backupmx recipients diff {name}`; `recipients sync --confirm {name}` takes it"
