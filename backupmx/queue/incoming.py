"""incoming: new entries, many in one transaction.

Each message is a row and each recipient is a row, written in a handful of steps
whatever their number.  A next hop is kept as a number: its name is long, and
the index that claims go by is written for each recipient.
"""

from collections.abc import Iterable, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.rows import ENTRY, RECIPIENT, Packed, entry_row, insert, recipient_rows, text
from backupmx.queue.schema import Connection


def put(db: Connection, new: Sequence[Packed]) -> Sequence[None]:
    """Write entries and recipients, at the end of both tables."""
    hops = hop_keys(db, (r.next_hop for packed in new for r in packed.entry.recipients))
    (last,) = db.execute("SELECT max(key) FROM entry").fetchone()
    keyed = list(enumerate(new, (last or 0) + 1))
    insert(db, "entry", ENTRY, (entry_row(packed, key) for key, packed in keyed))
    insert(
        db, "recipient", RECIPIENT, (row for key, packed in keyed for row in recipient_rows(packed.entry, key, hops))
    )
    return [None] * len(new)


def hop_keys(db: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of next hops; unknown ones get theirs."""
    for name in names:
        if name not in db.hops:
            db.execute("INSERT OR IGNORE INTO hop (name) VALUES (?)", (text(name),))
            (db.hops[name],) = db.execute("SELECT key FROM hop WHERE name = ?", (text(name),)).fetchone()
    return db.hops


PUT = Work(put, rings=True)
