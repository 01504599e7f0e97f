"""wire: one request to an engine on a local socket, one answer.

    async with dialogue(Endpoint.parse("unix:/var/run/clamav/clamd"), timeout, places()) as engine:
        await engine.send(b"zINSTREAM\\0", ...)
        answer = await engine.receive(until=b"\\0")

Trouble
    EngineAway    nobody listens, or what answers is no such engine.
    Lost          it took the connection, and then hung or went away: this
                  message may be the reason.
    Unscannable   its answer has no end.

A send that the engine ends (it has seen enough and closes) is no trouble: the
answer it gave before is still read.  That is why these are plain sockets and
not asyncio streams, which forget what is unread when a write fails.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.mail.message import Buffer
from backupmx.net.endpoint import Endpoint, connected

_CONNECT_SECONDS = 5.0
# An engine on this host or this network that needs longer to say "yes?" is not there.
_LONGEST_ANSWER = 1 << 20
"""Octets, where an engine's protocol does not want more."""


class Dialogue:
    """A connection to an engine."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self.rest = b""
        """What came behind the last answer."""

    async def send(self, *pieces: Buffer) -> bool:
        """False when the engine takes no more; its answer may still be there."""
        try:
            for piece in pieces:
                await self._loop.sock_sendall(self._socket, piece)
        except OSError:
            return False
        return True

    def end_sending(self) -> None:
        """Half-close: nothing more comes from us."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has closed already; what it said is read next

    async def receive(self, until: bytes = b"", longest: int = _LONGEST_ANSWER) -> bytes:
        """Up to and without `until`, or (no `until`) up to its end.  Raises Lost, Unscannable."""
        answer = bytearray()
        while not (until and until in answer):
            if len(answer) > longest:
                raise Unscannable("its answer has no end")
            try:
                piece = await self._loop.sock_recv(self._socket, 65536)
            except OSError as error:
                raise Lost(f"connection lost while scanning: {error.strerror}") from None
            if not piece:
                if until:
                    raise Lost("it closed the connection while scanning")
                break
            answer += piece
        if not until:
            return bytes(answer)
        whole, _, self.rest = bytes(answer).partition(until)
        return whole


def places() -> asyncio.Semaphore:
    """How many messages one process gives an engine at once; the others wait their turn, in their own time.

    clamd scans 10 at once and spamd 5 unless told otherwise: more would only fill their backlog, and a
    flood that fills it must not look like an engine that is away.
    """
    return asyncio.Semaphore(16)


@asynccontextmanager
async def dialogue(endpoint: Endpoint, seconds: float, turn: asyncio.Semaphore) -> AsyncIterator[Dialogue]:
    """A new connection, closed at the end.  Raises EngineAway while connecting, Lost after `seconds`."""
    async with limited(seconds, turn):
        sock = await connect(endpoint, seconds)
        try:
            yield Dialogue(sock)
        finally:
            sock.close()


@asynccontextmanager
async def limited(seconds: float, turn: asyncio.Semaphore) -> AsyncIterator[None]:
    """For one message: a place among those that the engine has at once, and so long for all.  Raises Lost."""
    try:
        async with asyncio.timeout(seconds), turn:
            yield
    except TimeoutError:
        raise Lost(f"no answer in {seconds:g} s") from None


async def connect(endpoint: Endpoint, seconds: float) -> socket.socket:
    """A new connection, in five of the `seconds` at most.  Raises EngineAway."""
    seconds = min(seconds, _CONNECT_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            return await connected(endpoint)
    except TimeoutError:
        raise EngineAway(f"{endpoint}: no connection in {seconds:g} s") from None
    except OSError as error:
        raise EngineAway(f"{endpoint}: {error.strerror or error}") from None
