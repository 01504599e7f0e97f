"""One question over the file, the fetched lists and what primaries said."""

from pathlib import Path

import pytest

from backupmx.recipients.known import parse
from backupmx.recipients.standing import Knowledge, Standing, Taught
from backupmx.recipients.store import Store, StoreTrouble
from backupmx.recipients.who import Lists, Recipients

NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "recipients.db")
    store.replace("ldap", ["a@example.jp", "list@example.jp"], [], NOW - 60)
    store.teach({"old@other.jp": Taught(True, NOW - 60)})
    return store


def who(store: Store | None, file: str = "", **lists: object) -> Recipients:
    given = {"sources": {"ldap": ("example.jp",)} if store else {}, **lists}
    return Recipients(
        parse(file, "relay_recipients", NOW) if file else None,
        store,
        Lists(**given),  # type: ignore[arg-type]
        lambda: NOW,
    )


def test_a_list_speaks_for_its_domains(store: Store) -> None:
    """A domain that no list speaks for is not refused for another's list."""
    recipients = who(store)
    assert recipients.know("A@Example.JP") == Knowledge(Standing.LISTED, "ldap", NOW - 60)
    assert recipients.know("x@example.jp").standing is Standing.ABSENT
    assert recipients.know("x@other.jp").standing is Standing.UNLISTED
    assert recipients.know("old@other.jp").standing is Standing.TAUGHT


def test_the_file_speaks_for_all(store: Store) -> None:
    """As Postfix's relay_recipient_maps does; the lists are asked beside it."""
    recipients = who(store, "b@example.jp OK\n@whole.jp OK\n")
    assert recipients.know("b@example.jp") == Knowledge(Standing.LISTED, "relay_recipients:1", NOW)
    assert recipients.know("any@whole.jp").source == "relay_recipients:2"
    assert recipients.know("a@example.jp").source == "ldap"
    assert recipients.know("x@other.jp").standing is Standing.ABSENT


def test_extensions(store: Store) -> None:
    """user+ext is user where the delimiter is set, and not elsewhere."""
    assert who(store).know("a+ext@example.jp").standing is Standing.ABSENT
    recipients = who(store, delimiter="+-")
    assert recipients.know("a+ext@example.jp").standing is Standing.LISTED
    assert recipients.know("a-ext+more@example.jp").standing is Standing.LISTED
    assert recipients.know("+ext@example.jp").standing is Standing.ABSENT


@pytest.mark.parametrize(
    ("address", "standing"),
    [
        ('"Known"@example.jp', Standing.LISTED),
        ('"known+ext"@example.jp', Standing.LISTED),
        ('"a b"@example.jp', Standing.LISTED),
        ('"a b+ext"@example.jp', Standing.LISTED),
        ('"a\\ b"@example.jp', Standing.LISTED),
        ('"a  b"@example.jp', Standing.ABSENT),
        ("+known@example.jp", Standing.ABSENT),
        ("known+@example.jp", Standing.LISTED),
        ("ÄRGER@example.jp", Standing.LISTED),
        ("list-request@example.jp", Standing.LISTED),
    ],
)
def test_ways_to_write_an_address(store: Store, address: str, standing: Standing) -> None:
    """Quotes that say nothing, escapes, extensions and case do not make another person."""
    file = 'known@example.jp OK\n"a b"@example.jp OK\närger@example.jp OK\nlist-request@example.jp OK\n'
    assert who(store, file, delimiter="+").know(address).standing is standing


def test_a_list_that_became_stale(tmp_path: Path) -> None:
    """Its people exist still; of others nobody can say."""
    store = Store(tmp_path / "recipients.db")
    store.replace("ldap", ["a@example.jp"], [], NOW - 8 * 86400)
    recipients = who(store)
    assert recipients.know("a@example.jp").standing is Standing.LISTED
    assert recipients.know("x@example.jp") == Knowledge(Standing.UNSURE, "ldap", NOW - 8 * 86400)


def test_a_list_that_is_fetched_again(store: Store) -> None:
    """Its new age counts for addresses that were asked about before."""
    store.replace("ldap", [], [], NOW - 8 * 86400)
    recipients = who(store)
    assert recipients.know("x@example.jp").standing is Standing.UNSURE
    store.replace("ldap", [], [], NOW)
    assert store.states()["ldap"].synced == NOW
    assert recipients.know("x@example.jp") == Knowledge(Standing.ABSENT, "ldap", NOW)


def test_the_most_exact_word_counts(store: Store) -> None:
    """Of what a primary said of an address, without its extension, and of its whole domain."""
    store.teach({"@taught.jp": Taught(True, NOW), "u@taught.jp": Taught(False, NOW, "550 5.1.1 who?")})
    recipients = who(store, delimiter="+")
    assert recipients.know("u+ext@taught.jp") == Knowledge(Standing.UNTAUGHT, "the primary", NOW, "550 5.1.1 who?")
    assert recipients.know("v@taught.jp").standing is Standing.TAUGHT


def test_a_list_that_was_never_fetched(tmp_path: Path) -> None:
    """Nobody can say yet."""
    assert who(Store(tmp_path / "recipients.db")).know("x@example.jp") == Knowledge(Standing.UNSURE, "ldap")


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    """Is trouble, not "does not exist"."""
    (tmp_path / "recipients.db").mkdir()
    with pytest.raises(StoreTrouble):
        who(Store(tmp_path / "recipients.db")).know("a@example.jp")
