"""service: what all sessions of one receiving process share.

The policy parts (`admission`, `tls`) are replaced as a whole by a reload; a
session asks for them anew each time, so the next command follows the new one.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.net.tls import ServerTls
from backupmx.receive.admit import Admission
from backupmx.receive.limits import Exceptions, SmtpSettings
from backupmx.receive.names import Names, Reverse
from backupmx.receive.sender import Senders

if TYPE_CHECKING:
    from backupmx.receive.wire import Wire


class Accept(Protocol):
    """What happens between the final dot and our reply: intake.Intake.accept."""

    async def __call__(self, client: Client, envelope: Envelope, content: Content, queue_id: str) -> Reply:
        """May raise QueueTrouble.  When the queue has taken `content.spool` over it calls `content.kept()`."""
        ...


class Service:
    """Settings, collaborators, and who is here now."""

    def __init__(
        self,
        settings: SmtpSettings,
        accept: Accept,
        admission: Admission,
        *,
        journal: Journal,
        resolver: Reverse | None = None,
        tls: ServerTls | None = None,
        senders: Senders | None = None,
    ) -> None:
        self.settings = settings
        self.accept = accept
        self.admission = admission
        self.journal = journal
        self.tls = tls
        self.senders = senders
        self.names = Names(resolver, settings.name_timeout)
        self.spared = Exceptions(settings.limit_exceptions)
        self.sessions: set[Wire] = set()
        self._from: dict[str, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.pool = ThreadPoolExecutor(2, thread_name_prefix="spool")
        self.stopping = False
        self.left = asyncio.Event()
        self.greeting = f"220 {settings.hostname} ESMTP backupmx\r\n".encode()
        self.helo_reply = f"250 {settings.hostname}\r\n".encode()
        self._ehlo = {offer: _ehlo(settings, offer) for offer in (False, True)}

    def ehlo_reply(self, *, starttls: bool) -> bytes:
        """What we offer (RFC 5321 4.1.1.1)."""
        return self._ehlo[starttls]

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that is not forgotten: `Door.stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def enter(self, session: "Wire") -> Reply | None:
        """A client is here; the reply that it reads when there are too many of it, or too many at all."""
        address, settings = session.client.address, self.settings
        self.sessions.add(session)
        self._from[address] = count = self._from.get(address, 0) + 1
        too_many = 0 < settings.client_connection_limit < count
        if not too_many and len(self.sessions) <= settings.connection_limit:
            return None
        if address in self.spared:
            return None
        whose = f" from {session.client}" if too_many else ""
        return Reply(421, "4.7.0", f"{settings.hostname} Error: too many connections{whose}")

    def leave(self, session: "Wire") -> None:
        self.sessions.discard(session)
        address = session.client.address
        self._from[address] -= 1
        if not self._from[address]:
            del self._from[address]
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


def _ehlo(settings: SmtpSettings, starttls: bool) -> bytes:
    offers = [settings.hostname, "PIPELINING", f"SIZE {settings.message_size_limit or ''}".rstrip()]
    offers += ["STARTTLS"] if starttls else []
    offers += ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN"]
    return "".join(f"250-{offer}\r\n" for offer in offers).encode() + b"250 SMTPUTF8\r\n"
