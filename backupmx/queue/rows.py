"""Pure.  rows: an entry as the database keeps it, and back.

    Packed      a new entry, measured and summed, ready to be written
    Stored      an entry as it was read, on its way to becoming a claim
    insert      the statement that writes many rows in one step

The checksum is zlib.crc32 over head and body: it finds what disks and memory
do to bytes (every burst up to 32 bits, all else but one in four thousand
million), and it is the fastest sum in the standard library: 3.3 GB/s here, where
adler32 makes 3.0 and is weak on short texts, sha256 1.3, blake2b 0.8.
It is no defence against somebody who can write to the database.

Text that is not UTF-8 (a peer's words, as lone surrogates) is kept with U+FFFD.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from backupmx.mail.address import domain_of
from backupmx.mail.envelope import Client, Tls
from backupmx.mail.message import Buffer, pieces
from backupmx.queue.entry import NewEntry, NewRecipient, State
from backupmx.queue.legible import MARK

IN_ROW = 256 * 1024
"""Octets of a body that still go into the row.  Larger ones would be written twice (log, then file)."""

ENTRY = (
    "key", "id", "arrived", "sender", "size", "message_id", "reason", "body_type", "smtputf8", "ret", "envid",
    "client", "vouched", "checksum", "path", "start", "head", "body",
)  # fmt: skip
RECIPIENT = (
    "entry", "n", "hop", "due", "lease", "state", "attempts", "next_attempt", "address", "domain", "notify", "orcpt",
    "reason", "fixed", "many", "came",
)  # fmt: skip
DAY = 86400
_AT_ONCE = (64, 32, 16, 8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Packed:
    """What `put` hands to the writer: rows, but for the numbers that only the database knows."""

    entry: tuple[Any, ...]
    """In the order of ENTRY, without its key."""
    recipients: tuple[tuple[str, tuple[Any, ...]], ...]
    """Next hop, and the rest in the order of RECIPIENT from `due` on."""
    path: str | None
    """Name of the body file."""
    routes: str = ""
    """Signature of the routes that chose the next hops; "": whoever put it knows best."""
    redirected: tuple[str, ...] = ()
    """Whom the client named, where REDIRECT put another in their place."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry as it was read; the body of a file not yet."""

    key: int
    id: str
    arrived: float
    sender: str
    size: int
    message_id: str
    reason: str
    body_type: str
    smtputf8: bool
    ret: str
    envid: str
    client: Client | None
    vouched: bool
    checksum: int
    path: str | None
    start: int
    head: bytes
    body: bytes | None

    @property
    def body_size(self) -> int:
        """What the file has to hold from `start` on."""
        return self.size - wire_size(self.head)


def pack(
    entry: NewEntry, *, path: str | None = None, start: int = 0, summed: Callable[[int, int], int] | None = None
) -> Packed:
    """Measure and sum.  With a path the body is in that file, from `start` on; `summed(size, checksum)` goes on with
    the checksum there, which spares us to have all of a large file in memory."""
    if not entry.recipients:
        raise ValueError(f"{entry.id}: an entry without recipients would never end")
    message = entry.message
    head = b"\n".join(message.headers)
    checksum = zlib.crc32(head)
    size = wire_size(head)
    octets = sum(len(part) for part in message.body)
    if summed is not None:
        checksum = summed(octets, checksum)
    else:
        for piece in pieces(message.body):
            checksum = zlib.crc32(piece, checksum)
    size += octets
    body: Buffer | None = None
    if path is None:
        body = message.body[0] if len(message.body) == 1 else b"".join(message.body)
    envelope = entry.envelope
    row = (
        entry.id, entry.arrived, text(envelope.sender), size, text(entry.message_id), text(entry.reason),
        envelope.body, envelope.smtputf8, envelope.ret, text(envelope.envid), client_text(entry.client),
        entry.vouched, checksum, path, start, head, body,
    )  # fmt: skip
    came = came_of(entry)
    recipients = tuple((r.next_hop, _recipient(r, entry.arrived, came)) for r in entry.recipients)
    named = {r.address for r in envelope.recipients}.difference(r.address for r in entry.recipients)
    return Packed(row, recipients, path, entry.routes, tuple(map(text, named)))


def day_of(arrived: float) -> int:
    """Days since the epoch, UTC, as SQL's CAST(arrived / 86400 AS INTEGER) has them."""
    return int(arrived / DAY)


def came_of(entry: NewEntry) -> int:
    """The day of arrival; of our own notices its complement, below zero."""
    return day_of(entry.arrived) if entry.client is not None else ~day_of(entry.arrived)


def _recipient(recipient: NewRecipient, arrived: float, came: int) -> tuple[Any, ...]:
    due = arrived if recipient.state is State.QUEUED else None
    return (
        due, None, recipient.state, 0, arrived, text(recipient.address), text(domain_of(recipient.address)),
        text(recipient.notify), text(recipient.orcpt), text(recipient.reason), recipient.fixed, recipient.many,
        came,
    )  # fmt: skip


def wire_size(head: bytes) -> int:
    """Octets of `message.head_of` without making it."""
    return len(head) + head.count(b"\n") + 2 if head else 0


def stored(row: Sequence[Any]) -> Stored:
    """A row in the order of ENTRY."""
    key, id, arrived, sender, size, message_id, reason, body_type, smtputf8, ret, envid, client, vouched, *rest = row
    return Stored(
        key, id, arrived, sender, size, message_id, reason, body_type, bool(smtputf8), ret, envid,
        client_of(client), bool(vouched), *rest,
    )  # fmt: skip


def state_of(word: str) -> State:
    """As it is kept; of a word that is none, held: nothing of it may go by itself."""
    try:
        return State(word)
    except ValueError:
        return State.HELD


def text(value: str) -> str:
    """What SQLite can keep: no lone surrogates; and no stranger calls his words damaged (legible.py)."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace(MARK, "\ufffd")


def client_text(client: Client | None) -> str | None:
    if client is None:
        return None
    tls = client.tls and (client.tls.version, client.tls.cipher, client.tls.bits)
    return json.dumps((client.address, client.port, client.name, client.helo, client.protocol, tls))


def client_of(column: str | None) -> Client | None:
    if column is None:
        return None
    address, port, name, helo, protocol, tls = json.loads(column)
    return Client(address, port, name, helo, protocol, Tls(*tls) if tls else None)


def insert(db: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows in as few steps as may be; a few sizes only, so that each statement stays prepared."""
    waiting = list(rows)
    at = 0
    for many in _AT_ONCE:
        while len(waiting) - at >= many:
            db.execute(_insert_statement(table, columns, many), list(chain.from_iterable(waiting[at : at + many])))
            at += many


@cache
def _insert_statement(table: str, columns: tuple[str, ...], many: int) -> str:
    row = f"({','.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({','.join(columns)}) VALUES {','.join([row] * many)}"  # noqa: S608 our own names
