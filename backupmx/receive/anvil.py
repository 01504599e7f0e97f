"""anvil: how many connections a client has, and how much it asks a minute, counted over all workers.

Postfix's anvil(8) without its process.  The supervisor makes one Anvil before
it forks; each worker has one Hand on it and asks it at a connection, MAIL, RCPT
and STARTTLS.  `service` compares with the limits and says no.

    Anvil (shared memory)      worker 1's cells   worker 2's cells   …
    Hand of worker 1           writes and reads   reads

A client is an address, an IPv6 one without what its own network chooses
(`ipv6_prefix`).  A keyed hash of it names one cell in each of two rows (a
count-min sketch).  A cell has one writer, its worker, so nothing is locked and
nobody is asked: a look costs a microsecond.  What all workers know of a client
is the sum of what each knows, and each knows the smaller of its two cells.

What the numbers are worth
    Never too small: a client over its limit is seen.
    Too large only where another client shares both cells.  A worker that serves
    n clients at once errs by n/8192 at most in the mean, usually not at all;
    the key is random, so nobody can look for an address that shares a friend's.

A minute is a fixed one, counted from the birth of the Anvil, as anvil's are
(anvil_rate_time_unit).  A worker empties its cells with the first event of a
new minute; cells of another minute count nothing.  A worker that dies takes its
connections with it: its successor empties those cells (`died`) before it serves
anybody.  What was counted this minute stays.

Why not a dictionary in each worker?  With eight workers a limit would be eight
times what the operator wrote.  Why not exact entries in shared memory?  They
need eviction, and who floods from a million addresses would choose what is
evicted.  Here memory is fixed, 320 KiB a worker, and a flood makes us strict.

Precedent: Postfix anvil(8), smtpd_client_*_limit.
"""

import mmap
import os
import socket
import time
from collections.abc import Callable
from enum import IntEnum
from hashlib import blake2b
from typing import TypeAlias

Cells: TypeAlias = tuple[int, int]
"""A client's place in the two rows; the same in each worker's cells."""

_COLUMNS = 8192
_PLANE = 2 * _COLUMNS  # two rows
_UNIT = 60.0
"""Postfix anvil_rate_time_unit."""


class Rate(IntEnum):
    """What is counted by the minute; the value is its plane, after that of the connections at once."""

    CONNECTIONS = 1
    MESSAGES = 2
    RECIPIENTS = 3
    NEW_TLS = 4
    """Handshakes that no ticket shortened."""


_RATES = _PLANE  # where a worker's counts of this minute begin, and where they end:
_MINUTE = _PLANE * (1 + len(Rate))  # the cell that says which minute they are of
_CELLS = _MINUTE + 16  # one cache line more, so that workers share none
_NOTHING = bytes(4 * (_MINUTE - _RATES))


class Anvil:
    """The memory that all workers share.  Made before the fork."""

    def __init__(
        self, workers: int = 1, *, ipv6_prefix: int = 64, key: bytes = b"", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds, the same in every process of this host."""
        self.memory = memoryview(mmap.mmap(-1, 4 * _CELLS * workers)).cast("I")
        self.starts = tuple(range(0, _CELLS * workers, _CELLS))
        self._key = key or os.urandom(16)
        self._shift = 128 - ipv6_prefix
        self._clock = clock
        self._born = clock()

    def hand(self, worker: int = 0) -> "Hand":
        """For this worker, 0 the first, and nobody else: its cells have one writer."""
        return Hand(self, self.starts[worker])

    def died(self, worker: int) -> None:
        """Its connections are gone.  To be called before its successor serves anybody."""
        start = self.starts[worker]
        self.memory[start : start + _PLANE] = memoryview(bytes(4 * _PLANE)).cast("I")

    def minute(self) -> int:
        """1 and up: fresh cells are of no minute."""
        return 1 + int((self._clock() - self._born) / _UNIT)

    def cells(self, address: str) -> Cells:
        """Where "192.0.2.1" or "2001:db8::1" is counted; what is no address is a client too."""
        digest = blake2b(self._network(address), digest_size=4, key=self._key).digest()
        return int.from_bytes(digest[:2]) % _COLUMNS, _COLUMNS + int.from_bytes(digest[2:]) % _COLUMNS

    def _network(self, address: str) -> bytes:
        try:
            if ":" not in address:
                return socket.inet_pton(socket.AF_INET, address)
            number = int.from_bytes(socket.inet_pton(socket.AF_INET6, address.partition("%")[0]))
        except (OSError, ValueError):
            return address.encode("utf-8", "replace")
        return (number >> self._shift).to_bytes(16)


class Hand:
    """One worker's: it writes to its own cells and reads everybody's."""

    __slots__ = ("_anvil", "_memory", "_start", "_starts", "cells")

    def __init__(self, anvil: Anvil, start: int) -> None:
        self._anvil = anvil
        self._memory = anvil.memory
        self._starts = anvil.starts
        self._start = start
        self.cells = anvil.cells

    def enter(self, cells: Cells) -> int:
        """A client connects.  -> its connections now, this one too"""
        memory, (first, second) = self._memory, cells
        memory[self._start + first] += 1
        memory[self._start + second] += 1
        return sum(min(memory[start + first], memory[start + second]) for start in self._starts)

    def leave(self, cells: Cells) -> None:
        """One that entered is gone."""
        for cell in cells:
            self._memory[self._start + cell] -= 1

    def count(self, rate: Rate, cells: Cells) -> int:
        """It does it once more.  -> how often this minute, this time too"""
        memory, minute, start = self._memory, self._anvil.minute(), self._start
        if memory[start + _MINUTE] != minute:  # emptied before it is dated: nobody reads old counts as new
            memory[start + _RATES : start + _MINUTE] = memoryview(_NOTHING).cast("I")
            memory[start + _MINUTE] = minute
        first, second = (start + rate * _PLANE + cell for cell in cells)
        # The smaller cell is the better one: a larger has other clients in it, and needs no more.
        more = min(memory[first], memory[second]) + 1
        memory[first] = max(memory[first], more)
        memory[second] = max(memory[second], more)
        return self._counted(rate, cells, minute)

    def counted(self, rate: Rate, cells: Cells) -> int:
        """How often it did this minute."""
        return self._counted(rate, cells, self._anvil.minute())

    def _counted(self, rate: Rate, cells: Cells, minute: int) -> int:
        memory, first, second = self._memory, rate * _PLANE + cells[0], rate * _PLANE + cells[1]
        return sum(
            min(memory[start + first], memory[start + second])
            for start in self._starts
            if memory[start + _MINUTE] == minute
        )
