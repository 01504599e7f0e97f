"""pregreet: the wait before the greeting.  Who talks meanwhile is no mail server.

    connection ─► 220-mx2.example.net …  ─► seconds ─► 220 mx2.example.net …  ─► the dialogue
                                        └► it talks: greeted at once, and known for it

RFC 5321 3.1 has clients wait for the greeting, and 4.2.1 for its last line.  Bots
that deliver as fast as they can wait for neither; the first line is the bait,
as postscreen(8) has it.

A Watch stands on the connection in the session's place, as the Herald of
proxy.py does; the session's turn is when it steps aside.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Waiting(Protocol):
    """The session, as far as this goes."""

    loop: asyncio.AbstractEventLoop

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool | None: ...

    def connection_lost(self, error: Exception | None) -> None: ...


class Watch(asyncio.Protocol):
    """For one connection.  Begins at once."""

    def __init__(
        self, session: Waiting, transport: asyncio.Transport, greeting: bytes, seconds: float,
        spoke: Callable[[bytes, float], None],
    ) -> None:  # fmt: skip
        """`spoke` hears what was said before the greeting, and after how many seconds."""
        self._session = session
        self._transport = transport
        self._greeting = greeting
        self._spoke = spoke
        self._began = session.loop.time()
        self._timer = session.loop.call_later(seconds, self.end)
        self._over = False
        transport.write(b"220-" + greeting[4:])
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._spoke(data, self._session.loop.time() - self._began)
        self.end()
        self._session.data_received(data)

    def eof_received(self) -> bool | None:
        """Nobody that wants to bring mail has said his last word yet."""
        return self._session.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        self._timer.cancel()
        self._session.connection_lost(error)

    def end(self) -> None:
        """The session's turn: it waited long enough, talked, or something is to be said to it first."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._transport.set_protocol(self._session)  # type: ignore[arg-type]  # it is a protocol, and more
        if not self._transport.is_closing():
            self._transport.write(self._greeting)
