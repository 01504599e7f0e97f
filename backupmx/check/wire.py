"""wire: one request to an engine on a local socket, one answer.

    async with dialogue(Address.parse("unix:/var/run/clamav/clamd"), timeout, places()) as engine:
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
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.mail.message import Buffer

_CONNECT_SECONDS = 5.0
# An engine on this host or this network that needs longer to say "yes?" is not there.
_LONGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens."""

    path: str = ""
    """Of a Unix socket; "" for TCP."""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Address":
        """ "unix:PATH" or "tcp:HOST:PORT".  Raises ValueError."""
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest.startswith("/"):
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if kind != "tcp" or not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text}: write unix:/PATH or tcp:HOST:PORT")
        return cls(host=host.strip("[]"), port=int(port))

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class Dialogue:
    """A connection to an engine."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()

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

    async def receive(self, until: bytes = b"") -> bytes:
        """Up to and without `until`, or (no `until`) up to its end.  Raises Lost, Unscannable."""
        answer = bytearray()
        while not (until and until in answer):
            if len(answer) > _LONGEST_ANSWER:
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
        return bytes(answer).partition(until)[0] if until else bytes(answer)


def places() -> asyncio.Semaphore:
    """How many messages one process gives an engine at once; the others wait their turn, in their own time.

    clamd scans 10 at once and spamd 5 unless told otherwise: more would only fill their backlog, and a
    flood that fills it must not look like an engine that is away.
    """
    return asyncio.Semaphore(16)


@asynccontextmanager
async def dialogue(address: Address, seconds: float, turn: asyncio.Semaphore) -> AsyncIterator[Dialogue]:
    """A new connection, closed at the end.  Raises EngineAway while connecting, Lost after `seconds`."""
    try:
        async with asyncio.timeout(seconds), turn:
            sock = await _connect(address, min(seconds, _CONNECT_SECONDS))
            try:
                yield Dialogue(sock)
            finally:
                sock.close()
    except TimeoutError:
        raise Lost(f"no answer in {seconds:g} s") from None


async def _connect(address: Address, seconds: float) -> socket.socket:
    try:
        async with asyncio.timeout(seconds):
            if address.path:
                return await _connected(socket.AF_UNIX, address.path)
            family, target = await _resolved(address)
            return await _connected(family, target)
    except TimeoutError:
        raise EngineAway(f"{address}: no connection in {seconds:g} s") from None
    except OSError as error:
        raise EngineAway(f"{address}: {error.strerror or error}") from None


async def _connected(family: int, target: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        while not await _taken(sock, target):  # noqa: ASYNC110  nobody tells when a backlog has room again
            await asyncio.sleep(0.02)
    except BaseException:
        sock.close()
        raise
    return sock


async def _taken(sock: socket.socket, target: str | tuple[str, int]) -> bool:
    """False: its backlog is full.  Only Unix sockets say so (EAGAIN), and asyncio would take it for success."""
    if isinstance(target, str):
        try:
            sock.connect(target)
        except BlockingIOError:
            return False
        return True
    await asyncio.get_running_loop().sock_connect(sock, target)
    return True


async def _resolved(address: Address) -> tuple[int, tuple[str, int]]:
    """An address literal needs no thread; a name is asked of the system, as for any local service."""
    try:
        version = ipaddress.ip_address(address.host).version
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return found[0][0], (str(found[0][4][0]), address.port)
    return (socket.AF_INET if version == 4 else socket.AF_INET6), (address.host, address.port)
