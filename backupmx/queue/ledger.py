"""ledger: the account of all mail, written in the transactions that move it.

    put      counts what comes in:    account, by day of arrival, domain, ours or not
    settle   a recipient that ends    goes from `recipient` to a row of `ledger`
    delete, tidy                      likewise
    record   what a rule drops at the door comes in and ends in one step
    prune    rows older than `ledger.keep` become a number

So at each moment each recipient that was ever accepted is either a row of
`recipient` or a row of `ledger`, and for each day and domain

    account.recipients = waiting + ended + account.pruned

audit.py does this sum.  It is true after any crash, since both sides change in one
commit; what it would show is a recipient that went without an end.

A row is written once and never changed.  Rows lie in order of queue id, which is
that of arrival: what is new is written at the end of the table, what is old is
pruned at its beginning, and no index is kept beside it.

A day is 86,400 seconds since the epoch: UTC.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from backupmx.mail.address import domain_of
from backupmx.queue.commit import Work
from backupmx.queue.entry import NewEntry, State
from backupmx.queue.rows import came_of, day_of, insert, text
from backupmx.queue.schema import Connection

FACTS = (
    "e.id, r.n, e.arrived, r.many, e.client IS NULL, r.attempts, e.size, r.address, r.domain, e.sender, e.message_id"
)
"""What the ledger wants to know of a recipient (r) of an entry (e) when it ends."""

_COLUMNS = (
    "id", "n", "arrived", "many", "own", "attempts", "size", "address", "domain", "sender", "message_id",
    "ended", "state", "relay", "reason",
)  # fmt: skip
Row: TypeAlias = tuple[Any, ...]

_LONGEST_REASON = 200
_RULE = re.compile(r"\S+?:\d+(?=[:;]|$)")
_AT_ONCE = 500


class Came(NamedTuple):
    """Recipients that came in."""

    came: int
    """As in the table `recipient`: the day of arrival; of our own notices its complement."""
    domain: str
    many: int


def count(db: Connection, those: Iterable[Came]) -> None:
    """What came in with this transaction."""
    sums: Counter[tuple[int, str]] = Counter()
    for came, domain, many in those:
        sums[came, domain] += many
    db.executemany(
        "INSERT INTO account (day, domain, own, recipients) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET recipients = recipients + excluded.recipients",
        [(max(came, ~came), domain, came < 0, many) for (came, domain), many in sums.items()],
    )


def ended(facts: Sequence[Any], now: float, state: State, relay: str, reason: str, tries: int = 0) -> Row:
    """Pure.  A row for a recipient with these FACTS that ends now; `tries`: those since."""
    id, n, arrived, many, own, attempts, *rest = facts
    return (
        id, n, arrived, many, own, attempts + tries, *rest, now, state, text(relay), text(reason[:_LONGEST_REASON]),
    )  # fmt: skip


def write(db: Connection, rows: Iterable[Row]) -> None:
    insert(db, "ledger", _COLUMNS, rows)


def write_redirected(db: Connection, messages: Iterable[tuple[str, Iterable[str]]]) -> None:
    """(id, whom the client named): somebody will ask for it by their address."""
    db.executemany(
        "INSERT OR IGNORE INTO redirected VALUES (?, ?)", [(id, address) for id, named in messages for address in named]
    )


def forget_redirected(db: Connection, ids: Iterable[str]) -> None:
    db.executemany("DELETE FROM redirected WHERE id = ?", [(id,) for id in ids])


def rule_of(reason: str) -> str:
    """Pure.  "header_checks:2: X-Spam-Flag: YES" -> "header_checks:2"; other words as they are."""
    rule = _RULE.match(reason)
    return rule[0] if rule else reason


def record(db: Connection, dropped: Sequence[NewEntry]) -> Sequence[None]:
    """Accepted and dropped by a rule: in and out."""
    count(
        db,
        (Came(came_of(entry), text(domain_of(r.address)), r.many) for entry in dropped for r in entry.recipients),
    )
    write(db, (row for entry in dropped for row in _dropped(entry)))
    return [None] * len(dropped)


def _dropped(entry: NewEntry) -> Iterable[Row]:
    for n, r in enumerate(entry.recipients):
        address, sender = text(r.address), text(entry.envelope.sender)
        facts = (
            entry.id, n, entry.arrived, r.many, entry.client is None, 0, entry.message.size, address,
            domain_of(address), sender, text(entry.message_id),
        )  # fmt: skip
        yield ended(facts, entry.arrived, State.DISCARDED, "none", rule_of(entry.reason))


@dataclass(frozen=True, slots=True)
class Prune:
    """A step of pruning."""

    before: float
    """What ended before this time, seconds since the epoch."""
    after: str = ""
    """Where the last step was: a queue id."""


def prune(db: Connection, steps: Sequence[Prune]) -> Sequence[str | None]:
    """-> for each where the next step goes on; None: nothing old is left."""
    return [_prune(db, step) for step in steps]


def _prune(db: Connection, step: Prune) -> str | None:
    rows = db.execute(
        "SELECT id, n, ended, arrived, domain, own, many FROM ledger WHERE id > ? ORDER BY id, n, ended LIMIT ?",
        (step.after, _AT_ONCE),
    ).fetchall()
    old = [row for row in rows if row[2] < step.before]
    gone: Counter[tuple[int, str, int]] = Counter()
    for *_, arrived, domain, own, many in old:
        gone[day_of(arrived), domain, own] += many
    db.executemany("DELETE FROM ledger WHERE id = ? AND n = ? AND ended = ?", [row[:3] for row in old])
    forget_redirected(db, {row[0] for row in old})
    db.executemany(
        "UPDATE account SET pruned = pruned + ? WHERE day = ? AND domain = ? AND own = ?",
        [(many, *key) for key, many in gone.items()],
    )
    db.execute("DELETE FROM account WHERE day < ? AND recipients = pruned", (day_of(step.before),))
    if len(rows) < _AT_ONCE or all(arrived >= step.before for _, _, _, arrived, *_ in rows):
        return None
    return str(rows[-1][0])


RECORD = Work(record)
PRUNE = Work(prune, durable=False)
