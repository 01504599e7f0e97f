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
"""

import json
from collections.abc import Mapping, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.entry import Paused
from backupmx.queue.facts import PAUSED, facts, paused_of, set_facts
from backupmx.queue.schema import Connection

_WAITING = "SELECT domain, count(*) FROM recipient WHERE hop < 0 AND due IS NOT NULL GROUP BY domain"


def pause(db: Connection, asked: Sequence[tuple[str, float]]) -> Sequence[int]:
    """(domain, now) -> how many recipients of each wait.  Paused already: it stays so since then."""
    domains = paused_of(facts(db))
    for domain, now in asked:
        domains.setdefault(domain, now)
        db.execute("UPDATE recipient SET hop = -hop WHERE domain = ? AND hop > 0", (domain,))
    # A flush that waits for them would never end.
    db.execute(
        "DELETE FROM flushing WHERE EXISTS (SELECT 1 FROM recipient r"
        " WHERE r.entry = flushing.entry AND r.n = flushing.n AND r.hop < 0)"
    )
    _remember(db, domains)
    waiting = dict(db.execute(_WAITING).fetchall())
    return [waiting.get(domain, 0) for domain, _ in asked]


def resume(db: Connection, asked: Sequence[str]) -> Sequence[bool]:
    """-> for each whether it was paused."""
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
RESUME = Work(resume, rings=True)
