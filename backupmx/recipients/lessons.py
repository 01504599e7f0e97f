"""lessons: what deliveries teach about who exists.

    relay.attempt ─hear(address, reply)─► Lessons ─keep, every few seconds─► store.teach

A primary's 250 says that an address exists, its 5.1.1 that it does not (refusal.py);
every other word says nothing about that.  Hearing costs a flush next to nothing: the
same yes is written once a day, and what was heard is written together, in a
thread.  What a kill -9 takes is taught again by the next delivery.

Trouble
    StoreTrouble   told; what was heard stays to be written, up to MOST
                   addresses.
"""

import asyncio
import time
from collections.abc import Callable

from backupmx.mail.address import folded
from backupmx.mail.reply import Reply
from backupmx.recipients.refusal import unknown_user
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import Store, StoreTrouble

EVERY = 5.0
"""Seconds between two writings."""
MOST = 100_000
_YES_HOLDS = 86400.0


class Lessons:
    """One relay's."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._heard: dict[str, Taught] = {}
        self._known: dict[str, float] = {}

    def hear(self, address: str, reply: Reply) -> None:
        """What a primary said to RCPT or to the message for this address of ours."""
        exists, now = reply.code < 300, self._clock()
        if not exists and not unknown_user(reply):
            return
        key = folded(address)
        if exists and now - self._known.get(key, -_YES_HOLDS) < _YES_HOLDS:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        if exists:
            self._known[key] = now
        else:
            self._known.pop(key, None)
        if len(self._heard) < MOST:
            self._heard[key] = Taught(exists, now, "" if exists else str(reply))

    def write(self, store: Store) -> None:
        """What was heard since the last time.  Raises StoreTrouble."""
        heard, self._heard = self._heard, {}
        try:
            if heard:
                store.teach(heard)
        except StoreTrouble:
            self._heard = {**heard, **self._heard}
            raise

    async def keep(self, store: Store, troubled: Callable[[str], None]) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await asyncio.to_thread(self.write, store)
            except StoreTrouble as trouble:
                troubled(str(trouble))
