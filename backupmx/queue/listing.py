"""listing: the queue as an operator sees it, a page at a time.

A listing reads the small columns only, in order of id, and each page is a
transaction of its own: a listing of a million entries holds nothing back.
What was never tried because its next hop is down has that for its reason.
"""

import json
from collections.abc import Sequence

from backupmx.queue.entry import QueuedEntry, QueuedRecipient, State
from backupmx.queue.legible import DAMAGED, behind, is_marked
from backupmx.queue.rows import state_of
from backupmx.queue.schema import Connection, one_state

_ENTRY = "SELECT e.key, e.id, e.arrived, e.sender, e.size, e.message_id, e.reason, e.vouched FROM entry e"
_RECIPIENTS = (
    "SELECT r.entry, r.address, h.name, r.state,"
    " CASE WHEN r.reason = '' AND h.up = 0 AND r.due IS NOT NULL THEN h.error ELSE r.reason END,"
    " r.attempts, r.next_attempt, r.lease, r.hop < 0, r.fixed, r.many"
    " FROM recipient r JOIN hop h ON h.key = abs(r.hop)"
    " WHERE r.entry IN (SELECT value FROM json_each(?)) ORDER BY r.entry, r.n"
)


def waiting(db: Connection, after: str, limit: int, id: str, now: float) -> Sequence[QueuedEntry]:
    """Everything but the quarantine."""
    some = "EXISTS (SELECT 1 FROM recipient r WHERE r.entry = e.key AND r.state NOT IN ('discarded', 'unreturned'))"
    return _listed(db, some, after, limit, id, now, quarantine=False)


def refused(db: Connection, after: str, limit: int, id: str, now: float) -> Sequence[QueuedEntry]:
    """Entries that a next hop refused for at least one recipient, with all that waits of them."""
    some = "EXISTS (SELECT 1 FROM recipient r WHERE r.entry = e.key AND r.state = 'refused')"
    return _listed(db, some, after, limit, id, now, quarantine=False)


def quarantined(db: Connection, after: str, limit: int, id: str, now: float) -> Sequence[QueuedEntry]:
    """What a rule discarded, and what cannot be returned."""
    some = "EXISTS (SELECT 1 FROM recipient r WHERE r.entry = e.key AND r.state IN ('discarded', 'unreturned'))"
    return _listed(db, some, after, limit, id, now, quarantine=True)


def _listed(
    db: Connection, some: str, after: str, limit: int, id: str, now: float, *, quarantine: bool
) -> Sequence[QueuedEntry]:
    with one_state(db):
        if id:
            rows = db.execute(f"{_ENTRY} WHERE e.id = ? AND {some}", (id,)).fetchall()
        else:
            page = f"{_ENTRY} WHERE e.id > CAST(? AS TEXT) AND {some} ORDER BY e.id LIMIT ?"
            rows = db.execute(page, (behind(after), limit)).fetchall()
        recipients = db.execute(_RECIPIENTS, (json.dumps([row[0] for row in rows]),)).fetchall()
    reasons = {row[0]: row[6] for row in rows}
    marked = {row[0] for row in (*rows, *recipients) if is_marked(row)}
    of_entry: dict[int, list[QueuedRecipient]] = {row[0]: [] for row in rows}
    for entry, address, hop, word, reason, attempts, next_attempt, lease, paused, fixed, many in recipients:
        state = state_of(word)
        if state.in_quarantine == quarantine:
            if entry in marked:
                reason = DAMAGED
            elif not reason and state in (State.HELD, State.DISCARDED):
                reason = reasons[entry]  # the rule's word is written once, with the message
            leased = lease is not None and lease > now
            of_entry[entry].append(
                QueuedRecipient(
                    address, hop, state, reason, attempts, next_attempt, leased, bool(paused), bool(fixed), many
                )
            )
    return [
        QueuedEntry(id, arrived, sender, size, message_id, reason, tuple(of_entry[key]), bool(vouched))
        for key, id, arrived, sender, size, message_id, reason, vouched in rows
    ]


def oldest_quarantined(db: Connection, limit: int) -> Sequence[str]:
    """Ids, in order of arrival, by the index of the quarantine alone."""
    rows = db.execute(
        "SELECT e.id FROM (SELECT DISTINCT entry FROM recipient WHERE state IN ('discarded', 'unreturned')"
        " ORDER BY entry LIMIT ?) q JOIN entry e ON e.key = q.entry ORDER BY q.entry",
        (limit,),
    )
    return [id for (id,) in rows.fetchall()]


def overdue(db: Connection, before: float, max_size: int, limit: int) -> Sequence[tuple[str, float]]:
    """(id, since) of what quarantine keeps no longer, oldest first: there since `before`, or beyond `max_size` when
    the newest are counted first.

    What a rule discarded is there since it arrived; what could not be returned may have waited for weeks before.
    """
    rows = db.execute(
        "SELECT id, since FROM (SELECT e.id, q.since, sum(e.size) OVER (ORDER BY q.since DESC, e.id DESC) AS newer"
        " FROM (SELECT entry, max(next_attempt) AS since FROM recipient"
        "  WHERE state IN ('discarded', 'unreturned') GROUP BY entry) q JOIN entry e ON e.key = q.entry)"
        " WHERE since < ? OR newer > ? ORDER BY since, id LIMIT ?",
        (before, max_size, limit),
    )
    return rows.fetchall()
