"""What clients are called."""

import asyncio

from backupmx.receive.names import Names


class Resolver:
    def __init__(self, name: str = "mail.b.example", hangs: bool = False) -> None:
        self.name, self.hangs, self.asked = name, hangs, 0

    async def reverse(self, ip: str) -> str:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.name


async def test_asked_once() -> None:
    """A client that comes back within a minute is known by name at once."""
    names = Names(resolver := Resolver(), 5)
    now = asyncio.get_running_loop().time()
    assert None is names.known("192.0.2.1", now)
    assert await names.find("192.0.2.1") == "mail.b.example"
    assert names.known("192.0.2.1", now + 59) == "mail.b.example"
    assert None is names.known("192.0.2.1", now + 61)
    assert resolver.asked == 1


async def test_a_resolver_that_hangs() -> None:
    """A name that does not come in time is unknown."""
    assert await Names(Resolver(hangs=True), 0.01).find("192.0.2.1") == "unknown"


async def test_without_a_resolver() -> None:
    """Nobody is asked."""
    names = Names(None, 5)
    assert names.known("192.0.2.1", 0) == "unknown"
    assert await names.find("192.0.2.1") == "unknown"


async def test_memory_is_bounded() -> None:
    """A flood of clients does not make it grow."""
    names = Names(Resolver(), 5)
    for n in range(10_001):
        await names.find(str(n))
    assert len(names._known) == 1
