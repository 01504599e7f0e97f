"""names: what clients are called, asked while they say their first words.

A client's name is asked for when it connects and needed when it gives a
sender; a name that is not there by then is waited for, and after `timeout` it
is "unknown", as it is without a resolver.  Names are remembered for a minute,
so that a client that comes back costs nothing; the resolver keeps the TTLs.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

_REMEMBERED = 60.0
_MOST = 10_000


class Reverse(Protocol):
    """The resolver, as far as the door needs it."""

    def reverse(self, ip: str) -> Awaitable[str]:
        """A name whose forward look-up leads back to `ip`; else "unknown".  Never raises."""
        ...


class Names:
    """One worker's."""

    def __init__(self, resolver: Reverse | None, timeout: float) -> None:
        self._resolver = resolver
        self._timeout = timeout
        self._known: dict[str, tuple[str, float]] = {}

    def known(self, address: str, now: float) -> str | None:
        """The name without asking anybody; None: `find` has to ask."""
        if self._resolver is None:
            return "unknown"
        name, until = self._known.get(address, ("", 0.0))
        return name if until > now else None

    async def find(self, address: str) -> str:
        name = "unknown"
        if self._resolver is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    name = await self._resolver.reverse(address)
            except TimeoutError:
                pass  # a name decides nothing here: "unknown" it is
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[address] = (name, asyncio.get_running_loop().time() + _REMEMBERED)
        return name
