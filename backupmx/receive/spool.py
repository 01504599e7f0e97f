"""spool: one message's content while it comes in, in memory and then in a file.

Up to `above` octets stay in memory; what is larger goes to a file in the
queue's body folder, in blocks, written by a thread so that the loop never
waits for the disk.  A disk that is slower than the client stops the client:
`add` says so, and `relieved` is called when reading may go on.  So a message
costs a worker a few blocks of memory, whatever its size.

All bodies of a worker share one Budget.  While it is spent every body that
grows goes to its file at once, in small blocks, and its client waits for each:
a thousand clients with a megabyte each cost what the budget says, and a piece
for each of them.

    session --add--> Body --finish--> Content --> accept --> the queue adopts the file
                      └─ discard: nobody wanted it, the file goes

The file is not synced here: the queue syncs what it adopts.  What a worker that
was killed leaves in the folder its successor removes; what a crash of the
whole leaves is swept when the appliance starts.

Spooling stops at the same floor as the queue (`min_free`): a hundred clients
with large messages cannot fill the disk before the first of them is queued.

Trouble
    OSError   from `finish`: the disk is full or broken.  The client reads
              452 or 451; the file is gone.
"""

import asyncio
import errno
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from backupmx.mail.message import Content, Spool

_BLOCK = 256 << 10
"""Octets that are worth a thread's while."""

_BEHIND = 1 << 20
"""Octets that wait for a thread before the client has to; for the disk only a block does."""

_SMALL_BLOCK = 16 << 10
"""Instead of a block, and of what may wait, while the budget is spent."""


class Budget:
    """What a worker holds in memory of all its bodies."""

    __slots__ = ("held", "octets")

    def __init__(self, octets: int) -> None:
        self.octets = octets
        self.held = 0

    @property
    def spent(self) -> bool:
        return self.held > self.octets


class Body:
    """Content as it grows.  `path` "": it stays in memory whatever its size."""

    __slots__ = (
        "_above", "_budget", "_file", "_floor", "_on_disk", "_path", "_pieces", "_pool", "_relieved", "_trouble",
        "_unwanted", "_waiting", "_writing", "size",
    )  # fmt: skip

    def __init__(
        self, path: str, above: int, pool: Executor, relieved: Callable[[], None], budget: Budget, *, floor: int = 0
    ) -> None:
        self.size = 0
        self._budget = budget
        self._on_disk = False  # a file is begun, or will be with the next block
        self._path = path
        self._above = above
        self._pool = pool
        self._floor = floor
        self._relieved: Callable[[], None] | None = relieved
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._file = -1
        self._writing: asyncio.Future[int] | None = None
        self._trouble: BaseException | None = None
        self._unwanted = False

    def add(self, piece: bytes) -> bool:
        """-> whether the client may go on; False: not before `relieved` is called."""
        self.size += len(piece)
        if self._unwanted or self._trouble:
            return True
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._budget.held += len(piece)
        if not self._path:
            return True
        if not self._on_disk:
            if self.size <= self._above and not (self._budget.spent and self.size >= _SMALL_BLOCK):
                return True
            self._on_disk = True
        if self._writing is None and self._waiting >= self._block:
            self._write()
        return not self.behind

    @property
    def _block(self) -> int:
        return _SMALL_BLOCK if self._budget.spent else _BLOCK

    @property
    def behind(self) -> bool:
        """The disk is slower than the client."""
        if self._writing is not None:
            return self._waiting >= self._block
        return self._on_disk and self._waiting >= _BEHIND

    async def caught_up(self) -> None:
        """Returns when the client may go on.  Raises OSError when what it sent could not be written."""
        while self._writing is not None and self.behind:
            await asyncio.wait([self._writing])
        if self._trouble is not None:
            raise self._trouble

    async def finish(self) -> Content:
        """All of it.  Raises OSError when it could not be written."""
        if not self._on_disk:
            return Content(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        while self._writing is not None or (self._waiting and self._trouble is None):
            await asyncio.wait([self._writing or self._write()])
        if self._trouble is not None:
            raise self._trouble
        content = memoryview(mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ))
        self._close()
        return Content(content, Spool(self._path), self._keep)

    def discard(self) -> None:
        """Nobody wants it (any more).  Nothing when the queue has adopted the file."""
        self._unwanted = True
        self._relieved = None
        self._drop()
        if self._writing is None:
            self._close()
            self._remove()

    def _keep(self) -> None:
        self._path = ""

    def _write(self) -> "asyncio.Future[int]":
        pieces, octets = self._pieces, self._waiting
        self._pieces, self._waiting = [], 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._pool, _append, self._file, self._path, self._floor, pieces)
        self._writing.add_done_callback(lambda writing: self._written(writing, octets))
        return self._writing

    def _written(self, writing: "asyncio.Future[int]", octets: int) -> None:
        self._writing = None
        self._budget.held -= octets
        if writing.cancelled() or (trouble := writing.exception()):
            self._trouble = asyncio.CancelledError() if writing.cancelled() else trouble
            self._file = -1  # _append closed it
            self._drop()
        else:
            self._file = writing.result()
        if self._unwanted:
            self.discard()
        elif self._waiting >= self._block:
            self._write()
        if self._relieved is not None:
            self._relieved()

    def _drop(self) -> None:
        """What waits.  What a thread is writing is in memory, and in the budget, until that is done."""
        self._budget.held -= self._waiting
        self._pieces, self._waiting = [], 0

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _remove(self) -> None:
        # Not in the thread: a stop must find it done, and the largest message allowed is gone in a millisecond or two.
        if self._path and self._on_disk:
            path, self._path = self._path, ""
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass  # nothing was written yet


def room(folder: str) -> int:
    """Octets that may still be written there."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _append(file: int, path: str, floor: int, pieces: Sequence[bytes]) -> int:
    """In a thread.  -> the open file; on trouble it is closed and the error raised."""
    if file < 0:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if floor and room(os.path.dirname(path)) - sum(len(piece) for piece in pieces) < floor:
            raise OSError(errno.ENOSPC, "less than queue.min_free would be left")
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(file, rest) :]
    except BaseException:
        os.close(file)
        raise
    return file
