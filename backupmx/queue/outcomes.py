"""outcomes: what became of claimed recipients, many attempts in one transaction.

    ends (delivered, bounced, expired)   the recipient goes, whoever holds it:
            the mail is out, no state of ours can call it back
    deferred, refused, held              the recipient stays with its reason

An operator's word given during the attempt (hold, release) took the lease away;
then an outcome that does not end the recipient only counts the try.  When the
last recipient goes the message goes with it, a row of the ledger stays, and a
notice comes in its place, all in one commit.  Whether the message is gone is
returned, and the names of body files that may go after it.

Most mail ends whole at its first try, so that way is the short one: four
statements for all attempts that gathered.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backupmx.queue import ledger
from backupmx.queue.commit import Work
from backupmx.queue.entry import Outcome, Settlement, State
from backupmx.queue.incoming import put
from backupmx.queue.rows import Packed, text
from backupmx.queue.schema import Connection

_COUNTED = {State.DELIVERED: "delivered", State.DEFERRED: "deferred"}
"""How a flush counts an outcome; what is neither is refused."""


@dataclass(frozen=True, slots=True)
class Settling:
    settlement: Settlement
    now: float
    notice: Packed | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    gone: bool
    """All recipients have their end: the message is no more."""
    files: Sequence[str]
    """Body files that nobody needs any more."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A recipient before its outcome."""

    entry: int
    n: int
    state: str
    leased: bool
    facts: Sequence[Any]
    """ledger.FACTS"""
    outcome: Outcome | None
    ends: bool


_NOT_GONE = Settled(False, ())


def settle(db: Connection, settlings: Sequence[Settling]) -> Sequence[Settled]:
    waiting = _waiting(db, settlings)
    told = [(w, w.outcome) for those in waiting.values() for w in those if w.outcome is not None]
    _count_flushed(db, told)
    when = {s.settlement.id: s.now for s in settlings}
    ledger.write(
        db, (ledger.ended(w.facts, when[w.facts[0]], o.state, o.relay, o.reason, 1) for w, o in told if w.ends)
    )
    whole = _leave(db, waiting)
    for one, outcome in told:
        if not one.ends:
            _keep(db, one, outcome)
    # Of a message that is no more (an operator was faster, or this is told a second time) nothing needs to be said.
    waits = {id for id, those in waiting.items() if any(w.outcome is not None for w in those)}
    put(db, [s.notice for s in settlings if s.notice is not None and s.settlement.id in waits])
    gone = {id: Settled(True, files) for id, files in remove(db, whole).items()}
    # Of several attempts on one message the last is told that it is gone: what the others did comes first.
    return [gone.pop(s.settlement.id, _NOT_GONE) for s in reversed(settlings)][::-1]


def _waiting(db: Connection, settlings: Sequence[Settling]) -> dict[str, list[_Waiting]]:
    """Every recipient of the entries, in one statement, each with its outcome."""
    outcomes = {(s.settlement.id, o.address): o for s in settlings for o in s.settlement.outcomes}
    waiting: dict[str, list[_Waiting]] = {}
    for entry, address, state, lease, *facts in db.execute(
        f"SELECT r.entry, r.address, r.state, r.lease, {ledger.FACTS}"  # noqa: S608 our own names
        " FROM entry e JOIN recipient r ON r.entry = e.key WHERE e.id IN (SELECT value FROM json_each(?))",
        (json.dumps([s.settlement.id for s in settlings]),),
    ).fetchall():
        id, n = facts[:2]
        outcome = outcomes.get((id, address))
        ends = outcome is not None and outcome.state.ends
        waiting.setdefault(id, []).append(_Waiting(entry, n, state, lease is not None, facts, outcome, ends))
    return waiting


def _leave(db: Connection, waiting: dict[str, list[_Waiting]]) -> dict[int, str]:
    """Ended recipients go: those of whole messages together, others one by one.  -> whole ones, key -> id"""
    whole: dict[int, str] = {}
    for id, those in waiting.items():
        if all(one.ends for one in those):
            whole[those[0].entry] = id
        else:
            ended = [(one.entry, one.n) for one in those if one.ends]
            db.executemany("DELETE FROM recipient WHERE entry = ? AND n = ?", ended)
    if whole:
        db.execute("DELETE FROM recipient WHERE entry IN (SELECT value FROM json_each(?))", (json.dumps([*whole]),))
    return whole


def _keep(db: Connection, one: _Waiting, outcome: Outcome) -> None:
    """Not the end: the reason, the state and when it is due again."""
    if not one.leased and one.state not in (State.QUEUED, State.DEFERRED):
        db.execute("UPDATE recipient SET attempts = attempts + 1 WHERE entry = ? AND n = ?", (one.entry, one.n))
        return
    due = outcome.next_attempt if outcome.state in (State.DEFERRED, State.QUEUED) else None
    db.execute(
        "UPDATE recipient SET state = ?, reason = ?, attempts = attempts + 1, next_attempt = ?, due = ?, lease = NULL"
        " WHERE entry = ? AND n = ?",
        (outcome.state, text(outcome.reason), outcome.next_attempt, due, one.entry, one.n),
    )


def remove(db: Connection, entries: dict[int, str]) -> dict[str, Sequence[str]]:
    """These messages (key -> id), which have no recipient any more, go.  -> their body files by id"""
    files: dict[str, Sequence[str]] = dict.fromkeys(entries.values(), ())
    if not entries:
        return files
    some, keys = "WHERE key IN (SELECT value FROM json_each(?))", json.dumps([*entries])
    paths = f"SELECT key, path FROM entry {some} AND path IS NOT NULL"  # noqa: S608 our own words
    for key, path in db.execute(paths, (keys,)).fetchall():
        files[entries[key]] = [path]
    db.execute(f"DELETE FROM entry {some}", (keys,))  # noqa: S608 our own words
    return files


def _count_flushed(db: Connection, told: Sequence[tuple[_Waiting, Outcome]]) -> None:
    """What a flush waited for has had its try.  One glance when there was no flush."""
    if db.execute("SELECT 1 FROM flushing LIMIT 1").fetchone() is None:
        return
    words = {(one.entry, one.n): _COUNTED.get(outcome.state, "refused") for one, outcome in told}
    tried = "(entry, n) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
    rows = db.execute(f"DELETE FROM flushing WHERE {tried} RETURNING entry, n, flush", (json.dumps([*words]),))  # noqa: S608
    counts = Counter((flush, words[entry, n]) for entry, n, flush in rows.fetchall())
    for (flush, word), many in counts.items():
        db.execute(f"UPDATE flush SET {word} = {word} + ? WHERE key = ?", (many, flush))  # noqa: S608 one of three


SETTLE = Work(settle, rings=False)
SETTLE_WITH_NOTICE = Work(settle, rings=True)
