"""claims: leases on recipients, and the entries that go with them.

    lease      the longest due entries of a next hop, until a time; costs no fsync
    take       named recipients, whatever their state: an operator's bounce
    give_back  leases without a try
    end_leases what a relay that died left behind
    set_aside  entries whose body is not what was written: held, with the reason

`due` orders the work of a next hop: the time of arrival for new mail, the time of
the next try for deferred mail, the end of the lease for what is claimed.  So a
lease that runs out is due again without anybody doing anything, and what was
due longest goes first; what became due together goes by arrival.  What is below
zero is the second row: turns.py.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from backupmx.queue.commit import Work
from backupmx.queue.entry import ClaimedRecipient, State
from backupmx.queue.schema import Connection
from backupmx.queue.turns import FAR


@dataclass(frozen=True, slots=True)
class Want:
    """A relay's wish."""

    next_hop: str
    limit: int
    now: float
    until: float


@dataclass(frozen=True, slots=True)
class Take:
    """An operator's wish."""

    id: str
    address: str
    now: float
    until: float
    was: frozenset[State] | None = None
    """Only what is in one of these states."""


@dataclass(frozen=True, slots=True)
class Leased:
    """An entry's recipients that are leased now."""

    entry: int
    next_hop: str
    recipients: tuple[ClaimedRecipient, ...]


def lease(db: Connection, wants: Sequence[Want]) -> Sequence[Sequence[Leased]]:
    return [_lease(db, want) for want in wants]


def _lease(db: Connection, want: Want) -> Sequence[Leased]:
    row = db.execute("SELECT key FROM hop WHERE name = ?", (want.next_hop,)).fetchone()
    if row is None or want.limit < 1:
        return []
    (hop,) = row
    entries = _longest_due(db, hop, want)
    if not entries:
        return []
    leased = db.execute(
        # +: by entry, not by the index of all that is due.
        "UPDATE recipient SET due = ?1, lease = ?1"
        " WHERE entry IN (SELECT value FROM json_each(?2)) AND +hop = ?3 AND +due <= ?4"
        " RETURNING entry, n, address, notify, orcpt, attempts",
        (want.until, json.dumps(entries), hop, want.now),
    ).fetchall()
    recipients: dict[int, list[ClaimedRecipient]] = {entry: [] for entry in entries}
    for entry, _, address, notify, orcpt, attempts in sorted(leased):
        recipients[entry].append(ClaimedRecipient(address, notify, orcpt, attempts))
    return [Leased(entry, want.next_hop, tuple(those)) for entry, those in recipients.items()]


def _longest_due(db: Connection, hop: int, want: Want) -> list[int]:
    """Keys of at most `limit` entries, from the index alone: of both rows (turns.py), half and half."""
    first = _some(db, hop, 0.0, want.now, want.limit)
    second = _some(db, hop, -FAR, -1.0, want.limit)
    behind = min(len(second), max(want.limit // 2, want.limit - len(first)))
    return list(dict.fromkeys(first[: want.limit - behind] + second[:behind]))


def _some(db: Connection, hop: int, since: float, until: float, limit: int) -> list[int]:
    entries: dict[int, None] = {}
    rows = db.execute(
        "SELECT entry FROM recipient WHERE hop = ? AND due BETWEEN ? AND ? ORDER BY due, entry", (hop, since, until)
    )  # an open end: one message to a thousand people is one entry
    for (entry,) in rows:
        if entry not in entries:
            if len(entries) == limit:
                break
            entries[entry] = None
    rows.close()
    return list(entries)


def take(db: Connection, takes: Sequence[Take]) -> Sequence[Sequence[Leased]]:
    return [_take(db, wish) for wish in takes]


def _take(db: Connection, wish: Take) -> Sequence[Leased]:
    """What another attempt has right now stays with it."""
    rows = db.execute(
        "SELECT r.entry, r.n, h.name, r.address, r.notify, r.orcpt, r.attempts FROM entry e"
        " JOIN recipient r ON r.entry = e.key JOIN hop h ON h.key = abs(r.hop)"
        " WHERE e.id = ?1 AND (?2 = '' OR r.address = ?2) AND (r.lease IS NULL OR r.lease <= ?3)"
        " AND (?4 IS NULL OR r.state IN (SELECT value FROM json_each(?4))) ORDER BY r.n",
        (wish.id, wish.address, wish.now, None if wish.was is None else json.dumps(sorted(wish.was))),
    ).fetchall()
    by_hop: dict[str, list[ClaimedRecipient]] = {}
    for entry, n, hop, address, notify, orcpt, attempts in rows:
        db.execute(
            "UPDATE recipient SET lease = ?1, due = CASE WHEN due IS NULL THEN NULL ELSE ?1 END"
            " WHERE entry = ?2 AND n = ?3",
            (wish.until, entry, n),
        )
        by_hop.setdefault(hop, []).append(ClaimedRecipient(address, notify, orcpt, attempts))
    return [Leased(rows[0][0], hop, tuple(those)) for hop, those in by_hop.items()]


def give_back(db: Connection, claims: Sequence[tuple[str, Sequence[str]]]) -> Sequence[None]:
    """(id, addresses): their lease ends, they are due as before, no try is counted."""
    for id, addresses in claims:
        db.execute(
            "UPDATE recipient SET lease = NULL, due = CASE WHEN due IS NULL THEN NULL ELSE next_attempt END"
            " WHERE entry = (SELECT key FROM entry WHERE id = ?) AND lease IS NOT NULL"
            " AND address IN (SELECT value FROM json_each(?))",
            (id, json.dumps(addresses)),
        )
    return [None] * len(claims)


def set_aside(db: Connection, damaged: Sequence[tuple[str, str]]) -> Sequence[None]:
    """(id, reason): all its recipients are held.  What is in quarantine stays there, with the reason."""
    for id, reason in damaged:
        db.execute(
            "UPDATE recipient SET due = NULL, lease = NULL, reason = ?1,"
            " state = CASE WHEN state IN ('discarded', 'unreturned') THEN state ELSE ?2 END"
            " WHERE entry = (SELECT key FROM entry WHERE id = ?3)",
            (reason, State.HELD, id),
        )
    return [None] * len(damaged)


def end_leases(db: Connection, asked: Sequence[None]) -> Sequence[None]:
    """All of them: whoever held them is gone.  Found by their index: a start must not read a million others."""
    db.execute(
        "UPDATE recipient SET lease = NULL, due = CASE WHEN due IS NULL THEN NULL ELSE next_attempt END"
        " WHERE lease IS NOT NULL"
    )
    return [None] * len(asked)


LEASE = Work(lease, durable=False)
TAKE = Work(take, durable=False)
GIVE_BACK = Work(give_back, durable=False)
SET_ASIDE = Work(set_aside)
END_LEASES = Work(end_leases, rings=True)
