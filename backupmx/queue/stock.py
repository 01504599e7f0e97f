"""stock: what is on the shelf: messages read back, verified, counted; room for more.

load      leased recipients -> claims; a message whose checksum differs is not among them
message   one message, and what is wrong with it
parcel    the same with all that its export says of it
totals    how much waits, by next hop and state
check     database, checksums and body files, one sentence for each fault
sweep     body files that no entry names go
Room      is there room for so many octets more, and does it run short?
"""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backupmx.mail.message import Buffer, Message
from backupmx.queue.bodies import Bodies, Damaged
from backupmx.queue.claims import Leased
from backupmx.queue.entry import Claim, Total
from backupmx.queue.legible import DAMAGED, forgiving, is_marked
from backupmx.queue.parcel import Consignee, Parcel
from backupmx.queue.rows import ENTRY, Stored, state_of, stored
from backupmx.queue.schema import Connection, one_state

_ENTRIES = f"SELECT {','.join(ENTRY)} FROM entry"  # noqa: S608 our own names
_LEASED = "EXISTS (SELECT 1 FROM recipient r WHERE r.entry = entry.key AND r.lease IS NOT NULL)"
_SOME_LEASED = f"{_ENTRIES} WHERE key IN (SELECT value FROM json_each(?)) AND {_LEASED}"  # noqa: S608
_ONE_LEASED = f"{_ENTRIES} WHERE key = ? AND {_LEASED}"

_CONSIGNEES = (
    "SELECT r.address, r.state, h.name, r.reason, r.attempts, r.next_attempt, r.notify, r.orcpt, r.fixed, r.many"
    " FROM recipient r JOIN hop h ON h.key = abs(r.hop) WHERE r.entry = ? ORDER BY r.n"
)

_AT_ONCE = 64 << 20
"""Octets verified for one claim; with more the first message would wait for the last."""


@dataclass(frozen=True, slots=True)
class Loaded:
    claims: list[Claim]
    damaged: list[tuple[str, str]]
    """(id, what is wrong)"""
    left: list[tuple[str, list[str]]]
    """(id, addresses) that were too much for one claim."""


def load(db: Connection, bodies: Bodies, leased: Sequence[Leased]) -> Loaded:
    """In the order of the leases.  What an operator deleted meanwhile is not there any more: its key may be that of
    new mail, which nobody leased and whose recipients are others.
    """
    loaded = Loaded([], [], [])
    octets = 0
    keys = json.dumps([one.entry for one in leased])
    try:
        entries = {row[0]: stored(row) for row in db.execute(_SOME_LEASED, (keys,)).fetchall()}
    except _UNREADABLE as error:
        if not _is_damage(error):
            raise
        entries = _each_alone(db, leased, loaded)  # one bad row shall not keep its neighbours
    for one in leased:
        if (entry := entries.get(one.entry)) is None:
            continue
        if octets > _AT_ONCE:
            loaded.left.append((entry.id, [r.address for r in one.recipients]))
            continue
        octets += entry.size
        try:
            _legible(one)
            loaded.claims.append(_claim(entry, one, _verified(entry, bodies)))
        except Damaged as damage:
            loaded.damaged.append((entry.id, str(damage)))
    return loaded


_UNREADABLE = (sqlite3.DatabaseError, TypeError, ValueError)


def _is_damage(error: BaseException) -> bool:
    """Of this row: its page is no page, or what it holds is not what was put.  Else it is the disk, or a lock."""
    code = getattr(error, "sqlite_errorcode", None)  # None: Python's own, of a column that is no UTF-8
    return code is None or code & 0xFF == sqlite3.SQLITE_CORRUPT


def _each_alone(db: Connection, leased: Sequence[Leased], loaded: Loaded) -> dict[int, Stored]:
    """Those that can be read; the others are damaged."""
    entries = {}
    for key in dict.fromkeys(one.entry for one in leased):
        try:
            for row in db.execute(_ONE_LEASED, (key,)):
                entries[key] = stored(row)
        except _UNREADABLE as error:
            if not _is_damage(error):
                raise
            loaded.damaged.append((_id_of(db, key), str(error)))
    return entries


def _id_of(db: Connection, key: int) -> str:
    with forgiving(db):
        (id,) = db.execute("SELECT id FROM entry WHERE key = ?", (key,)).fetchone()
        return str(id)


def _claim(entry: Stored, leased: Leased, message: Message) -> Claim:
    return Claim(
        entry.id, entry.arrived, leased.next_hop, entry.sender, leased.recipients, message, entry.size,
        entry.body_type, entry.smtputf8, entry.ret, entry.envid, entry.client, entry.vouched,
    )  # fmt: skip


def _legible(leased: Leased) -> None:
    """Raises Damaged: its primary would be asked for somebody else."""
    for one in leased.recipients:
        if is_marked((one.address, one.notify, one.orcpt)):
            raise Damaged(f"recipient {one.address!r} is not text any more")


def _verified(entry: Stored, bodies: Bodies) -> Message:
    """Raises Damaged."""
    if not isinstance(entry.head, bytes):
        raise Damaged("its header is no octets any more")
    found = zlib.crc32(entry.head)
    if entry.path is None:
        if not isinstance(entry.body, bytes | None):
            raise Damaged("its body is no octets any more")
        found = zlib.crc32(entry.body or b"", found)
    else:
        found = bodies.sum(entry.path, entry.start, entry.body_size, found)
    if found != entry.checksum:
        raise Damaged(f"checksum is {found:08x}, was {entry.checksum:08x}")
    return _message(entry, bodies)


def _message(entry: Stored, bodies: Bodies) -> Message:
    body: Buffer = entry.body or b""
    if entry.path is not None:
        body = bodies.view(entry.path, entry.start, entry.body_size)
    return Message((entry.head,) if entry.head else (), (body,) if body else ())


def message(db: Connection, bodies: Bodies, id: str) -> tuple[Message, str] | None:
    """Damaged or not: an operator may want to see what is left."""
    row = db.execute(f"{_ENTRIES} WHERE id = ?", (id,)).fetchone()
    if row is None:
        return None
    entry = stored(row)
    try:
        return _verified(entry, bodies), ""
    except Damaged as damage:
        try:
            return _message(entry, bodies), str(damage)
        except Damaged:
            return Message((entry.head,) if entry.head else ()), str(damage)


def parcel(db: Connection, bodies: Bodies, id: str) -> tuple[Parcel, Message] | None:
    """In one read.  The content is not summed yet: `sha256` is whoever writes it."""
    with one_state(db):
        row = db.execute(f"{_ENTRIES} WHERE id = ?", (id,)).fetchone()
        if row is None:
            return None
        entry = stored(row)
        recipients = db.execute(_CONSIGNEES, (entry.key,)).fetchall()
        found = message(db, bodies, id)
        named = db.execute("SELECT address FROM redirected WHERE id = ? ORDER BY 1", (id,)).fetchall()
    content, damage = found or (Message(()), "gone")
    if is_marked(row) or any(map(is_marked, recipients)):
        damage = damage or DAMAGED.partition(": ")[2]
    consignees = tuple(
        Consignee(address, state_of(state), hop, reason, attempts, next_attempt, notify, orcpt, bool(fixed), many)
        for address, state, hop, reason, attempts, next_attempt, notify, orcpt, fixed, many in recipients
    )
    packed = Parcel(
        id, entry.arrived, entry.sender, consignees, entry.message_id, entry.reason, entry.body_type, entry.smtputf8,
        entry.ret, entry.envid, entry.vouched, entry.client, tuple(one for (one,) in named), damaged=damage,
    )  # fmt: skip
    return packed, content


def totals(db: Connection) -> Sequence[Total]:
    # Keys grow with arrival, so the least key is the oldest message.
    rows = db.execute(
        "SELECT h.name, t.state, t.many, e.arrived FROM"
        " (SELECT abs(hop) AS hop, state, count(*) AS many, min(entry) AS first FROM recipient GROUP BY 1, 2) t"
        " JOIN hop h ON h.key = t.hop JOIN entry e ON e.key = t.first ORDER BY h.name, t.state"
    )
    return [Total(hop, state_of(state), many, oldest) for hop, state, many, oldest in rows.fetchall()]


def check(db: Connection, bodies: Bodies) -> Sequence[str]:
    """Each look goes as far as it can: where the database is damaged the others still tell what is whole."""
    faults: list[str] = []
    for look in (_unsound, _damaged, _lonely):
        try:
            faults.extend(look(db, bodies))
        except sqlite3.DatabaseError as error:
            faults.append(f"queue.db: {error}; see docs/durability.md for what can be saved")
    return list(dict.fromkeys(faults))


def _unsound(db: Connection, bodies: Bodies) -> Iterator[str]:
    yield from (line for (line,) in db.execute("PRAGMA integrity_check(100)") if line != "ok")


def _damaged(db: Connection, bodies: Bodies) -> Iterator[str]:
    """Every entry, one at a time in memory, each in a read of its own."""
    key = 0
    while row := db.execute("SELECT key FROM entry WHERE key > ? ORDER BY key LIMIT 1", (key,)).fetchone():
        (key,) = row
        try:
            db.execute(_CONSIGNEES, (key,)).fetchall()
            for whole in db.execute(f"{_ENTRIES} WHERE key = ?", (key,)):
                _verified(stored(whole), bodies)
        except (Damaged, *_UNREADABLE) as damage:
            if not isinstance(damage, Damaged) and not _is_damage(damage):
                raise
            yield f"{_id_of(db, key)}: damaged: {damage}"


def _lonely(db: Connection, bodies: Bodies) -> Iterator[str]:
    lonely = "SELECT id FROM entry e WHERE NOT EXISTS (SELECT 1 FROM recipient r WHERE r.entry = e.key)"
    yield from (f"{id}: has no recipients" for (id,) in db.execute(lonely))
    lost = "SELECT count(*) FROM recipient r WHERE NOT EXISTS (SELECT 1 FROM entry e WHERE e.key = r.entry)"
    if many := db.execute(lost).fetchone()[0]:
        yield f"{many} recipients have no message"


def sweep(db: Connection, bodies: Bodies, mark: str = "") -> Sequence[str]:
    return bodies.sweep((row[0] for row in db.execute("SELECT path FROM entry WHERE path IS NOT NULL")), mark)


def reusable(db: Connection) -> int:
    """Octets inside the database that the next messages fill first."""
    (pages,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return int(pages * size)


class Room:
    """The disk floor.  Asked for every message, looked up once a second.

    The quarantine is spent while less than twice the floor is left: so it is gone before the floor is touched, and
    mail has the other half of it, also large mail, which no room inside the database helps.
    """

    def __init__(self, path: str, min_free: int, fresh: float = 1.0) -> None:
        self._folder = os.path.dirname(path)
        self._min_free = min_free
        self._fresh = fresh
        self._looked = float("-inf")
        self._free = 0
        self._told = False

    def enough(self, octets: int) -> bool:
        """Would `min_free` be left after so many octets more?"""
        return self._min_free <= 0 or self._now() - octets >= self._min_free

    def runs_short(self) -> bool:
        """Is less than twice `min_free` left?  Said once a look: what helps takes longer than a message."""
        if self._min_free <= 0 or self._now() >= 2 * self._min_free or self._told:
            return False
        self._told = True
        return True

    def lacking(self, reusable: int) -> bool:
        """The same, looked up now and with what the database has inside."""
        self._looked = float("-inf")
        lacks = self._now() + reusable < 2 * self._min_free
        self._told = True
        return lacks

    def _now(self) -> int:
        now = time.monotonic()
        if now - self._looked >= self._fresh:
            disk = os.statvfs(self._folder)
            self._free, self._looked, self._told = disk.f_bavail * disk.f_frsize, now, False
        return self._free
