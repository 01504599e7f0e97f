"""delays: mail that waits for so long that its sender is told, once.

    late    a page of it: what is queued or deferred, older than a time, after a mark
    warned  the notices, and the mark that goes on behind their messages: one commit

Queue ids sort by time, so the mark is one id: whoever arrived before it has been looked at, whether or not a notice
came of it.  It is kept as a fact, survives any crash together with the notices, and costs nothing where mail comes
in or goes; a sweep reads what became late since the last one, by the index that ids have anyway.

Why not a column of each message?  A million that were warned of would be read again for every one that was not, or
have an index that every put and every delivery writes.

BUGS
    Mail that is held when its time comes is passed over, also when it is released later; so is what was imported
    under an id of another kind than ours.  After a clock that was ahead nobody is warned until ours is where it was.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from backupmx.mail.message import Message
from backupmx.queue.commit import Work
from backupmx.queue.entry import Claim, ClaimedRecipient, id_prefix
from backupmx.queue.facts import WARNED, facts, set_facts
from backupmx.queue.incoming import put
from backupmx.queue.legible import is_marked
from backupmx.queue.rows import Packed, client_of
from backupmx.queue.schema import Connection, one_state

_ENTRIES = (
    "SELECT key, id, arrived, sender, size, body_type, smtputf8, ret, envid, client, vouched, head FROM entry"
    " WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
)
_RECIPIENTS = (
    "SELECT r.entry, h.name, r.address, r.notify, r.orcpt, r.attempts,"
    " CASE WHEN r.reason = '' AND h.up = 0 THEN h.error ELSE r.reason END"
    " FROM recipient r JOIN hop h ON h.key = abs(r.hop)"
    " WHERE r.entry IN (SELECT value FROM json_each(?)) AND r.due IS NOT NULL ORDER BY r.entry, r.n"
)


@dataclass(frozen=True, slots=True)
class Late:
    """One message that waits."""

    claim: Claim
    """Nothing is leased; of the message only its header.  Its recipients are all that wait, whatever their next hop."""
    reasons: tuple[str, ...]
    """Why each of them waits: the last error, or that of its next hop; "": not tried yet."""


@dataclass(frozen=True, slots=True)
class Page:
    late: Sequence[Late]
    mark: str
    """Where the next page begins; "": this was the last."""


@dataclass(frozen=True, slots=True)
class Warned:
    mark: str
    notices: Sequence[tuple[str, Packed]]
    """(id of the message that waits, its notice)"""


def late(db: Connection, before: float, limit: int) -> Page:
    """Of what arrived before this time the first `limit` messages behind the mark."""
    with one_state(db):
        rows = db.execute(_ENTRIES, (facts(db).get(WARNED, ""), id_prefix(before), limit)).fetchall()
        waiting: dict[int, list[tuple[str, ClaimedRecipient, str]]] = {}
        for entry, hop, address, notify, orcpt, attempts, reason in db.execute(
            _RECIPIENTS, (json.dumps([row[0] for row in rows]),)
        ).fetchall():
            waiting.setdefault(entry, []).append((hop, ClaimedRecipient(address, notify, orcpt, attempts), reason))
    found = []
    for key, id, arrived, sender, size, body, smtputf8, ret, envid, client, vouched, head in rows:
        those = waiting.get(key)
        if those and not is_marked((sender, client, *(one.address for _, one, _ in those))):
            claim = Claim(
                id, arrived, those[0][0], sender, tuple(r for _, r, _ in those), Message((head,) if head else ()),
                size, body, bool(smtputf8), ret, envid, client_of(client), bool(vouched),
            )  # fmt: skip
            found.append(Late(claim, tuple(reason for *_, reason in those)))
    return Page(found, rows[-1][1] if rows else "")


def warned(db: Connection, marks: Sequence[Warned]) -> Sequence[Sequence[str]]:
    """-> of which messages a notice was put; one that went meanwhile has none."""
    return [_warned(db, one) for one in marks]


def _warned(db: Connection, one: Warned) -> Sequence[str]:
    named = json.dumps([id for id, _ in one.notices])
    there = {
        id
        for (id,) in db.execute(
            "SELECT id FROM entry e WHERE id IN (SELECT value FROM json_each(?))"
            " AND EXISTS (SELECT 1 FROM recipient r WHERE r.entry = e.key AND r.due IS NOT NULL)",
            (named,),
        ).fetchall()
    }
    put(db, [notice for id, notice in one.notices if id in there])
    set_facts(db, [(WARNED, one.mark)])
    return [id for id, _ in one.notices if id in there]


WARNED_OF = Work(warned, rings=True)
