"""incoming: new entries, many in one transaction.

Each message is a row and each recipient is a row, written in a handful of steps
whatever their number.  A next hop is kept as a number: its name is long, and
the index that claims go by is written for each recipient.

A worker that has not read a new transport.map yet chose its next hops by the old
one.  The transaction sees that its routes are not the queue's: its mail is put
under UNROUTED, and the relay asks for each next hop before anything is tried.
A next hop that a rule chose is not the routes' to change.

What comes in is counted in the same transaction: ledger.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from backupmx.queue import drill
from backupmx.queue.commit import Work
from backupmx.queue.entry import UNROUTED
from backupmx.queue.facts import ROUTES, facts, paused_of
from backupmx.queue.ledger import Came, count, forget_redirected, write_redirected
from backupmx.queue.rows import ENTRY, RECIPIENT, Packed, insert, text
from backupmx.queue.schema import Connection
from backupmx.queue.turns import FAR

_DOMAIN, _FIXED, _MANY, _CAME = (
    RECIPIENT.index(name) - RECIPIENT.index("due") for name in ("domain", "fixed", "many", "came")
)

_ARRIVED, _SENDER, _CLIENT = (ENTRY.index(name) - 1 for name in ("arrived", "sender", "client"))


def put(db: Connection, new: Sequence[Packed]) -> Sequence[None]:
    """Write entries and recipients, at the end of both tables, and count them."""
    known = facts(db)
    new = [_routed(packed, known.get(ROUTES, "")) for packed in new]
    if probe := known.get(drill.DRILL):
        new = [drill.held(packed, probe) for packed in new]
    hops, paused = hop_keys(db, (hop for packed in new for hop, _ in packed.recipients)), paused_of(known)
    (last,) = db.execute("SELECT max(key) FROM entry").fetchone()
    keyed = list(enumerate(new, (last or 0) + 1))
    insert(db, "entry", ENTRY, ((key, *packed.entry) for key, packed in keyed))
    recipients = (
        (key, n, -hops[hop] if paused and rest[_DOMAIN] in paused else hops[hop], *(_later(rest) if behind else rest))
        for key, packed in keyed
        for behind in (_behind(db, packed),)
        for n, (hop, rest) in enumerate(packed.recipients)
    )
    insert(db, "recipient", RECIPIENT, recipients)
    count(db, (came for packed in new for came in _came(packed)))
    write_redirected(db, ((packed.entry[0], packed.redirected) for packed in new if packed.redirected))
    return [None] * len(new)


def _behind(db: Connection, packed: Packed) -> bool:
    client = packed.entry[_CLIENT]
    return db.turns.behind(packed.entry[_SENDER], client.partition(",")[0] if client else "", packed.entry[_ARRIVED])


def _later(rest: tuple[Any, ...]) -> tuple[Any, ...]:
    """In the second row, if it may go at all."""
    return rest if rest[0] is None else (rest[0] - FAR, *rest[1:])


def take_back(db: Connection, new: Sequence[Packed]) -> None:
    """Their senders read 451: they never came.  What a relay has already leased stays."""
    for packed in new:
        row = db.execute(
            "SELECT key FROM entry WHERE id = ? AND NOT EXISTS"
            " (SELECT 1 FROM recipient WHERE entry = key AND lease IS NOT NULL)",
            (packed.entry[0],),
        ).fetchone()
        if row is not None:
            db.execute("DELETE FROM recipient WHERE entry = ?", row)
            db.execute("DELETE FROM entry WHERE key = ?", row)
            forget_redirected(db, [packed.entry[0]])
            count(db, (came._replace(many=-came.many) for came in _came(packed)))


def _came(packed: Packed) -> Iterable[Came]:
    return (Came(rest[_CAME], rest[_DOMAIN], rest[_MANY]) for _, rest in packed.recipients)


def _routed(packed: Packed, routes: str) -> Packed:
    """Next hops that the queue's routes may not know any more are none."""
    if not packed.routes or not routes or packed.routes == routes:
        return packed
    return replace(
        packed, recipients=tuple((hop if rest[_FIXED] else UNROUTED, rest) for hop, rest in packed.recipients)
    )


def hop_keys(db: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of next hops; unknown ones get theirs."""
    for name in names:
        if name not in db.hops:
            db.execute("INSERT OR IGNORE INTO hop (name) VALUES (?)", (text(name),))
            (db.hops[name],) = db.execute("SELECT key FROM hop WHERE name = ?", (text(name),)).fetchone()
    return db.hops


PUT = Work(put, rings=True, undo=take_back)
