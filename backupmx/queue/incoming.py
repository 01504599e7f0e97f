"""incoming: new entries, many in one transaction.

Each message is a row and each recipient is a row, written in a handful of steps
whatever their number.  A next hop is kept as a number: its name is long, and
the index that claims go by is written for each recipient.
"""

from collections.abc import Iterable, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.rows import ENTRY, RECIPIENT, Packed, insert, text
from backupmx.queue.schema import Connection


def put(db: Connection, new: Sequence[Packed]) -> Sequence[None]:
    """Write entries and recipients, at the end of both tables."""
    hops = hop_keys(db, (hop for packed in new for hop, _ in packed.recipients))
    (last,) = db.execute("SELECT max(key) FROM entry").fetchone()
    keyed = list(enumerate(new, (last or 0) + 1))
    insert(db, "entry", ENTRY, ((key, *packed.entry) for key, packed in keyed))
    recipients = (
        (key, n, hops[hop], *rest) for key, packed in keyed for n, (hop, rest) in enumerate(packed.recipients)
    )
    insert(db, "recipient", RECIPIENT, recipients)
    return [None] * len(new)


def hop_keys(db: Connection, names: Iterable[str]) -> dict[str, int]:
    """The numbers of next hops; unknown ones get theirs."""
    for name in names:
        if name not in db.hops:
            db.execute("INSERT OR IGNORE INTO hop (name) VALUES (?)", (text(name),))
            (db.hops[name],) = db.execute("SELECT key FROM hop WHERE name = ?", (text(name),)).fetchone()
    return db.hops


PUT = Work(put, rings=True)
