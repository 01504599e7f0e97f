"""What deliveries teach."""

from pathlib import Path

import pytest

from backupmx.mail.reply import Reply
from backupmx.recipients.lessons import Lessons
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import Store, StoreTrouble

OK = Reply(250, "2.0.0", "Ok")
UNKNOWN = Reply(550, "5.1.1", "<x>: User unknown")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def lessons(now: list[float]) -> Lessons:
    return Lessons(lambda: now[0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "recipients.db")


def known(store: Store) -> dict[str, Taught]:
    return dict(store.taught())


def test_yes_and_no(lessons: Lessons, store: Store) -> None:
    """A 250 teaches, a 5.1.1 unteaches, other words say nothing."""
    lessons.hear("A@x.jp", OK)
    lessons.hear("b@x.jp", UNKNOWN)
    for reply in (Reply(450, "4.1.1", "later"), Reply(550, "5.7.1", "spam"), Reply(552, "5.2.2", "full")):
        lessons.hear("c@x.jp", reply)
    lessons.write(store)
    assert known(store) == {
        "a@x.jp": Taught(True, 1000.0),
        "b@x.jp": Taught(False, 1000.0, "550 5.1.1 <x>: User unknown"),
    }


def test_the_same_yes_is_written_once_a_day(lessons: Lessons, store: Store, now: list[float]) -> None:
    """A flush of ten thousand messages to one person is one row."""
    lessons.hear("a@x.jp", OK)
    lessons.write(store)
    now[0] += 3600
    lessons.hear("a@x.jp", OK)
    lessons.write(store)
    assert known(store)["a@x.jp"].at == 1000.0
    now[0] += 86400
    lessons.hear("a@x.jp", OK)
    lessons.write(store)
    assert known(store)["a@x.jp"].at == now[0]


def test_a_no_after_a_yes(lessons: Lessons, store: Store, now: list[float]) -> None:
    """Who left is unlearned at once, who is back is learned at once."""
    said = []
    for reply in (OK, UNKNOWN, OK):
        now[0] += 1
        lessons.hear("a@x.jp", reply)
        lessons.write(store)
        said.append(known(store)["a@x.jp"].exists)
    assert said == [True, False, True]


def test_trouble_keeps_what_was_heard(lessons: Lessons, store: Store, tmp_path: Path) -> None:
    """It is written when the disk is well again."""
    lessons.hear("a@x.jp", OK)
    with pytest.raises(StoreTrouble):
        lessons.write(Store(tmp_path))
    lessons.write(store)
    assert list(known(store)) == ["a@x.jp"]
