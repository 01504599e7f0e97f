"""Lists that are fetched, taken or refused."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from backupmx.recipients.source import NEVER, Fetched, SourceTrouble
from backupmx.recipients.store import Store
from backupmx.recipients.sync import Difference, Shrunk, look, sync


@dataclass
class Listed:
    """A source that a test fills."""

    addresses: set[str] = field(default_factory=set)
    name: str = "hr"
    domains: tuple[str, ...] = ()
    every: float = 60.0
    trouble: str = ""

    def fetch(self, given_up: Event = NEVER) -> Fetched:
        if self.trouble:
            raise SourceTrouble(self.trouble)
        return Fetched(frozenset(self.addresses))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "recipients.db")


def people(many: int, first: int = 0) -> set[str]:
    return {f"u{n}@x.jp" for n in range(first, first + many)}


def test_taken(store: Store) -> None:
    """What is new comes, what is gone goes."""
    source = Listed(people(10))
    sync(source, store, max_shrink=0.2, now=1.0)
    source.addresses = people(10, first=1)
    assert sync(source, store, max_shrink=0.2, now=2.0) == Difference(
        10, frozenset({"u10@x.jp"}), frozenset({"u0@x.jp"})
    )
    assert set(store.addresses("hr")) == people(10, first=1)


@pytest.mark.parametrize("left", [0, 7])
def test_a_list_that_lost_too_much(store: Store, left: int) -> None:
    """It is not taken until somebody says so; the old one stays in force."""
    source = Listed(people(10))
    sync(source, store, max_shrink=0.2, now=1.0)
    source.addresses = people(left)
    with pytest.raises(Shrunk, match="recipients sync --confirm hr"):
        sync(source, store, max_shrink=0.2, now=2.0)
    assert set(store.addresses("hr")) == people(10)
    assert (store.states()["hr"].synced, store.states()["hr"].tried) == (1.0, 2.0)
    sync(source, store, max_shrink=0.2, now=3.0, confirmed=True)
    assert set(store.addresses("hr")) == people(left)


def test_a_list_that_is_somebody_elses(store: Store) -> None:
    """Ten others in place of ten have lost all ten."""
    source = Listed(people(10))
    sync(source, store, max_shrink=0.2, now=1.0)
    source.addresses = people(10, first=100)
    with pytest.raises(Shrunk, match="10 of 10"):
        sync(source, store, max_shrink=0.2, now=2.0)


def test_an_empty_first_list(store: Store) -> None:
    """A directory that names nobody is in trouble."""
    with pytest.raises(Shrunk, match="the list is empty"):
        sync(Listed(), store, max_shrink=1.0, now=1.0)


def test_a_source_in_trouble(store: Store) -> None:
    """The reason is kept, the list and its age stay."""
    source = Listed(people(3))
    sync(source, store, max_shrink=0.2, now=1.0)
    source.trouble = "no route to host"
    with pytest.raises(SourceTrouble):
        sync(source, store, max_shrink=0.2, now=2.0)
    assert (store.states()["hr"].synced, store.states()["hr"].error) == (1.0, "no route to host")


def test_looking_changes_nothing(store: Store) -> None:
    """diff writes nothing."""
    assert look(Listed(people(2)), store) == Difference(0, frozenset(people(2)), frozenset())
    assert list(store.addresses("hr")) == []
