"""audit: the account of all mail read back: does it balance, and where is this message?

    account   for each day and domain what came in, beside all that waits and all that ended
    trace     messages by queue id, Message-ID, sender or recipient

Each reads one state of the queue (a transaction), so mail that moves meanwhile is
neither missed nor counted twice.  By id both tables have a key; all else is a scan of
the ledger, which is short lines in order: a million take about a second.
"""

import json
from collections.abc import Iterator, Sequence

from backupmx.queue.account import PRUNED, Fate, Life, Sheet
from backupmx.queue.rows import DAY, state_of
from backupmx.queue.schema import Connection, one_state

Key = tuple[int, str, int]
Split = dict[Key, dict[str, int]]

_WAITING = "SELECT max(came, ~came) AS day, domain, came < 0 AS own, state, sum(many) FROM recipient"
_ENDED = f"SELECT CAST(arrived / {DAY} AS INTEGER) AS day, domain, own, state, sum(many) FROM ledger"  # noqa: S608
_CHOSEN = "WHERE (?1 = '' OR domain = ?1) AND (?2 IS NULL OR day = ?2) GROUP BY 1, 2, 3, 4"


def account(db: Connection, domain: str, day: int | None) -> Sequence[Sheet]:
    """Sheets by day and domain.  domain "": all, day None: all."""
    chosen = (domain.lower(), day)
    with one_state(db):
        came = db.execute(
            "SELECT day, domain, own, recipients, pruned FROM account"
            " WHERE (?1 = '' OR domain = ?1) AND (?2 IS NULL OR day = ?2)",
            chosen,
        ).fetchall()
        waiting, ended = _split(db, _WAITING, chosen), _split(db, _ENDED, chosen)
    counts = {(day, domain, own): many for day, domain, own, many, _ in came}
    for day_, domain_, own, _, pruned in came:
        if pruned:
            ended.setdefault((day_, domain_, own), {})[PRUNED] = pruned
    keys = sorted({*counts, *waiting, *ended})
    return [Sheet(k[0], k[1], bool(k[2]), counts.get(k, 0), waiting.get(k, {}), ended.get(k, {})) for k in keys]


def _split(db: Connection, question: str, chosen: tuple[str, int | None]) -> Split:
    """How many in which state."""
    split: Split = {}
    for day, domain, own, state, many in db.execute(f"{question} {_CHOSEN}", chosen).fetchall():
        split.setdefault((day, domain, own), {})[state] = many
    return split


def trace(db: Connection, word: str, limit: int) -> Sequence[Life]:
    """At most `limit` messages, oldest first.  Of a message found by one recipient all are told."""
    if not word:
        return []
    with one_state(db):
        ids = _by_id(db, word) or _by_words(db, word, limit)
        return sorted(_lives(db, ids), key=lambda life: (life.arrived, life.id))[:limit]


def life(db: Connection, id: str) -> Life | None:
    """The message of this id, by the keys alone."""
    with one_state(db):
        return next(_lives(db, [id]), None)


def _by_id(db: Connection, word: str) -> list[str]:
    rows = db.execute(
        "SELECT id FROM entry WHERE id = ?1 UNION SELECT id FROM ledger WHERE id = ?1", (word,)
    ).fetchall()
    return [id for (id,) in rows]


def _by_words(db: Connection, word: str, limit: int) -> list[str]:
    """A Message-ID with or without its brackets; an address in any case."""
    ended = (
        "SELECT DISTINCT id FROM ledger WHERE message_id IN (?1, '<' || ?1 || '>') OR sender = ?1 COLLATE NOCASE"
        " OR address = ?1 COLLATE NOCASE ORDER BY id LIMIT ?2"
    )
    waits = (
        "SELECT id FROM entry WHERE message_id IN (?1, '<' || ?1 || '>') OR sender = ?1 COLLATE NOCASE"
        " OR key IN (SELECT entry FROM recipient WHERE address = ?1 COLLATE NOCASE) ORDER BY id LIMIT ?2"
    )
    named = "SELECT DISTINCT id FROM redirected WHERE address = ?1 COLLATE NOCASE ORDER BY id LIMIT ?2"
    return [id for question in (ended, waits, named) for (id,) in db.execute(question, (word, limit)).fetchall()]


def _lives(db: Connection, ids: Sequence[str]) -> Iterator[Life]:
    heads: dict[str, tuple[float, str, int, str, bool]] = {}
    fates: dict[str, list[tuple[int, float, Fate]]] = {}
    named = (json.dumps(ids),)
    for row in db.execute(
        "SELECT id, arrived, sender, size, message_id, own, n, address, state, ended, attempts, relay, reason, many"
        " FROM ledger WHERE id IN (SELECT value FROM json_each(?))",
        named,
    ).fetchall():
        id, arrived, sender, size, message_id, own, n, address, state, ended, attempts, relay, reason, many = row
        heads[id] = (arrived, sender, size, message_id, bool(own))
        fate = Fate(address, state, ended, attempts, 0.0, relay, reason, many)
        fates.setdefault(id, []).append((n, ended, fate))
    for row in db.execute(
        "SELECT e.id, e.arrived, e.sender, e.size, e.message_id, e.client IS NULL, r.n, r.address, r.state,"
        " r.attempts, CASE WHEN r.due IS NULL THEN 0 ELSE r.next_attempt END, h.name, r.many,"
        " CASE WHEN r.reason = '' AND r.state IN ('held', 'discarded') THEN e.reason ELSE r.reason END"
        " FROM entry e JOIN recipient r ON r.entry = e.key JOIN hop h ON h.key = abs(r.hop)"
        " WHERE e.id IN (SELECT value FROM json_each(?))",
        named,
    ).fetchall():
        id, arrived, sender, size, message_id, own, n, address, state, attempts, next_attempt, hop, many, reason = row
        heads[id] = (arrived, sender, size, message_id, bool(own))
        fate = Fate(address, state_of(state), None, attempts, next_attempt, hop, reason, many)
        fates.setdefault(id, []).append((n, float("inf"), fate))
    redirected: dict[str, list[str]] = {}
    for id, address in db.execute(
        "SELECT id, address FROM redirected WHERE id IN (SELECT value FROM json_each(?)) ORDER BY 1, 2", named
    ).fetchall():
        redirected.setdefault(id, []).append(address)
    for id, head in heads.items():
        in_order = sorted(fates[id], key=lambda one: one[:2])
        yield Life(id, *head, tuple(fate for *_, fate in in_order), tuple(redirected.get(id, ())))
