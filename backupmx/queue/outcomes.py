"""outcomes: what became of claimed recipients, many attempts in one transaction.

    ends (delivered, bounced, expired)   the recipient goes, whoever holds it:
            the mail is out, no state of ours can call it back
    deferred, refused, held              the recipient stays with its reason

An operator's word given during the attempt (hold, release) took the lease away;
then an outcome that does not end the recipient only counts the try.  When the
last recipient goes the message goes with it, and a notice comes in its place, all
in one commit.  The names of body files that may go after it are returned.

Most mail ends whole at its first try, so that way is the short one: three
statements for all attempts that gathered.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    notice: Packed | None = None


@dataclass(slots=True)
class _Waiting:
    """A recipient before its outcome."""

    entry: int
    n: int
    state: str
    leased: bool
    outcome: Outcome | None = None


def settle(db: Connection, settlings: Sequence[Settling]) -> Sequence[list[str]]:
    """-> for each the body files that nobody needs any more."""
    waiting = _waiting(db, settlings)
    told = [w for those in waiting.values() for w in those if w.outcome is not None]
    _count_flushed(db, told)
    _leave(db, waiting)
    for one in told:
        if one.outcome and not one.outcome.state.ends:
            _keep(db, one, one.outcome)
    put(db, [s.notice for s in settlings if s.notice is not None])
    gone = remove_ended(db, {those[0].entry: id for id, those in waiting.items() if _any_ends(those)})
    return [gone.get(s.settlement.id, []) for s in settlings]


def _waiting(db: Connection, settlings: Sequence[Settling]) -> dict[str, list[_Waiting]]:
    """Every recipient of the entries, in one statement, each with its outcome."""
    outcomes = {(s.settlement.id, o.address): o for s in settlings for o in s.settlement.outcomes}
    waiting: dict[str, list[_Waiting]] = {}
    for id, entry, n, address, state, lease in db.execute(
        "SELECT e.id, r.entry, r.n, r.address, r.state, r.lease FROM entry e JOIN recipient r ON r.entry = e.key"
        " WHERE e.id IN (SELECT value FROM json_each(?))",
        (json.dumps([s.settlement.id for s in settlings]),),
    ).fetchall():
        outcome = outcomes.get((id, address))
        waiting.setdefault(id, []).append(_Waiting(entry, n, state, lease is not None, outcome))
    return waiting


def _any_ends(those: Iterable[_Waiting]) -> bool:
    return any(one.outcome is not None and one.outcome.state.ends for one in those)


def _leave(db: Connection, waiting: dict[str, list[_Waiting]]) -> None:
    """Ended recipients go: those of whole messages together, others one by one."""
    whole = []
    for those in waiting.values():
        if all(one.outcome is not None and one.outcome.state.ends for one in those):
            whole.append(those[0].entry)
            continue
        for one in those:
            if one.outcome is not None and one.outcome.state.ends:
                db.execute("DELETE FROM recipient WHERE entry = ? AND n = ?", (one.entry, one.n))
    if whole:
        db.execute("DELETE FROM recipient WHERE entry IN (SELECT value FROM json_each(?))", (json.dumps(whole),))


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


def remove_ended(db: Connection, entries: dict[int, str]) -> dict[str, list[str]]:
    """Of these (key -> id) the messages without a recipient go.  -> their body files by id"""
    if not entries:
        return {}
    ended = (
        " FROM entry WHERE key IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM recipient WHERE recipient.entry = entry.key)"
    )
    keys = json.dumps(list(entries))
    files: dict[str, list[str]] = {}
    for key, path in db.execute(f"SELECT key, path{ended} AND path IS NOT NULL", (keys,)).fetchall():
        files.setdefault(entries[key], []).append(path)
    db.execute(f"DELETE{ended}", (keys,))
    return files


def _count_flushed(db: Connection, told: Sequence[_Waiting]) -> None:
    """What a flush waited for has had its try.  One glance when there was no flush."""
    if db.execute("SELECT 1 FROM flushing LIMIT 1").fetchone() is None:
        return
    counts: Counter[tuple[int, str]] = Counter()
    for one in told:
        word = _COUNTED.get(one.outcome.state, "refused") if one.outcome else ""
        for (flush,) in db.execute(
            "DELETE FROM flushing WHERE entry = ? AND n = ? RETURNING flush", (one.entry, one.n)
        ).fetchall():
            counts[flush, word] += 1
    for (flush, word), many in counts.items():
        db.execute(f"UPDATE flush SET {word} = {word} + ? WHERE key = ?", (many, flush))  # noqa: S608 one of three


SETTLE = Work(settle, rings=False)
SETTLE_WITH_NOTICE = Work(settle, rings=True)
