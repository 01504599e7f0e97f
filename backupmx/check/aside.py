"""aside: CPU work on a message, away from the event loop when the message is large.

    verified = await aside(message.size, verify_all, message, ...)

Others wait for the loop: one message must not hold it for more than 20 ms
(`benchmarks/stalls.py` measures).  A thread alone does not do it, because what
it calls may hold Python's lock for as long as it runs: `pieces` is how such
calls are given a little at a time, and `whole` how much is copied without it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from backupmx.mail.message import Buffer

LARGE = 128 << 10
"""Octets from which on a message is worth the tenth of a millisecond that a thread costs."""
PIECE = 256 << 10
"""Octets that the slowest of our calls (a regular expression) is through with in two milliseconds."""

P = ParamSpec("P")
T = TypeVar("T")


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives; in a thread when `size` octets are many."""
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def pieces(body: Iterable[Buffer]) -> Iterator[bytes]:
    """Pure.  The same octets in pieces of at most PIECE."""
    for chunk in body:
        for at in range(0, len(chunk), PIECE):
            yield bytes(chunk[at : at + PIECE])


def whole(body: Iterable[Buffer]) -> bytes:
    """Pure.  All of it as one; `bytes.join` lets go of the lock when all it joins are bytes."""
    return b"".join(list(pieces(body)))
