"""smtp.client_access: the operator's own list, read as Postfix reads a cidr table."""

import pytest

from backupmx.receive.policy.access import AccessTrouble, parse

LIST = """\
# ours
192.0.2.7       OK
192.0.2.0/24    REJECT we know
                you
192.0.2.9       OK
198.51.100.0/24 defer
203.0.113.1     450 own words
203.0.113.2     521 5.7.0 bye
203.0.113.0/24  DUNNO
2001:db8::/32   REJECT
[2001:db9::]/32 OK
0.0.0.0/0       550 no
"""


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "OK"),
        ("192.0.2.9", "554 5.7.1 <c>: Client host rejected: we know you"),
        ("198.51.100.9", "450 4.7.1 <c>: Client host rejected: Access denied"),
        ("203.0.113.1", "450 4.7.1 <c>: Client host rejected: own words"),
        ("203.0.113.2", "521 5.7.0 <c>: Client host rejected: bye"),
        ("203.0.113.3", "DUNNO"),
        ("2001:db8:1::1", "554 5.7.1 <c>: Client host rejected: Access denied"),
        ("2001:db9::1", "OK"),
        ("2001:dba::1", None),
        ("192.0.3.1", "550 5.7.1 <c>: Client host rejected: no"),
        ("unknown", None),
    ],
)
def test_first_match(address: str, expected: str | None) -> None:
    """The first line that has the client says what becomes of it, in Postfix's words; asked again, the same."""
    access = parse(LIST, "client_access")
    for _ in range(2):
        entry = access.lookup(address)
        told = entry and (str(entry.reply("c")) if entry.action == "REFUSE" else entry.action)
        assert told == expected


def test_where_a_line_stands() -> None:
    """A match knows its line, for the log."""
    entry = parse(LIST, "client_access").lookup("192.0.2.200")
    assert entry is not None
    assert entry.where == "client_access:3"


def test_every_bad_line_is_told() -> None:
    """Each line that cannot be used is named, with what to write instead."""
    text = "192.0.2.9/24 OK\n\n192.0.2.1\n192.0.2.2 FOO\nmail.example OK\n"
    text += "!192.0.2.0/24 OK\n192.0.2.3 550 4.7.1 x\n1.2.3.4 OK x\n"
    with pytest.raises(AccessTrouble) as caught:
        parse(text, "f")
    assert [error.split(";")[0] for error in caught.value.errors] == [
        "f:1: 192.0.2.9/24 is an address within a network",
        "f:3: no action",
        "f:4: unknown action 'FOO'",
        "f:5: 'mail.example' is no network",
        "f:6: '!192.0.2.0/24': conditions are not known here",
        "f:7: 550 and 4.7.1 disagree",
        "f:8: OK stands alone (it says 'OK x')",
    ]


def test_many_lines_cost_no_more() -> None:
    """A list of ten thousand networks is no longer way than one of ten, and what it remembers is bounded."""
    access = parse("".join(f"10.{n >> 8}.{n & 255}.0/24 OK\n" for n in range(10_000)), "f")
    assert len(access.tables) == 1
    for n in range(5000):
        access.lookup(f"172.16.{n >> 8}.{n & 255}")
    assert len(access._known) <= 4096
