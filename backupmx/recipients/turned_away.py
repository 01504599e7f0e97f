"""turned_away: clients that were told to use the primary, and came back: those that cannot reach it.

    door ─puts_off(client, sender, recipient)─► TurnedAway ─keep, every few seconds─► store.turned_away

Who reads "450 the primary MX is up, please use it" and can use it, does.  Who comes back with the same
message again and again is a server that retries, as RFC 5321 4.5.4.1 has it, and cannot: the way between it
and the primary is broken, though ours is not.  After TIMES refusals, each at least APART seconds after the last
and at most WITHIN, it is let in, and for a day so is all mail from there of the sender's domain to the
recipient's.  What never retries (a spam tool) is never let in, however much of it comes.

Who a client is: where its name is known (forward and back) the name without its first label, as large senders retry
from many networks; else, or where others register their names beside it (mail.co.jp), its network: /24, /64.

Counts are shared by all workers and kept over restarts, in recipients.db; they are written together, in a
thread.  What a kill -9 takes is one refusal more.  Memory and disk are bounded.

Trouble
    StoreTrouble   told; who cannot be looked up is put off: he comes again.

Why no public suffix list?  What it would tell is whether two letters and a short word (co.jp, com.au) are everybody's;
that can be seen, and where the sight deceives (mx1.hp.fr) the network does.

Why not the client alone, as one that retries proves itself?  One correct server behind an address would open
the door to every tool beside it.

Standards: RFC 5321 4.5.4.1 (retries at least 30 minutes apart, for 4-5 days; Postfix begins with 5 minutes).
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network

from backupmx.mail.address import domain_of
from backupmx.mail.envelope import Client
from backupmx.recipients.store import TURNED_AWAY_KEPT as KEPT
from backupmx.recipients.store import Store, StoreTrouble

TIMES = 3
APART = 60.0
WITHIN = 6 * 3600.0
# The longest wait between two tries of anybody who has a fair chance within five days.
_RENEWED = 3600.0
# A client that is let in stays so while it comes; that is written down once an hour.
_EVERY = 5.0
_MOST = 100_000

_EVERYBODYS = re.compile(r"[a-z]{1,4}\.[a-z]{2}")
"""co.jp, com.au: names are registered below it, by anybody."""

Seen = tuple[int, float]
"""How many times, and when last, seconds since the epoch."""


def once_more(seen: Seen | None, now: float) -> Seen:
    """Pure.  One refusal more; a hurried one does not count."""
    if seen is None or now - seen[1] > WITHIN or now < seen[1]:
        return (1, now)
    times, last = seen
    return seen if now - last < APART else (times + 1, now)


class TurnedAway:
    """One process's part of the counts."""

    def __init__(self, store: Store, troubled: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._troubled = troubled
        self._clock = clock
        self._new: dict[bytes, Seen] = {}

    def puts_off(self, client: Client, sender: str, recipient: str) -> bool:
        """Once more; False: it has come often enough.  It counts."""
        now, place = self._clock(), _place(client)
        same = _key(place, sender, recipient)
        kin = _key(place, "@" + domain_of(sender), "@" + domain_of(recipient))
        try:
            seen = dict(self._store.times((same, kin)))
        except StoreTrouble as trouble:
            self._troubled(str(trouble))
            return True
        seen |= {key: self._new[key] for key in (same, kin) if key in self._new and self._is_newer(key, seen)}
        if kin in seen and 0 <= now - seen[kin][1] < KEPT:
            if now - seen[kin][1] > _RENEWED:
                self._note(kin, (TIMES, now))
            return False
        old = seen.get(same)
        new = once_more(old, now)
        if old is not None and old[0] >= TIMES and new[0] > TIMES:
            self._note(kin, (TIMES, now))
            return False
        if new != old:
            self._note(same, new)
        return True

    def _is_newer(self, key: bytes, seen: Mapping[bytes, Seen]) -> bool:
        """What this process has in hand, than what all have written."""
        return key not in seen or self._new[key][1] >= seen[key][1]

    def _note(self, key: bytes, seen: Seen) -> None:
        if len(self._new) < _MOST:
            self._new[key] = seen

    async def keep(self, store: Store) -> None:
        """Until cancelled.  `store`: for the thread alone."""
        while True:
            await asyncio.sleep(_EVERY)
            new = dict(self._new)
            try:
                await asyncio.to_thread(store.turned_away, new)
            except StoreTrouble as trouble:
                self._troubled(str(trouble))
                continue
            self._new = {key: seen for key, seen in self._new.items() if new.get(key) != seen}

    def end(self) -> None:
        """What is left, at the end of a process."""
        try:
            self._store.turned_away(self._new)
        except StoreTrouble as trouble:
            self._troubled(str(trouble))


def _place(client: Client) -> str:
    """Pure.  Whom a client is one of."""
    _, _, parent = client.name.lower().rstrip(".").partition(".")
    if "." in parent and not _EVERYBODYS.fullmatch(parent):
        return parent
    try:
        address = ip_address(client.address.partition("%")[0])
    except ValueError:
        return client.address  # as XCLIENT may have it: unknown
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))


def _key(*words: str) -> bytes:
    text = "\0".join(word.lower() for word in words)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
