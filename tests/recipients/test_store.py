"""recipients.db."""

import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.recipients.standing import NO_KEPT, YES_KEPT, Taught
from backupmx.recipients.store import NOTHING, Found, Store, StoreTrouble, fair_share


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "recipients.db")


def test_lists_of_several_sources(store: Store) -> None:
    """An address is found in the sources that speak for its domain, by itself or by its whole domain."""
    store.replace("ldap", ["a@example.jp"], [], 10.0)
    store.replace("hr", ["a@example.jp", "@all.jp"], [], 20.0)
    assert store.find(("a@example.jp", "@example.jp"), ("hr",)) == Found("hr")
    assert store.find(("x@all.jp", "@all.jp"), ("hr", "ldap")) == Found("hr")
    assert store.find(("x@all.jp", "@all.jp"), ("ldap",)) == Found()


def test_replacing_is_whole(store: Store) -> None:
    """A list changes at once, with its age and length."""
    store.replace("ldap", ["a@x.jp", "b@x.jp"], [], 10.0)
    store.replace("ldap", ["c@x.jp"], ["a@x.jp"], 20.0)
    assert list(store.addresses("ldap")) == ["b@x.jp", "c@x.jp"]
    state = store.states()["ldap"]
    assert (state.many, state.synced, state.tried, state.error) == (2, 20.0, 20.0, "")


def test_a_failure_keeps_the_list(store: Store) -> None:
    """The last good list stays, with its age; the reason is kept."""
    store.replace("ldap", ["a@x.jp"], [], 10.0)
    store.failed("ldap", "no route", 20.0)
    state = store.states()["ldap"]
    assert (state.synced, state.tried, state.error) == (10.0, 20.0, "no route")
    assert store.find(("a@x.jp", "@x.jp"), ("ldap",)).listed == "ldap"


def test_the_newest_word_counts(store: Store) -> None:
    """An older yes does not undo a newer no."""
    store.teach({"a@x.jp": Taught(True, 10.0)})
    store.teach({"a@x.jp": Taught(False, 20.0, "550 5.1.1")})
    store.teach({"a@x.jp": Taught(True, 15.0)})
    assert store.find(("a@x.jp", "@x.jp"), ()).taught == Taught(False, 20.0, "550 5.1.1")
    store.unteach(["a@x.jp"])
    assert store.find(("a@x.jp", "@x.jp"), ()) == Found()


def test_words_that_are_no_text(store: Store) -> None:
    """A primary that answers with bytes which are no UTF-8 teaches like any other, and ends nothing."""
    said = b"550 5.1.1 \xff\xfe".decode("utf-8", "surrogateescape")
    store.teach({"a@x.jp": Taught(False, 10.0, said)})
    assert store.find(("a@x.jp", "@x.jp"), ()).taught == Taught(False, 10.0, "550 5.1.1 ??")
    store.failed("a program", said, 10.0)


def test_what_is_taught_is_bounded(store: Store) -> None:
    """The oldest go first, by age and by number."""
    store.teach({f"u{n}@x.jp": Taught(True, float(n)) for n in range(100)})
    assert store.tidy(YES_KEPT + 10.0, most=50) == 50
    assert [one.at for _, one in store.taught()] == sorted((float(n) for n in range(50, 100)), key=str)
    assert store.tidy(YES_KEPT + 60.0, most=50) == 10


def test_a_no_is_forgotten_sooner(store: Store) -> None:
    """It counts for three days, a yes for thirty-one."""
    store.teach({"yes@x.jp": Taught(True, 0.0), "no@x.jp": Taught(False, 0.0, "550")})
    assert store.tidy(NO_KEPT + 1) == 1
    assert [address for address, _ in store.taught()] == ["yes@x.jp"]


def test_a_flood_forgets_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without end in a domain that takes all, or refused in thousands, cost the people of others nothing."""
    monkeypatch.setattr("backupmx.recipients.store.DOMAINS_SHARE", 10)
    people = {f"p{n}@{domain}": Taught(True, float(n)) for n in range(10) for domain in ("x.jp", "y.jp")}
    store.teach(people)
    store.teach({f"r{n}@all.jp": Taught(True, 100.0 + n) for n in range(200)})
    store.teach({f"no{n}@y.jp": Taught(False, 400.0 + n, "550") for n in range(200)})
    store.tidy(700.0, most=100)
    left = [address for address, _ in store.taught()]
    assert len(left) == 100
    assert set(people) <= set(left)
    assert sum(address.startswith("no") for address in left) == 25
    assert "r199@all.jp" in left


@given(st.lists(st.integers(1, 1000)), st.integers(0, 5000))
def test_fair_shares(counts: list[int], room: int) -> None:
    """All that stay have room, and one more each had none."""
    share = fair_share(counts, room)
    assert sum(min(count, share) for count in counts) <= room or share == 0
    assert sum(counts) <= room or sum(min(count, share + 1) for count in counts) > room


def test_damage_in_the_middle(tmp_path: Path) -> None:
    """Pages that turn out to be damaged are trouble once; then lists are fetched anew."""
    path = tmp_path / "recipients.db"
    with Store(path) as store:
        store.replace("ldap", [f"user{n}@x.jp" for n in range(5000)], [], 1.0)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * (size - 4096 * 3))
    with Store(path, lambda: 0.0) as store, Store(path, lambda: 0.0) as other:
        for one in (store, other):
            assert one.states()["ldap"].many == 5000
        for one in (store, other):  # neither looks whether another lies in its place
            with pytest.raises(StoreTrouble, match="malformed"):
                one.find(("user777@x.jp", "@x.jp"), ["ldap"])
        assert store.find(("user777@x.jp", "@x.jp"), ["ldap"]) == NOTHING
        store.replace("ldap", ["user777@x.jp"], [], 2.0)
        assert other.find(("user777@x.jp", "@x.jp"), ["ldap"]).listed == "ldap"
    assert (tmp_path / "recipients.db.damaged").stat().st_size == size


def test_a_file_that_was_taken_away(tmp_path: Path) -> None:
    """Whoever has it open notices within a second, and works on the new one."""
    now = [0.0]
    with Store(tmp_path / "recipients.db", lambda: now[0]) as door, Store(tmp_path / "recipients.db") as relay:
        relay.replace("ldap", ["a@x.jp"], [], 1.0)
        assert door.find(("a@x.jp",), ["ldap"]).listed
        for one in tmp_path.iterdir():
            one.unlink()
        with Store(tmp_path / "recipients.db") as command:
            command.replace("ldap", ["b@x.jp"], [], 2.0)
        now[0] += 2
        assert door.find(("b@x.jp",), ["ldap"]).listed
        assert not door.find(("a@x.jp",), ["ldap"]).listed


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is moved aside; lists are fetched anew."""
    path = tmp_path / "recipients.db"
    path.write_bytes(b"no database " * 1000)
    with Store(path) as store:
        assert store.states() == {}
    assert (tmp_path / "recipients.db.damaged").read_bytes().startswith(b"no database")


def test_nobody_else_reads_it(store: Store) -> None:
    """0600: it names everybody who exists."""
    store.replace("ldap", ["a@x.jp"], [], 1.0)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_trouble_has_a_name(tmp_path: Path) -> None:
    """A folder, a link to elsewhere, a folder that is not there are trouble, not tracebacks; and it may pass."""
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path, tmp_path / "link", tmp_path / "missing" / "recipients.db"):
        with pytest.raises(StoreTrouble):
            Store(path).states()
    late = Store(tmp_path / "missing" / "recipients.db")
    with pytest.raises(StoreTrouble):
        late.find(("a@x.jp", "@x.jp"), ())
    (tmp_path / "missing").mkdir()
    assert late.find(("a@x.jp", "@x.jp"), ()) == Found()


def test_a_newer_versions_file(tmp_path: Path) -> None:
    """It is left as it is, and said."""
    db = sqlite3.connect(tmp_path / "recipients.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StoreTrouble, match="newer backupmx"):
        Store(tmp_path / "recipients.db").states()


def test_two_processes(store: Store) -> None:
    """What one writes the other finds."""
    with Store(store.path) as other:
        other.replace("ldap", ["a@x.jp"], [], 10.0)
        assert store.find(("a@x.jp", "@x.jp"), ("ldap",)) == Found("ldap")
