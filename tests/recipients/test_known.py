"""relay_recipient_maps from a file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.recipients.known import KnownTrouble, parse, read


def test_people_and_domains() -> None:
    """A person is named, or a whole domain; case does not matter."""
    known = parse("# who exists\nUser@Example.JP\tOK\n\n@all.example.jp   anything\n", "relay_recipients")
    actual = {
        address: known.source(address)
        for address in ("user@example.jp", "x@all.EXAMPLE.jp", "x@example.jp", "x@sub.all.example.jp", "user", "")
    }
    expected = {
        "user@example.jp": "relay_recipients:2",
        "x@all.EXAMPLE.jp": "relay_recipients:4",
        "x@example.jp": "",
        "x@sub.all.example.jp": "",
        "user": "",
        "": "",
    }
    assert expected == actual
    assert list(known) == ["user@example.jp", "@all.example.jp"]
    assert len(known) == 2


def test_continuation_lines() -> None:
    """A line that begins with blanks continues the one before, comments between them notwithstanding."""
    known = parse("user@example.jp\n# comment\n   OK\nother@example.jp OK\r\n", "known")
    assert known.source("user@example.jp") == "known:1"
    assert known.source("other@example.jp") == "known:4"


def test_virtual_aliases() -> None:
    """The line that makes a domain one of aliases is passed over, beside addresses of that domain alone."""
    known = parse("example.jp anything\nlist@example.jp a@x,\n  b@x\n", "virtual")
    assert list(known) == ["list@example.jp"]
    with pytest.raises(KnownTrouble, match=r'virtual:1: "example\.jp" is no address'):
        parse("example.jp OK\nlist@example.fr a@x\n", "virtual")


def test_quotes() -> None:
    """Quotes keep blanks in a key, as with postmap; those that are not needed are taken off."""
    known = parse('"a b"@example.jp OK\n"Plain"@example.jp OK\n"a \\" c"@example.jp OK\n', "known")
    assert list(known) == ['"a b"@example.jp', "plain@example.jp", '"a \\" c"@example.jp']


def test_the_first_of_two_counts() -> None:
    """As postmap does."""
    assert parse("a@example.jp OK\nA@example.jp OK\n", "known").source("a@example.jp") == "known:1"


def test_all_errors_at_once() -> None:
    """Every wrong line is named, with what to write."""
    with pytest.raises(KnownTrouble) as trouble:
        parse("user@example.jp\nexample.fr OK\n\na b@example.jp OK\nx@y..z OK\n@ OK\nfine@example.jp OK\n", "known")
    assert trouble.value.errors == (
        'known:1: "user@example.jp" has no value; write "user@example.jp OK"',
        'known:2: "example.fr" is no address; write "example.fr@DOMAIN OK" for a person, "@example.fr OK" for a whole'
        " domain",
        'known:4: "a" is no address; write "a@DOMAIN OK" for a person, "@a OK" for a whole domain',
        'known:5: "x@y..z": bad domain; write "user@example.jp OK" or "@example.jp OK"',
        'known:6: "@": an address is local-part@domain; write "user@example.jp OK" or "@example.jp OK"',
    )


def test_a_first_line_that_continues_nothing() -> None:
    """Postfix warns and ignores it; a person would be missing, so we refuse."""
    with pytest.raises(KnownTrouble, match="known:1: the first line begins with a blank"):
        parse("  user@example.jp OK\n", "known")


def test_read(tmp_path: Path) -> None:
    """Errors name the file; a missing or garbled file is one."""
    file = tmp_path / "relay_recipients"
    file.write_text("利用者@example.jp OK\n", "utf-8")
    assert read(file).knows("利用者@example.jp")
    file.write_bytes(b"a@example.jp OK\n\xff@example.jp OK\n")
    with pytest.raises(KnownTrouble, match="relay_recipients:2: not UTF-8"):
        read(file)
    with pytest.raises(KnownTrouble, match="missing: No such file"):
        read(tmp_path / "missing")


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    """Any file gives a list or errors with lines."""
    errors: tuple[str, ...] = ()
    try:
        parse(text, "known")
    except KnownTrouble as trouble:
        errors = trouble.errors
    assert all(error.startswith("known:") for error in errors)
