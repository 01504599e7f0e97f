"""reader: one thread that reads, on a connection of its own.

A reader sees the queue as the last commit left it and waits for nobody; a long
listing holds no mail up.  What one bad row made illegible is read again, and
marked (legible.py).  Trouble gives the connection up; the next reading gets a
new one.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from backupmx.queue.entry import QueueTrouble
from backupmx.queue.legible import forgiving, is_illegible
from backupmx.queue.schema import Connection, trouble_of

T = TypeVar("T")


class Reader:
    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._db: Connection | None = None
        self._thread = ThreadPoolExecutor(1, "queue-read")
        self._closed = False

    async def read(self, query: Callable[..., T], *arguments: Any) -> T:
        """`query(connection, *arguments)` in the thread.  Raises QueueTrouble."""
        if self._closed:
            raise QueueTrouble("the queue is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, query, arguments)

    async def close(self) -> None:
        """After what was asked before.  A second time: nothing."""
        if not self._closed:
            self._closed = True
            given_up = self._thread.submit(self._give_up)
            self._thread.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(given_up))  # also when nobody waits for it any more

    def _read(self, query: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        try:
            db = self._db = self._db or self._connect()
            try:
                return query(db, *arguments)
            except sqlite3.OperationalError as error:
                if not is_illegible(error):
                    raise
            with forgiving(db):
                return query(db, *arguments)
        except (sqlite3.Error, OSError) as error:
            self._give_up()
            raise trouble_of(error) from error

    def _give_up(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
