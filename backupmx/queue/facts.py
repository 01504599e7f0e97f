"""facts: small facts that every process shares, by name.

    routes     the signature of the routes that next hops are asked of
    rerouting  "yes" until what waits has been asked of them; a crash leaves it
    warned     the id up to which senders were told that their mail is late: delays.py
    digest     when the last one was put, or might have been
    drill      the Message-ID of a rehearsal's probe: drill.py
    paused     domains that are accepted and not relayed, each since when (JSON)

They are read with every transaction that puts mail, so there are only a few.
"""

import json
from collections.abc import Mapping, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.schema import Connection

ROUTES = "routes"
REROUTING = "rerouting"
PAUSED = "paused"
WARNED = "warned"


def facts(db: Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM fact").fetchall())


def set_facts(db: Connection, given: Sequence[tuple[str, str]]) -> Sequence[None]:
    db.executemany("INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", given)
    return [None] * len(given)


def paused_of(known: Mapping[str, str]) -> dict[str, float]:
    """Pure.  Domain -> since when."""
    said = known.get(PAUSED)
    return json.loads(said) if said else {}


SET_FACT = Work(set_facts)
