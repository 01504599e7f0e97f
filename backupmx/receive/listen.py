"""listen: the sockets, and one worker process's door.

    open_sockets   as root, in the supervisor, for each worker its own sockets
                   on the same addresses (SO_REUSEPORT): the kernel deals the
                   clients out, and what waits for a worker that died waits
                   for its successor, because the supervisor keeps the sockets
    Door           start, run, stop: the event loop's side of a worker

Stopping, in this order: no new connections; each session ends at a command
border with 421 4.3.2; a message that is coming in or being committed has
`timeout` seconds to get its reply; then what is left is dropped.  What was
dropped had no 250, so its sender has it still.

Why does the door look for silent clients, and not a timer for each?  A timer
is set and cancelled with every command; looking through a thousand sessions
a second costs less than serving one.
"""

import asyncio
import errno
import os
import re
import socket
import sys
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import ExitStack

from backupmx.receive.proxy import Herald
from backupmx.receive.service import Service
from backupmx.receive.session import Session

BACKLOG = 1024

_LAST_WORDS = 1.0
"""Seconds for clients to read that we stop: the end of the time for stopping."""

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)

# FreeBSD shares connections out only among sockets with SO_REUSEPORT_LB (sys/socket.h), which Python has no name for.
_REUSE_PORT = 0x00010000 if sys.platform.startswith("freebsd") else socket.SO_REUSEPORT


def open_sockets(listen: Iterable[str]) -> list[socket.socket]:
    """One worker's listening sockets on "0.0.0.0:25", "[::]:25".  Raises OSError, with the address in it."""
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(address)) for address in listen]
        stack.pop_all()
    return opened


def open_all(listen: Sequence[str], workers: int) -> list[list[socket.socket]]:
    """Every worker's sockets.  Port 0 becomes the same free port for all of them."""
    first = open_sockets(listen)
    same = [address_of(each) for each in first]
    return [first, *(open_sockets(same) for _ in range(workers - 1))]


def address_of(listening: socket.socket) -> str:
    """ "127.0.0.1:2525", "[::1]:2525"."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open(address: str) -> socket.socket:
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise OSError(errno.EINVAL, 'write "0.0.0.0:25" or "[::]:25"', address)
    host, port = match[1] or match[2], match[3]
    family = socket.AF_INET6 if match[1] else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, _REUSE_PORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host, int(port)))
        opened.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        opened.close()
        number = getattr(error, "errno", None) or errno.EINVAL
        raise OSError(number, os.strerror(number), address) from None
    return opened


class Door:
    """One worker's loop: sessions on given sockets.  `service.admission` and `service.tls` may be replaced."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._sockets: Sequence[socket.socket] = ()
        self._servers: list[asyncio.Server] = []
        self._stopped = asyncio.Event()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Clients are served from now on."""
        self._sockets = sockets
        self.service.full = self._pause
        await self._accept()

    async def _accept(self) -> None:
        """On duplicates: to pause is to close these, and the kernel lets clients wait on the sockets themselves."""
        loop = asyncio.get_running_loop()
        service, pattern = self.service, Session.pattern(self.service, loop)

        def session() -> Session:
            return Session(service, pattern)

        def first() -> Herald | Session:
            return Herald(service, session) if service.proxies else session()

        for each in self._sockets:
            server = await loop.create_server(first, sock=each.dup(), backlog=BACKLOG)
            self._servers.append(server)
        if self.service.stopping:  # meanwhile
            self._close()

    def _pause(self) -> None:
        """There is no descriptor for another client: better it waits than that it is cut off."""
        if self._servers:
            self.service.journal.out_of_files(
                f"{len(self.service.sessions)} are here, more would exhaust RLIMIT_NOFILE"
            )
        self._close()

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []

    async def run(self) -> None:
        """Until `stop`: end what is silent, take clients again after a pause."""
        pause = min(1.0, max(0.05, self.service.settings.timeout / 4))
        while not self._stopped.is_set():
            try:
                async with asyncio.timeout(pause):
                    await self._stopped.wait()
            except TimeoutError:
                self._end_the_silent()
                await self._mind_the_room()

    async def stop(self, timeout: float) -> None:
        """Take no more clients, let the others end within `timeout` seconds, drop the rest."""
        service = self.service
        service.stopping = True
        self._close()
        for each in self._sockets:
            each.close()
        for session in list(service.sessions):
            session.stop()
        last_words = min(timeout / 2, _LAST_WORDS)
        await _within(timeout - last_words, service.quiet())
        await _within(last_words, service.empty())
        for session in list(service.sessions):
            session.abort()
        for task in list(service.tasks):
            task.cancel()
        await asyncio.gather(*service.tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, service.pool.shutdown)
        self._stopped.set()

    def _end_the_silent(self) -> None:
        now = asyncio.get_running_loop().time()
        for session in [s for s in self.service.sessions if s.deadline < now]:
            session.timed_out()

    async def _mind_the_room(self) -> None:
        """Others may have taken the last descriptors, and libuv then cuts clients off without a word."""
        service = self.service
        if service.stopping:
            return
        try:
            os.close(os.dup(2))
        except OSError as error:
            service.journal.out_of_files(error.strerror or str(error))
            return
        if not self._servers and len(service.sessions) < max(1, service.settings.most_connections * 7 // 8):
            await self._accept()


async def _within(seconds: float, work: Awaitable[None]) -> None:
    """What is not done then is not waited for."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        pass
