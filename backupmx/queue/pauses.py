"""pauses: domains whose mail is accepted and not relayed: the primary's maintenance.

    pause    what waits for the domain, and what comes, is not claimed any more
    resume   all of it is due as it was before
    paused   which domains, since when, and how many recipients wait for that reason

A recipient whose domain is paused has the number of its next hop negated.  No
claim asks for a number below zero, so a pause costs those that relay nothing:
no index has another column, no claim reads past mail it may not have.  All else
stays with the recipient as it was: state, tries, the time it is due.

What an attempt has in this moment ends as it ends.  Held and refused mail of the
domain stays paused when it is released.  Mail that waits for a pause to end is not
given up: it gets a try after `resume`, however old it is.

A pause is remembered first, and forgotten last, so that whoever dies in the middle
leaves nothing waiting that nobody would call: what was not reached yet still goes,
and the same command again ends the work.  Portions, as all of a million in one
transaction keeps everybody else from the queue for half a minute.
"""

import json
from collections.abc import Mapping, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.entry import Paused
from backupmx.queue.facts import PAUSED, facts, paused_of, set_facts
from backupmx.queue.schema import Connection

Key = tuple[int, int]
"""A recipient: its entry, and n."""

FIRST: Key = (0, -1)
PORTION = 2000
"""Recipients looked at in one transaction: some milliseconds."""
_EVER: Key = (1 << 62, 0)
_WAITING = "SELECT domain, count(*) FROM recipient WHERE hop < 0 AND due IS NOT NULL GROUP BY domain"


def pause(db: Connection, asked: Sequence[tuple[str, float]]) -> Sequence[None]:
    """(domain, now): what comes for it from here on waits.  Paused already: it stays so since then."""
    domains = paused_of(facts(db))
    for domain, now in asked:
        domains.setdefault(domain, now)
    _remember(db, domains)
    return [None] * len(asked)


def hold_back(db: Connection, asked: Sequence[tuple[str, Key]]) -> Sequence[Key | None]:
    """(domain, after) -> the last recipient looked at; None: there are no more, or the pause is over already."""
    domains = paused_of(facts(db))
    return [_portion(db, domain, after, "hop > 0") if domain in domains else None for domain, after in asked]


def let_go(db: Connection, asked: Sequence[tuple[str, Key]]) -> Sequence[Key | None]:
    """As `hold_back`, and the other way round."""
    return [_portion(db, domain, after, "hop < 0") for domain, after in asked]


def _portion(db: Connection, domain: str, after: Key, those: str) -> Key | None:
    last: Key | None = db.execute(
        "SELECT entry, n FROM recipient WHERE (entry, n) > (?, ?) ORDER BY entry, n LIMIT 1 OFFSET ?",
        (*after, PORTION - 1),
    ).fetchone()
    within = (*after, *(last or _EVER))
    db.execute(
        "UPDATE recipient SET hop = -hop"  # noqa: S608  (those: ours)
        f" WHERE (entry, n) > (?, ?) AND (entry, n) <= (?, ?) AND domain = ? AND {those}",
        (*within, domain),
    )
    # A flush that waits for them would never end.
    db.execute(
        "DELETE FROM flushing WHERE (entry, n) > (?, ?) AND (entry, n) <= (?, ?) AND EXISTS (SELECT 1 FROM recipient r"
        " WHERE r.entry = flushing.entry AND r.n = flushing.n AND r.hop < 0)",
        within,
    )
    return last


def resume(db: Connection, asked: Sequence[str]) -> Sequence[bool]:
    """-> for each whether it was paused.  What `let_go` left goes too: mail that came while it was at work."""
    domains = paused_of(facts(db))
    ended = [domains.pop(domain, None) is not None for domain in asked]
    for domain in asked:
        db.execute("UPDATE recipient SET hop = -hop WHERE domain = ? AND hop < 0", (domain,))
    _remember(db, domains)
    return ended


def _remember(db: Connection, domains: Mapping[str, float]) -> None:
    set_facts(db, [(PAUSED, json.dumps(domains))])


def paused(db: Connection) -> Sequence[Paused]:
    """In order of their names."""
    waiting = dict(db.execute(_WAITING).fetchall())
    return [Paused(domain, since, waiting.get(domain, 0)) for domain, since in sorted(paused_of(facts(db)).items())]


PAUSE = Work(pause)
HOLD_BACK = Work(hold_back)
LET_GO = Work(let_go)
RESUME = Work(resume, rings=True)
