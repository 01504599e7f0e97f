"""virus_sessions: connections to clamd that are kept, so that a message costs none of its own (IDSESSION).

    zIDSESSION  zINSTREAM message ──► "1: stream: OK"
                zINSTREAM message ──► "2: stream: OK"

One message at a time on each: clamd may answer several in any order, and one
that is lost would take the others along.  A session is kept after OK and FOUND
and after nothing else: behind "size limit exceeded" the rest of the message
would be read as commands.

What can go wrong with one that was kept says nothing about the message: clamd
closes those that are idle (IdleTimeout), it was started anew, an answer has
another number or something behind it.  That one is closed and the message asked
about once more, on a new one, within the same time.  What goes wrong with a new
one is the engine's or the message's trouble (trouble.py).  No new one to be had
means that clamd went with this message in its hands: a mail that brings it down
is unscannable, and must not find the door open because nobody scans any more.

Measured (real clamd, rounds in turn, 4 KB): of our CPU 100 us a message for 170
by a Unix socket, 95 for 255 by TCP; of time 1.1 ms for 1.35, and 0.74 for 1.05.
clamd's own CPU is the same.  With 100 KB no difference of time can be seen.

Standards: clamd(8).
"""

import asyncio
import socket
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.wire import Dialogue, connect, limited
from backupmx.mail.message import Buffer
from backupmx.net.endpoint import Endpoint

_IDLE_SECONDS = 10.0
"""clamd's IdleTimeout is 30 by default."""
_MOST_IDLE = 4
"""A flood opens more, and they are closed behind it."""
_WHOLE = (b"OK", b"FOUND")


@dataclass(slots=True)
class _Session:
    sock: socket.socket
    asked: int = 0
    idle_since: float = 0.0

    def is_quiet(self) -> bool:
        """Open, and nothing came that nobody asked for."""
        try:
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


class Sessions:
    """Those of one process with one clamd."""

    def __init__(
        self,
        address: Endpoint,
        seconds: float,
        turn: asyncio.Semaphore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._seconds, self._turn, self._clock = address, seconds, turn, clock
        self._idle: list[_Session] = []
        self._timer: asyncio.TimerHandle | None = None
        weakref.finalize(self, _close, self._idle)  # with the policy that it belongs to

    async def ask(self, request: Callable[[], Iterable[Buffer]]) -> bytes:
        """The answer to one command, without its number.  Raises EngineAway, Lost, Unscannable."""
        async with limited(self._seconds, self._turn):
            if (kept := self._taken()) is None:
                return await self._asked(await self._new(), request())
            try:
                return await self._asked(kept, request())
            except Unscannable as trouble:
                self.close()  # the others are as old: one is enough to find out
                return await self._asked(await self._new(trouble), request())

    async def _new(self, first: Unscannable | None = None) -> _Session:
        """`first`: what became of the message on a kept one.  An engine that is gone behind it had it in its hands."""
        try:
            return _Session(await connect(self._address, self._seconds))
        except EngineAway:
            if first is not None:
                raise first from None
            raise
        finally:
            del first  # once raised it knows this frame

    def close(self) -> None:
        """Those that nobody uses just now."""
        _close(self._idle)

    def _taken(self) -> _Session | None:
        """The one that was used last; those that are closed by now are forgotten."""
        while self._idle:
            session = self._idle.pop()
            if self._clock() - session.idle_since < _IDLE_SECONDS and session.is_quiet():
                return session
            session.sock.close()
        return None

    async def _asked(self, session: _Session, request: Iterable[Buffer]) -> bytes:
        """Its answer; the session is kept, or closed whatever happens."""
        keep = False
        try:
            wire, new = Dialogue(session.sock), not session.asked
            session.asked += 1
            await wire.send(*((b"zIDSESSION\0",) if new else ()), *request)
            answer = await wire.receive(until=b"\0")
            number, _, said = answer.partition(b": ")
            if number != b"%d" % session.asked:
                if not new:
                    raise Unscannable("an answer to another question")
                return answer  # of something that may be no clamd
            keep = said.endswith(_WHOLE) and not wire.rest
            return said
        finally:
            if keep:
                self._keep(session)
            else:
                session.sock.close()

    def _keep(self, session: _Session) -> None:
        session.idle_since = self._clock()
        self._idle.append(session)
        if len(self._idle) > _MOST_IDLE:
            self._idle.pop(0).sock.close()
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self.close)


def _close(sessions: list[_Session]) -> None:
    while sessions:
        sessions.pop().sock.close()
