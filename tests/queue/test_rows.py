"""What the database keeps of an entry, and back."""

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.mail.envelope import Client, Tls
from backupmx.mail.message import Message, head_of
from backupmx.queue import rows
from tests.queue.samples import CLIENT, entry

headers = st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\r", b" ")), max_size=5).map(tuple)


@given(headers)
def test_size_of_a_head(parts: tuple[bytes, ...]) -> None:
    """The size of a header block is told without making it, and one item makes the same block as many."""
    head = b"\n".join(parts)
    assert rows.wire_size(head) == len(head_of(parts))
    assert head_of((head,) if head else ()) == head_of(parts)


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_can_be_kept(value: str) -> None:
    """SQLite takes whatever a peer said; what is UTF-8 is not changed."""
    kept = rows.text(value)
    kept.encode("utf-8")
    assert kept == value or any("\ud800" <= character <= "\udfff" for character in value)


@pytest.mark.parametrize(
    "client",
    [
        None,
        CLIENT,
        Client("2001:db8::1", 1),
        Client("192.0.2.1", 2, "n", '"\x00\t\\', "SMTP", None),
        Client("192.0.2.1", 2, "n", "caf\udce9", "SMTP", Tls("TLSv1.2", "A", 128)),
    ],
)
def test_client(client: Client | None) -> None:
    """Who sent it comes back as it was."""
    assert rows.client_of(rows.client_text(client)) == client


def test_checksum_covers_head_and_body() -> None:
    """One bit in header or body changes the sum."""
    at = rows.ENTRY.index("checksum") - 1
    new = [entry(headers=(h,), body=b) for h in (b"A: 1", b"A: 2") for b in (b"\r\n1", b"\r\n2")]
    sums = {rows.pack(one).entry[at] for one in new}
    assert len(sums) == 4


def test_body_in_pieces() -> None:
    """However a body is cut, it is kept as one."""
    whole = entry(body=b"\r\nabcdef")
    message = Message(whole.message.headers, (b"\r\nabc", memoryview(b"def")))
    pieces = replace(whole, message=message)
    assert rows.pack(pieces) == rows.pack(whole)


@pytest.mark.parametrize("many", [0, 1, 3, 4, 63, 64, 65, 200])
def test_many_rows_in_few_steps(many: int) -> None:
    """Any number of rows is written whole and in order."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (a, b)")
    rows.insert(db, "t", ("a", "b"), ((n, str(n)) for n in range(many)))
    assert db.execute("SELECT * FROM t ORDER BY rowid").fetchall() == [(n, str(n)) for n in range(many)]
    db.close()
