"""hops: next hops: what is due for each, what is known of each, and where mail goes now.

due, next_due       the relay's two questions, answered from one index
hasten              what a next hop's failure put off is due now
bring_forward       so is what a clock that was set back put off, a slice at a time
look_again          those that are down may be tried now
states, set_states  up, down, since when: shared by all processes
outages             when they were down
page, move          every waiting recipient's next hop anew, a page at a time; not where a rule chose it
unrouted            the same for those that were put by other routes
"""

import json
from collections.abc import Mapping, Sequence

from backupmx.queue.commit import Work
from backupmx.queue.entry import UNROUTED, Due, HopState, Outage
from backupmx.queue.incoming import hop_keys
from backupmx.queue.rows import text
from backupmx.queue.schema import Connection
from backupmx.queue.turns import FAR
from backupmx.route.primaries import Offer

_AT_ONCE = 5000
"""Recipients that are brought forward in one transaction."""

_REMEMBERED = 7 * 86400.0
"""Seconds until an outage is forgotten; the digest asks for those of a day."""


def due(db: Connection, now: float) -> Sequence[Due]:
    """The heads of each next hop's two rows: what has been due longest there."""
    head = (
        "(SELECT e.arrived FROM recipient r JOIN entry e ON e.key = r.entry"
        " WHERE r.hop = h.key AND r.due BETWEEN {} ORDER BY r.due, r.entry LIMIT 1)"
    )
    first, second = head.format("0 AND ?"), head.format(f"{-FAR} AND -1")
    rows = db.execute(f"SELECT h.name, {first}, {second} FROM hop h", (now,))  # noqa: S608  our own words
    heads = [(name, [head for head in both if head is not None]) for name, *both in rows.fetchall()]
    return sorted((Due(name, min(both)) for name, both in heads if both), key=lambda due: due.oldest)


def next_due(db: Connection, now: float) -> float | None:
    (soonest,) = db.execute(
        "SELECT min((SELECT min(r.due) FROM recipient r WHERE r.hop = h.key AND r.due > ?)) FROM hop h", (now,)
    ).fetchone()
    return None if soonest is None else float(soonest)


def states(db: Connection) -> Mapping[str, HopState]:
    rows = db.execute(
        "SELECT name, up, since, error, probe_at, failures, successes, addresses FROM hop WHERE since IS NOT NULL"
    ).fetchall()
    return {
        name: HopState(
            name, None if up is None else bool(up), since, error, probe_at, failures, successes,
            *_hosts(addresses),
        )
        for name, up, since, error, probe_at, failures, successes, addresses in rows
    }  # fmt: skip


def set_states(db: Connection, changed: Sequence[HopState]) -> Sequence[None]:
    for state in changed:
        key = hop_keys(db, [state.next_hop])[state.next_hop]
        if state.up is not False:
            _end_outage(db, key, state.since)
        db.execute(
            "UPDATE hop SET up = ?, since = ?, error = ?, probe_at = ?, failures = ?, successes = ?, addresses = ?"
            " WHERE key = ?",
            (
                state.up, state.since, text(state.error), state.probe_at, state.failures, state.successes,
                _hosts_text(state), key,
            ),
        )  # fmt: skip
    return [None] * len(changed)


def _hosts(stored: str) -> tuple[tuple[str, ...], tuple[Offer, ...]]:
    """'{"192.0.2.1": [10240000, true], "192.0.2.2": null}' -> its addresses, and what they offer."""
    told = json.loads(stored) if stored else {}
    if isinstance(told, list):  # as written before hosts had offers
        return tuple(told), ()
    return tuple(told), tuple(Offer(address, *offer) for address, offer in told.items() if offer)


def _hosts_text(state: HopState) -> str:
    offers = {offer.address: (offer.size, offer.smtputf8) for offer in state.offers}
    told = {address: offers.get(address) for address in state.addresses}
    return json.dumps(told) if told else ""


def _end_outage(db: Connection, key: int, now: float) -> None:
    """It was down, and is so no longer."""
    (since,) = db.execute("SELECT CASE up WHEN 0 THEN since END FROM hop WHERE key = ?", (key,)).fetchone()
    if since is not None:
        db.execute("DELETE FROM outage WHERE ended < ?", (now - _REMEMBERED,))
        db.execute("INSERT OR REPLACE INTO outage VALUES (?, ?, ?)", (key, since, now))


def outages(db: Connection, since: float) -> Sequence[Outage]:
    """Those that ended since or last, by next hop and time."""
    rows = db.execute(
        "SELECT h.name, o.began, o.ended, '' FROM outage o JOIN hop h ON h.key = o.hop WHERE o.ended >= ?"
        " UNION ALL SELECT name, since, NULL, error FROM hop WHERE up = 0 ORDER BY 1, 2",
        (since,),
    )
    return [Outage(*row) for row in rows.fetchall()]


def hasten(db: Connection, asked: Sequence[tuple[str, float, int]]) -> Sequence[int]:
    """(next hop, now, limit) -> how many of its deferred recipients are due earlier now, the soonest first."""
    return [
        db.execute(
            "UPDATE recipient SET next_attempt = ?2, due = ?2 WHERE (entry, n) IN (SELECT r.entry, r.n FROM hop h"
            " JOIN recipient r ON r.hop = h.key WHERE h.name = ?1 AND r.due > ?2 AND r.lease IS NULL"
            " ORDER BY r.due LIMIT ?3)",
            (name, now, limit),
        ).rowcount
        for name, now, limit in asked
    ]


def bring_forward(db: Connection, asked: Sequence[tuple[float, float]]) -> Sequence[int]:
    """(beyond, now) -> how many recipients of a slice were due after `beyond`; also those of paused domains."""
    return [_bring_forward(db, beyond, now) for beyond, now in asked]


def _bring_forward(db: Connection, beyond: float, now: float) -> int:
    db.execute("UPDATE hop SET probe_at = 0 WHERE up = 0 AND probe_at > ?", (beyond,))
    return db.execute(
        "UPDATE recipient SET next_attempt = ?2, due = ?2 WHERE (entry, n) IN (SELECT r.entry, r.n FROM hop h"
        " JOIN recipient r ON r.hop IN (h.key, -h.key) WHERE r.due > ?1 AND r.lease IS NULL LIMIT ?3)",
        (beyond, now, _AT_ONCE),
    ).rowcount


def look_again(db: Connection, asked: Sequence[Sequence[str]]) -> Sequence[None]:
    """The relay reads a probe_at of 0 as such a word."""
    for names in asked:
        db.execute(
            "UPDATE hop SET probe_at = 0 WHERE up = 0 AND name IN (SELECT value FROM json_each(?))",
            (json.dumps(names),),
        )
    return [None] * len(asked)


Page = Sequence[tuple[int, int, str, str]]
"""Recipients as (entry, n, address, next hop), in order."""


def page(db: Connection, after: tuple[int, int], limit: int) -> Page:
    return db.execute(
        "SELECT r.entry, r.n, r.address, h.name FROM recipient r JOIN hop h ON h.key = abs(r.hop)"
        " WHERE (r.entry, r.n) > (?, ?) AND NOT r.fixed ORDER BY r.entry, r.n LIMIT ?",
        (*after, limit),
    ).fetchall()


def unrouted(db: Connection, limit: int) -> Page:
    """Some of those that wait to be routed."""
    return db.execute(
        "SELECT r.entry, r.n, r.address, h.name FROM hop h JOIN recipient r ON r.hop = h.key"
        " WHERE h.name = ? AND r.due IS NOT NULL LIMIT ?",
        (UNROUTED, limit),
    ).fetchall()


def move(db: Connection, moves: Sequence[Page]) -> Sequence[int]:
    """Recipients whose route differs now.  One that left meanwhile is no longer there to move."""
    return [_move(db, those) for those in moves]


def _move(db: Connection, those: Page) -> int:
    hops = hop_keys(db, (hop for *_, hop in those))
    moved = 0
    for entry, n, address, hop in those:
        # The address, too: a key may have been used anew since the page was read.
        moved += db.execute(
            "UPDATE recipient SET hop = CASE WHEN hop < 0 THEN -?1 ELSE ?1 END"
            " WHERE entry = ?2 AND n = ?3 AND address = ?4",
            (hops[hop], entry, n, address),
        ).rowcount
    return moved


HASTEN = Work(hasten, durable=False, rings=True)
BRING_FORWARD = Work(bring_forward, durable=False, rings=True)
LOOK_AGAIN = Work(look_again, durable=False, rings=True)
SET_HOP = Work(set_states, durable=False)
MOVE = Work(move, rings=True)
