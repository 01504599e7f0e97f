"""A Door on a free port of loopback, and a client that reads replies one by one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.receive.admit import Admission
from backupmx.receive.limits import SmtpSettings
from backupmx.receive.listen import Door, open_sockets
from backupmx.receive.policy.clients import Clients
from backupmx.receive.service import Service
from backupmx.recipients.who import Lists, Recipients

PATIENCE = 10.0


class RelayDomains:
    """example.jp and its subdomains are ours."""

    def is_ours(self, address: str) -> bool:
        domain = address.rpartition("@")[2].lower()
        return domain == "example.jp" or domain.endswith(".example.jp")


@dataclass
class Taken:
    client: Client
    envelope: Envelope
    content: bytes
    queue_id: str
    spooled: bool


@dataclass
class Recorder:
    """An accept() that keeps what it is given; `before` runs first and may raise, wait or answer."""

    before: Callable[[Taken], Awaitable[Reply | None]] | None = None
    adopt: bool = False
    messages: list[Taken] = field(default_factory=list)

    async def __call__(self, client: Client, envelope: Envelope, content: Content, queue_id: str) -> Reply:
        taken = Taken(client, envelope, bytes(content.data), queue_id, content.spool is not None)
        reply = await self.before(taken) if self.before else None
        if reply is None:
            self.messages.append(taken)
            if self.adopt:
                content.kept()
        return reply or Reply(250, "2.0.0", f"Ok: queued as {queue_id}")


@dataclass
class Running:
    door: Door
    port: int
    recorder: Recorder
    log: list[bytes]

    @property
    def lines(self) -> list[str]:
        """The log without stamps: "backupmx/smtpd: ..."."""
        return [line.decode().partition("]: ")[2].rstrip() for line in self.log]

    async def gone(self) -> None:
        """Returns when the door knows of no client any more."""
        service = self.door.service
        async with asyncio.timeout(PATIENCE):
            while service.sessions:
                await self.next_change()

    async def next_change(self) -> None:
        """Returns when somebody has left or something has been done."""
        self.door.service.left.clear()
        await self.door.service.left.wait()

    async def connect(self) -> "Talk":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        talk = Talk(reader, writer)
        assert (await talk.reply()).startswith("220")
        return talk


class Talk:
    """One client's side of a dialogue."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """One reply, its lines joined by LF; "" when the server has closed."""
        lines = []
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.reader.readline()).decode()
                lines.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    return "\n".join(lines)

    async def say(self, *commands: str | bytes) -> str:
        """Send commands in one write, read a reply for each; -> the last."""
        raw = [c.encode() if isinstance(c, str) else c for c in commands]
        self.writer.write(b"".join(c + b"\r\n" for c in raw))
        reply = ""
        for _ in raw:
            reply = await self.reply()
        return reply

    async def begin(self, to: str = "user@example.jp") -> str:
        """From EHLO to 354."""
        return await self.say("EHLO client.example", "MAIL FROM:<a@b.example>", f"RCPT TO:<{to}>", "DATA")

    async def secure(self, context: ssl.SSLContext) -> None:
        """The client's side of a TLS handshake."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(PATIENCE):
            transport = await loop.start_tls(
                self.writer.transport, protocol, context, server_hostname="mx2.example.net"
            )
        assert transport is not None
        protocol.connection_made(transport)
        self.before = self.writer  # a writer that is forgotten closes its transport
        self.reader, self.writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def closed(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionError, OSError):
            pass  # it was closed from the other side


@asynccontextmanager
async def running(
    recorder: Recorder | None = None,
    *,
    known: Any = None,
    resolver: Any = None,
    tls: Any = None,
    anvil: Any = None,
    senders: Any = None,
    rules: Any = None,
    met: Any = None,
    flush: Any = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    recorder = recorder or Recorder()
    log: list[bytes] = []
    journal = Journal(sink=log.append, host="mx2", stamped=False)
    service = Service(
        SmtpSettings("mx2.example.net", **settings),
        recorder,
        Admission(
            RelayDomains(), Recipients(known, None, Lists()) if known else None, postmaster="postmaster@example.jp"
        ),
        journal=journal,
        resolver=resolver,
        tls=tls,
        anvil=anvil,
        senders=senders,
        clients=Clients(rules, resolver, journal, met) if rules else None,
        flush=flush,
    )
    door = Door(service)
    sockets = open_sockets(["127.0.0.1:0"])
    port = sockets[0].getsockname()[1]
    await door.start(sockets)
    run = asyncio.create_task(door.run())
    try:
        yield Running(door, port, recorder, log)
    finally:
        await door.stop(2)
        await run
