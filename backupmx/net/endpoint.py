"""endpoint: where an engine or a milter listens, and a connection to it.

    Endpoint.parse("unix:/var/run/clamav/clamd")
    Endpoint.parse("tcp:127.0.0.1:783")                 engines
    Endpoint.parse("inet:127.0.0.1:8891", tcp="inet")   milters: Postfix's word in smtpd_milters

    check.wire, net.milter ──connected──► a plain socket

A Unix socket whose backlog is full says EAGAIN, and asyncio would take that
for success: it is busy, not away, so it is asked again until the caller's time
is up.

Trouble
    ValueError   `parse`: no such address; the text says what to write
    OSError      `connected`: nobody listens, no such name
"""

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field

_BUSY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a program listens."""

    path: str = ""
    """Of a Unix socket; "" for TCP."""
    host: str = ""
    port: int = 0
    tcp: str = field(default="tcp", compare=False)
    """How the configuration calls TCP here: tcp or inet."""

    @classmethod
    def parse(cls, text: str, tcp: str = "tcp") -> "Endpoint":
        """ "unix:/PATH" or "TCP:HOST:PORT".  Raises ValueError."""
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest.startswith("/"):
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
        if kind != tcp or not host or not 0 < number < 65536:
            raise ValueError(f"{text}: write unix:/PATH or {tcp}:HOST:PORT")
        return cls(host=host.strip("[]"), port=number, tcp=tcp)

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.tcp}:{self.host}:{self.port}"


async def connected(endpoint: Endpoint) -> socket.socket:
    """A new connection, not blocking.  The caller sets the time.  Raises OSError."""
    if endpoint.path:
        return await _opened(socket.AF_UNIX, endpoint.path)
    family, target = await _resolved(endpoint)
    return await _opened(family, target)


async def _opened(family: int, target: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        while not await _taken(sock, target):  # noqa: ASYNC110  nobody tells when a backlog has room again
            await asyncio.sleep(_BUSY_SECONDS)
    except BaseException:
        sock.close()
        raise
    return sock


async def _taken(sock: socket.socket, target: str | tuple[str, int]) -> bool:
    """False: its backlog is full."""
    if isinstance(target, str):
        try:
            sock.connect(target)
        except BlockingIOError:
            return False
        return True
    await asyncio.get_running_loop().sock_connect(sock, target)
    return True


async def _resolved(endpoint: Endpoint) -> tuple[int, tuple[str, int]]:
    """An address literal needs no thread; a name is asked of the system, as for any local service."""
    try:
        version = ipaddress.ip_address(endpoint.host).version
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        return found[0][0], (str(found[0][4][0]), endpoint.port)
    return (socket.AF_INET if version == 4 else socket.AF_INET6), (endpoint.host, endpoint.port)
