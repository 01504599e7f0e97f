"""connections: the open conversations with one next hop.

`take` gives a line: a connection with room for one more message.  Idle ones
first, then a new one while the window has room, then one that is busy: up to
three messages share a connection, so that the second one's commands ride
behind the first one's dot (net/smtp).  A kept connection costs a message no
handshake; it is closed after some idle seconds, and after five minutes of life.

Opening goes through the hosts of the next hop in order; those that failed in
the last minute come last.  At level `may` a host whose STARTTLS failed is
connected to again in clear at once, and for ten minutes to come; at a level
that wants TLS it counts as a host that takes no connection.

Of each place that a next hop names two hosts are asked about a message, as
Postfix does (smtp_mx_session_limit), then it is the next place's turn.

Trouble
    HopDown   no host took a connection and none is open: the hop is down.
              While others are open a failure only makes the window smaller:
              the primary has a limit on connections, and we have met it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from backupmx.journal import Journal, silent
from backupmx.mail.envelope import Client
from backupmx.net import smtp
from backupmx.net.tls_client import Level, TlsPolicy
from backupmx.relay.settings import RelaySettings
from backupmx.relay.window import Window
from backupmx.route.hosts import Host, NoHosts

LANES = 3
"""Messages a connection: one that is sent, one whose commands went along, one that waits for its turn."""
_MOST_SESSIONS = 2
# For one message and place (Postfix: smtp_mx_session_limit).
_SHUN_SECONDS = 60.0
_CLEAR_SECONDS = 600.0
_DATA_SECONDS = 3600.0
_NO_CONNECTION = "4.4.1"


_Why: TypeAlias = tuple[str, str]
"""A host's trouble: words and enhanced status."""


class HopDown(Exception):
    """No host of the next hop takes a connection."""

    def __init__(self, why: str, status: str = "4.4.1", *, loops: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.loops = loops


@dataclass(slots=True, eq=False)
class Line:
    """One connection and the messages on it."""

    host: Host
    connection: smtp.Connection
    opened: float
    load: int = 0
    idle_since: float = 0.0
    relay: str = field(init=False)
    """Its host as it stands in the log and the ledger."""

    def __post_init__(self) -> None:
        self.relay = str(self.host)


@dataclass(slots=True)
class Budget:
    """Connections to all next hops together."""

    most: int
    open: int = 0


@dataclass(slots=True)
class Connections:
    """To one next hop."""

    hosts: Callable[[], Awaitable[list[Host]]]
    """Asked for each new connection.  May raise NoHosts."""
    lmtp: bool
    settings: RelaySettings
    budget: Budget
    journal: Journal = field(default_factory=silent)
    heard: Callable[[str, Mapping[str, str]], Awaitable[None]] | None = None
    """Told of each host's address and what it offers."""
    window: Window = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _lines: list[Line] = field(default_factory=list)
    _opening: int = 0
    _lines_from: float = 0.0
    """Lines opened before are old."""
    _stale: bool = False
    """An old line is idle and only in the way."""
    _strange: Line | None = None
    """An idle line of another client (XCLIENT): in the way when no more may be opened."""
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _shunned: dict[Host, float] = field(default_factory=dict)
    _in_clear: dict[Host, float] = field(default_factory=dict)
    _without_chunking: dict[Host, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.window = Window(self.settings.first_connections, self.settings.most_connections)

    @property
    def many(self) -> int:
        return len(self._lines) + self._opening

    async def take(self, avoid: Collection[Host] = (), client: Client | None = None) -> Line | None:
        """A line; give it back with `release`.  None: no host but those to avoid.  Raises HopDown, NoHosts."""
        while True:
            line = self._free_line(avoid, client)
            if line is None and self._strange and not self._may_open():
                await self._quit([self._strange])
            if line is None and self._stale:
                await self.tidy()
                continue
            if line is None and (avoid or self._may_open()):
                line = await self._open(avoid)
                if line is None and avoid:
                    return None
            elif line is None:
                await self._wait()
            if line is not None:
                line.load += 1
                return line

    async def knock(self) -> bool:
        """A new connection, kept for the next message: does a host take one?  False: nobody can tell now, those
        that are open are all we may have.  Raises HopDown, NoHosts.
        """
        return self._may_open() and await self._open(()) is not None

    def release(self, line: Line) -> None:
        line.load -= 1
        line.idle_since = self._now()
        if not line.connection.usable and line in self._lines:
            self._drop(line)
        self._wake()

    async def tidy(self) -> None:
        """Close what nobody uses."""
        idle_since = self._now() - self.settings.keep_idle
        self._stale = False
        idle = [line for line in self._lines if line.load == 0]
        unused = [line for line in idle if self._is_old(line) or line.idle_since <= idle_since]
        await self._quit(unused)

    def reload(self, settings: RelaySettings) -> None:
        """New connections go by these; open ones of another TLS policy end when their messages have."""
        if settings.tls is not self.settings.tls:
            self._lines_from = self._now()
        self.settings = settings

    async def close(self) -> None:
        await self._quit(list(self._lines))

    async def _quit(self, lines: list[Line]) -> None:
        for line in lines:
            self._drop(line)
        await asyncio.gather(*(line.connection.quit() for line in lines))

    def without_chunking(self, host: Host) -> None:
        """It broke off at BDAT: DATA for an hour."""
        self._without_chunking[host] = self._now() + _DATA_SECONDS
        for line in self._lines:
            if line.host == host:
                line.connection.chunking = False

    def broke(self) -> bool:
        """A connection went in the middle of a message.  True: they all do."""
        return self.window.failed()

    def _free_line(self, avoid: Collection[Host], client: Client | None) -> Line | None:
        """The least busy; a busy one only where no new one may be opened."""
        best: Line | None = None
        self._strange = None
        for line in self._lines:
            if (
                line.load >= LANES
                or (avoid and _spent(line.host, avoid))
                or (best is not None and line.load >= best.load)
            ):
                continue
            if self._is_old(line):
                self._stale = self._stale or line.load == 0
            elif not line.connection.admits(client):
                self._strange = line if line.load == 0 else self._strange
            else:
                best = line
                if line.load == 0:
                    break
        return best if best is not None and (best.load == 0 or not self._may_open()) else None

    def _is_old(self, line: Line) -> bool:
        return (
            not line.connection.usable
            or line.opened < self._lines_from
            or self._now() - line.opened >= self.settings.keep_for
        )

    def _may_open(self) -> bool:
        return self.many == 0 or (self.many < self.window.size and self.budget.open < self.budget.most)

    async def _open(self, avoid: Collection[Host]) -> Line | None:
        """A new connection to the first host that takes one.  None: wait for one of those that are open."""
        self._opening += 1
        self.budget.open += 1
        opened = False
        try:
            line = await self._first_host(avoid)
            if line is not None:
                self._lines.append(line)
                opened = True
            return line
        except HopDown as down:
            if avoid:
                return None
            if self._lines:
                self.window.failed()
                self.window.size = min(self.window.size, len(self._lines))
                return None
            self._wake_all(down)
            raise
        finally:
            self._opening -= 1
            self.budget.open -= 0 if opened else 1
            self._wake_all(None)

    async def _first_host(self, avoid: Collection[Host]) -> Line | None:
        try:
            found = await self.hosts()
        except NoHosts as none:
            if none.permanent:
                raise
            raise HopDown(none.reply.text, none.reply.status, loops=none.loops) from None
        why: _Why | None = None  # words: trouble itself would know this frame, and this frame it
        for host in self._in_order([host for host in found if not _spent(host, avoid)]):
            try:
                return Line(host, await self._connect(host), self._now(), idle_since=self._now())
            except smtp.Unreachable as error:
                why = _telling(why, (str(error), error.status))
                self._shunned[host] = self._now() + _SHUN_SECONDS
        if why is None:
            return None
        raise HopDown(*why)

    async def _connect(self, host: Host) -> smtp.Connection:
        """At level `may` in clear where STARTTLS is broken, within this same try.  Nobody listens in a socket file."""
        if not host.address:
            return await self._dial(host, None)
        policy = self.settings.tls.lookup(host.destination.text if host.destination else host.name)
        in_clear = policy.level is Level.NONE or self._in_clear.get(host, 0.0) > self._now()
        try:
            return await self._dial(host, None if in_clear and not policy.level.mandatory else policy)
        except smtp.TlsTrouble as trouble:
            self.journal.tls_broken(str(host), str(trouble))
            self._in_clear[host] = self._now() + _CLEAR_SECONDS
        return await self._dial(host, None)

    async def _dial(self, host: Host, tls: TlsPolicy | None) -> smtp.Connection:
        settings = self.settings
        connection = await smtp.connect(
            host.name, host.address, host.port, helo=settings.helo, lmtp=self.lmtp, tls=tls,
            nexthop=host.destination.host if host.destination else "",
            bind=settings.bind(host.address), forward=settings.forward_client, timeouts=settings.timeouts,
        )  # fmt: skip
        connection.chunking = self._without_chunking.get(host, 0.0) <= self._now()
        if connection.tls is not None:
            self.journal.secured_to(str(host), connection.trust, connection.tls)
        if host.port == 25 and connection.name.lower() == settings.hostname.lower():
            await connection.quit()
            raise smtp.Unreachable(f"host {connection.peer} has my own name: mail loops back to myself", "4.4.6")
        if self.heard is not None and host.address:
            await self.heard(host.address, connection.extensions)
        return connection

    def _in_order(self, hosts: list[Host]) -> list[Host]:
        now = self._now()
        return sorted(hosts, key=lambda host: self._shunned.get(host, 0.0) > now)

    def _drop(self, line: Line) -> None:
        self._lines.remove(line)
        self.budget.open -= 1

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # this turn is somebody else's
            raise

    def _wake(self) -> None:
        """One who waits may look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake_all(self, down: HopDown | None) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if waiter.done():
                continue
            if down is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(HopDown(str(down), down.status, loops=down.loops))

    def _now(self) -> float:
        return self._loop.time()


def _telling(before: _Why | None, now: _Why) -> _Why:
    """What a host said, or its certificate, says more than that another one takes no connection."""
    return before if before is not None and before[1] != _NO_CONNECTION == now[1] else now


def _spent(host: Host, asked: Collection[Host]) -> bool:
    """It was asked about this message, or two others of its place were."""
    of_its_place = [other for other in asked if other.destination == host.destination]
    return host in asked or len(of_its_place) >= _MOST_SESSIONS
