"""primary: a mail server of the demo that takes everything and keeps it.

aiosmtpd's Controller in a thread.  `stop()` is the primary going down: its
port refuses connections and the open ones are cut, as when a host dies.
`start()` brings it back on the same port, with what it had.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came over the wire, dot-stuffing undone."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Primary:
    """start(), stop(); `received` is what it has, in order of arrival."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self._inbox: list[Received] = []
        self._lock = threading.Lock()
        self._controller: _Controller | None = None

    @property
    def received(self) -> tuple[Received, ...]:
        with self._lock:
            return tuple(self._inbox)

    def start(self) -> None:
        self._controller = _Controller(self)
        self._controller.start()

    def stop(self) -> None:
        """Down.  Nothing when it is down already."""
        if self._controller:
            self._controller.cut()
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """aiosmtpd's hook: the message is complete."""
        content = envelope.original_content or b""
        with self._lock:
            self._inbox.append(Received(envelope.mail_from or "", tuple(envelope.rcpt_tos), content))
        return "250 2.0.0 Ok: taken"


class _Controller(Controller):
    """Knows its connections, so that it can drop them."""

    def __init__(self, primary: Primary) -> None:
        super().__init__(primary, hostname="127.0.0.1", port=primary.port, server_hostname=primary.name)
        self._sessions: list[SMTP] = []

    def factory(self) -> SMTP:
        session: SMTP = super().factory()  # type: ignore[no-untyped-call]
        self._sessions.append(session)
        return session

    def cut(self) -> None:
        done = threading.Event()
        self.loop.call_soon_threadsafe(_abort, self._sessions, done.set)
        done.wait(5)


def _abort(sessions: list[SMTP], done: Callable[[], None]) -> None:
    for session in sessions:
        if isinstance(session.transport, asyncio.WriteTransport):
            session.transport.abort()
    done()
