"""service: what all sessions of one receiving process share.

The policy parts (`admission`, `tls`, whom we `trust`) are replaced as a whole by
a reload; a session asks for them anew each time, so the next command follows the
new one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.net.tls import ServerTls
from backupmx.receive.ability import Abilities
from backupmx.receive.admit import Admission
from backupmx.receive.anvil import Anvil, Cells, Hand, Rate
from backupmx.receive.limits import Networks, SmtpSettings
from backupmx.receive.names import Names, Reverse
from backupmx.receive.policy.clients import Clients, Visit
from backupmx.receive.sender import Senders
from backupmx.receive.spool import Budget
from backupmx.receive.xclient import ATTRIBUTES

if TYPE_CHECKING:
    from backupmx.receive.wire import Wire


class Accept(Protocol):
    """What happens between the final dot and our reply: intake.Intake.accept."""

    async def __call__(self, client: Client, envelope: Envelope, content: Content, queue_id: str) -> Reply:
        """May raise QueueTrouble.  When the queue has taken `content.spool` over it calls `content.kept()`."""
        ...


class Guest(Protocol):
    """Who is here: a session, or a connection that is not one yet (proxy.py)."""

    counted: Cells | None
    deadline: float
    parting: bool

    def timed_out(self) -> None: ...
    def stop(self) -> None: ...
    def abort(self) -> None: ...


class Service:
    """Settings, collaborators, and who is here now."""

    def __init__(
        self,
        settings: SmtpSettings,
        accept: Accept,
        admission: Admission,
        *,
        journal: Journal,
        anvil: Hand | None = None,
        resolver: Reverse | None = None,
        tls: ServerTls | None = None,
        senders: Senders | None = None,
        clients: Clients | None = None,
        flush: Callable[[str], Awaitable[int]] | None = None,
    ) -> None:
        """`flush` makes a domain's mail due now, -> how many recipients wait; it may raise QueueTrouble."""
        self.settings = settings
        self.accept = accept
        self.admission = admission
        self.journal = journal
        self.tls = tls
        self.senders = senders
        self.clients = clients
        """None: nothing is held against any client."""
        self.abilities: Abilities | None = None
        """What primaries take; None: everything."""
        self.names = Names(resolver, settings.name_timeout)
        self.trust(settings)
        self.is_primary: Callable[[str], bool] = lambda address: False
        """Whether a client is one of the primaries, which may always use ETRN."""
        self.flush = flush
        self.sessions: set[Guest] = set()
        self._anvil = anvil or Anvil().hand()
        self._rates = _rates(settings)
        self.tasks: set[asyncio.Task[None]] = set()
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="spool")
        self.budget = Budget(settings.spool_budget)
        """What all content that comes in may hold in memory."""
        self.stopping = False
        self.full: Callable[[], None] | None = None
        """Called when most_connections are here."""
        self.called: Callable[[str], None] = lambda address: None
        """Told of each client's address: one that is a primary's wants its mail."""
        self.left = asyncio.Event()
        self.greeting = f"220 {settings.hostname} ESMTP backupmx\r\n".encode()
        self.helo_reply = f"250 {settings.hostname}\r\n".encode()
        self._ehlo = {offer: _ehlo(settings, *offer) for offer in product((False, True), repeat=3)}

    def trust(self, settings: SmtpSettings) -> None:
        """Whom these settings spare, and let speak or flush: for connections and commands from now on."""
        self.spared = Networks(settings.limit_exceptions)
        self.proxies = Networks(settings.proxy_protocol_from)
        self.speakers = Networks(settings.xclient_from)
        self._flushers = Networks(settings.etrn_from)

    def ehlo_reply(self, address: str, *, starttls: bool) -> bytes:
        """What we offer this client (RFC 5321 4.1.1.1)."""
        return self._ehlo[starttls, self.may_flush(address), address in self.speakers]

    def may_flush(self, address: str) -> bool:
        """ETRN is for this client."""
        return self.flush is not None and (address in self._flushers or self.is_primary(address))

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that is not forgotten: `Door.stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def enter(self, session: "Wire") -> Reply | None:
        """A client is here; the reply that it reads when there are too many of it, or too many at all."""
        client, settings = session.client, self.settings
        self.sessions.add(session)
        if self.full and 0 < settings.most_connections <= len(self.sessions):
            self.full()
        if client.address in self.spared or client.address in self.speakers:
            return None  # XCLIENT: those for whom it speaks are counted
        session.counted = cells = self._anvil.cells(client.address)
        now, too_often = self._anvil.enter(cells), self.exceeds(Rate.CONNECTIONS, session)
        if 0 < settings.client_connection_limit < now:
            self.journal.limited("Connection concurrency", str(client), now, "client_connection_limit")
        elif too_often:
            pass
        elif len(self.sessions) > settings.connection_limit:
            self.journal.limited("Connection", "all clients", len(self.sessions), "connection_limit")
            return Reply(421, "4.7.0", f"{settings.hostname} Error: too many connections")
        else:
            return None
        return Reply(421, "4.7.0", f"{settings.hostname} Error: too many connections from {client}")

    def visit(self, address: str) -> Visit | None:
        """A client is to be greeted: what is held against it, or is being asked about; None: nothing."""
        if self.clients is None:
            return None
        trusted = address in self.spared or address in self.speakers or self.is_primary(address)
        visit = self.clients.visit(address, trusted=trusted)
        if visit is not None and visit.asks:
            visit.asking = self.spawn(visit.ask())
        return visit

    def exceeds(self, rate: Rate, session: "Wire", more: bool = True) -> bool:
        """The client does it once more (or asks whether it still may): is that too often for a minute?"""
        name, setting, limit = self._rates[rate]
        if not limit or session.counted is None:
            return False
        rated = self._anvil.count if more else self._anvil.counted
        if (count := rated(rate, session.counted)) <= limit:
            return False
        self.journal.limited(name, str(session.client), count, setting)
        return True

    def leave(self, session: "Guest") -> None:
        self.sessions.discard(session)
        if session.counted is not None:
            self._anvil.leave(session.counted)
        self.left.set()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.journal.bug("task", error)
        self.left.set()

    async def quiet(self) -> None:
        """Returns when everybody has had our last word and nothing runs."""
        while self.tasks or any(not session.parting for session in self.sessions):
            await self._change()

    async def empty(self) -> None:
        """Returns when nobody is here and nothing runs."""
        while self.tasks or self.sessions:
            await self._change()

    async def _change(self) -> None:
        self.left.clear()
        await self.left.wait()


def _rates(settings: SmtpSettings) -> dict[Rate, tuple[str, str, int]]:
    """Postfix's name of each limit, the setting, and what it says."""
    return {
        Rate.CONNECTIONS: (
            "Connection rate", "client_connection_rate_limit", settings.client_connection_rate_limit),
        Rate.MESSAGES: (
            "Message delivery request rate", "client_message_rate_limit", settings.client_message_rate_limit),
        Rate.RECIPIENTS: (
            "Recipient address rate", "client_recipient_rate_limit", settings.client_recipient_rate_limit),
        Rate.NEW_TLS: (
            "New TLS session rate", "client_new_tls_session_rate_limit", settings.client_new_tls_session_rate_limit),
    }  # fmt: skip


def _ehlo(settings: SmtpSettings, starttls: bool, etrn: bool, xclient: bool) -> bytes:
    offers = [settings.hostname, "PIPELINING", f"SIZE {settings.message_size_limit or ''}".rstrip()]
    offers += ["ETRN"] if etrn else []
    offers += ["STARTTLS"] if starttls else []
    offers += [f"XCLIENT {ATTRIBUTES}"] if xclient else []
    offers += ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING"]
    last = f"250 LIMITS RCPTMAX={settings.recipient_limit}\r\n"
    return ("".join(f"250-{offer}\r\n" for offer in offers) + last).encode()
