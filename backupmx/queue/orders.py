"""orders: an operator's words: hold, release, retry, delete, flush.

    change    one recipient or all of a message
    expel     what quarantine keeps no longer: discarded mail ends as discarded, what could not be
              returned as bounced, without a notice
    flush     what waits for these domains is due now, and its next hops may be tried
    progress  of what waited when a flush began: delivered, deferred, refused, still waiting

A flush remembers which recipients it waits for, so that its account is exact
while new mail comes in, other flushes begin, and half of it is in an attempt.
What leaves without a try (deleted, held meanwhile) is `withdrawn`: the five
numbers always add up to the total.  A flush forgets that next hops are down; one
that is found down again defers all that waits for it at once.

A word given during an attempt takes the lease away; mail that the primary took
in that moment is delivered all the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from backupmx.queue import ledger
from backupmx.queue.commit import Work
from backupmx.queue.entry import QUARANTINE, State
from backupmx.queue.entry import FlushProgress as FlushProgress
from backupmx.queue.outcomes import remove
from backupmx.queue.rows import text
from backupmx.queue.schema import Connection

_WAITS = "due IS NOT NULL AND hop > 0 AND (?1 = '[]' OR domain IN (SELECT value FROM json_each(?1)))"
"""Queued or deferred and not paused, for these domains or (none) for all."""

_SLICE = 5000
"""Recipients of a flush that are written in one transaction: some tens of milliseconds."""

_REMEMBERED = 86400.0
"""Seconds until the account of a flush is forgotten; by then nobody watches it."""


@dataclass(frozen=True, slots=True)
class Change:
    id: str
    address: str
    state: State
    now: float
    reason: str
    was: frozenset[State] | None = None
    """Only what is in one of these states."""


@dataclass(frozen=True, slots=True)
class Changed:
    many: int
    gone: bool = False
    """The message is no more."""
    files: Sequence[str] = ()
    """Body files that may go now."""


def change(db: Connection, changes: Sequence[Change]) -> Sequence[Changed]:
    return [_change(db, one) for one in changes]


def _change(db: Connection, one: Change) -> Changed:
    rows = _meant(db, one)
    for entry, n, *_ in rows:
        if one.state is not State.QUEUED:
            db.execute("DELETE FROM flushing WHERE entry = ? AND n = ?", (entry, n))
        if not one.state.ends:
            _set_state(db, entry, n, one)
    if one.state.ends:
        ends = [(entry, n, ledger.ended(facts, one.now, one.state, "none", one.reason)) for entry, n, *facts in rows]
        return _end(db, one.id, ends)
    return Changed(len(rows))


def _meant(db: Connection, one: Change) -> Sequence[Sequence[Any]]:
    """Rows of (entry, n, *ledger.FACTS)"""
    return db.execute(
        f"SELECT r.entry, r.n, {ledger.FACTS} FROM entry e JOIN recipient r ON r.entry = e.key"  # noqa: S608 our own
        " WHERE e.id = ?1 AND (?2 = '' OR r.address = ?2)"
        " AND (?3 IS NULL OR r.state IN (SELECT value FROM json_each(?3)))",
        (one.id, one.address, None if one.was is None else json.dumps(sorted(one.was))),
    ).fetchall()


def _end(db: Connection, id: str, ends: Sequence[tuple[int, int, ledger.Row]]) -> Changed:
    """These recipients (entry, n) of one message go, with a row of the ledger each."""
    ledger.write(db, (row for *_, row in ends))
    db.executemany("DELETE FROM recipient WHERE entry = ? AND n = ?", [(entry, n) for entry, n, _ in ends])
    keys = {entry for entry, *_ in ends}
    whole = {key: id for key in keys if not db.execute("SELECT 1 FROM recipient WHERE entry = ?", (key,)).fetchone()}
    gone = remove(db, whole)
    return Changed(len(ends), id in gone, gone.get(id, ()))


def expel(db: Connection, expelled: Sequence[tuple[str, float]]) -> Sequence[Changed]:
    """(id, now): what of this message is in quarantine has its end."""
    return [_expel(db, id, now) for id, now in expelled]


def _expel(db: Connection, id: str, now: float) -> Changed:
    rows = db.execute(
        f"SELECT r.entry, r.n, r.state, r.reason, e.reason, {ledger.FACTS}"  # noqa: S608 our own names
        " FROM entry e JOIN recipient r ON r.entry = e.key"
        " WHERE e.id = ?1 AND r.state IN (SELECT value FROM json_each(?2))",
        (id, json.dumps(sorted(QUARANTINE))),
    ).fetchall()
    ends = []
    for entry, n, state, last_words, rule, *facts in rows:
        end, why = State.DISCARDED, ledger.rule_of(rule or last_words)
        if state == State.UNRETURNED:
            end, why = State.BOUNCED, last_words
        ends.append((entry, n, ledger.ended(facts, now, end, "none", why)))
    return _end(db, id, ends)


def _set_state(db: Connection, entry: int, n: int, one: Change) -> None:
    """QUEUED is due at once, ahead of what became due by itself; the others wait for a word.

    Why it was held is over with its release; what a primary said stays to be read until it says more.
    """
    due = 0.0 if one.state in (State.QUEUED, State.DEFERRED) else None
    db.execute(
        "UPDATE recipient SET state = ?, due = ?, next_attempt = 0, lease = NULL,"
        " reason = CASE WHEN state = ?6 AND ?1 = ?7 THEN '' WHEN ?3 = '' THEN reason ELSE ?3 END"
        " WHERE entry = ?4 AND n = ?5",
        (one.state, due, text(one.reason), entry, n, State.HELD, State.QUEUED),
    )


@dataclass(frozen=True, slots=True)
class Flush:
    """An order, or what is left of it."""

    domains: Sequence[str]
    now: float
    key: int = 0
    """0: it begins."""
    after: int = 0
    last: int = 0
    """Keys of entries: what is left is between these."""


def flush(db: Connection, flushes: Sequence[Flush]) -> Sequence[tuple[int, Flush | None]]:
    """A slice of each, so that a million recipients do not hold up a put.  -> (its number, what is left)

    No domain: all.  What is in an attempt is having its try.
    """
    return [_flush(db, one if one.key else _begun(db, one)) for one in flushes]


def _begun(db: Connection, one: Flush) -> Flush:
    _forget_old(db, one.now)
    (key,) = db.execute("INSERT INTO flush (began, total) VALUES (?, 0) RETURNING key", (one.now,)).fetchone()
    (last,) = db.execute("SELECT ifnull(max(key), 0) FROM entry").fetchone()
    return replace(one, key=key, last=last)


def _flush(db: Connection, one: Flush) -> tuple[int, Flush | None]:
    names = json.dumps([domain.lower() for domain in one.domains])
    (until,) = db.execute(
        "SELECT ifnull((SELECT entry FROM recipient WHERE entry > ? ORDER BY entry LIMIT 1 OFFSET ?), ?)",
        (one.after, _SLICE, one.last),
    ).fetchone()
    until = min(until, one.last)
    slice_ = f"entry > ?3 AND entry <= ?4 AND {_WAITS}"
    many = db.execute(
        f"INSERT INTO flushing (entry, n, flush) SELECT entry, n, ?2 FROM recipient WHERE {slice_}",  # noqa: S608
        (names, one.key, one.after, until),
    ).rowcount
    db.execute("UPDATE flush SET total = total + ? WHERE key = ?", (many, one.key))
    db.execute(
        "UPDATE hop SET probe_at = 0 WHERE probe_at > 0 AND key IN"  # noqa: S608 our own words
        f" (SELECT DISTINCT hop FROM recipient WHERE ?2 = ?2 AND {slice_})",
        (names, one.now, one.after, until),
    )
    db.execute(
        "UPDATE recipient SET next_attempt = ?2, due = CASE WHEN lease > ?2 THEN due ELSE ?2 END"  # noqa: S608
        f" WHERE next_attempt > ?2 AND {slice_}",
        (names, one.now, one.after, until),
    )
    return one.key, replace(one, after=until) if until < one.last else None


def _forget_old(db: Connection, now: float) -> None:
    old = "DELETE FROM flushing WHERE flush IN (SELECT key FROM flush WHERE began < ?)"
    db.execute(old, (now - _REMEMBERED,))
    db.execute("DELETE FROM flush WHERE began < ?", (now - _REMEMBERED,))


def progress(db: Connection, key: int, now: float) -> FlushProgress | None:
    """None: no such flush, or forgotten."""
    row = db.execute("SELECT total, delivered, deferred, refused FROM flush WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    total, delivered, deferred, refused = row
    (untried,) = db.execute("SELECT count(*) FROM flushing WHERE flush = ?", (key,)).fetchone()
    withdrawn = total - untried - delivered - deferred - refused
    resting = _resting(db, key, now)
    return FlushProgress(key, total, untried - resting, delivered, deferred + resting, refused, withdrawn)


def _resting(db: Connection, key: int, now: float) -> int:
    """Those whose next hop was found down since: that one try was the try of all of them."""
    silent = db.execute("SELECT key FROM hop WHERE up = 0 AND successes = 0 AND probe_at > ?", (now,))
    down = [hop for (hop,) in silent.fetchall()]
    if not down:
        return 0
    (many,) = db.execute(
        "SELECT count(*) FROM flushing f JOIN recipient r ON r.entry = f.entry AND r.n = f.n"
        " WHERE f.flush = ? AND (r.lease IS NULL OR r.lease <= ?) AND r.hop IN (SELECT value FROM json_each(?))",
        (key, now, json.dumps(down)),
    ).fetchone()
    return int(many)


CHANGE = Work(change, rings=True)
EXPEL = Work(expel)
FLUSH = Work(flush, rings=True)
