"""peers: an SMTP or LMTP server that misbehaves on request, on a loopback port, in the test's own loop.

    async with Peer({"RCPT": "450 4.2.1 busy"}) as peer: ...

`answers`: what it says to a verb instead of 250.  DOT is the end of the content
(also of BDAT's), GREETING the beginning.  A value may be a list (one after another, the last for
good), a function of the command line, CLOSE (it drops the connection) or STALL
(it says nothing any more).  What it took is in `taken`, every line in `said`.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

CLOSE = "(close)"
STALL = "(stall)"
Say = str | list[str] | Callable[[str], str]
DEFAULTS = {
    "GREETING": "220 peer.example ESMTP", "DATA": "354 go on", "QUIT": "221 2.0.0 bye", "STARTTLS": "220 go on",
    "XCLIENT": "220 peer.example ESMTP",
}  # fmt: skip
EXTENSIONS = ("PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES")


@dataclass
class Taken:
    mail: str
    rcpts: list[str]
    content: bytes
    tls: bool
    connection: int


@dataclass
class Peer:
    answers: dict[str, Say] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    lmtp: bool = False
    tls: ssl.SSLContext | None = None
    after_starttls: bytes | None = None
    """What it sends instead of a handshake; None: the handshake."""
    sloppy: bool = False
    """It takes RCPT and DATA without MAIL."""
    slow: float = 0.0
    """Seconds it takes for each answer after the first two, and for each octet of content."""
    path: str = ""
    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0

    async def __aenter__(self) -> "Peer":
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard = asyncio.Event()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        if self.path:
            self._server = await asyncio.start_unix_server(self._serve, self.path)
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def heard(self, line: str) -> None:
        """Until a client said that."""
        while line not in self.said:
            self._heard.clear()
            await self._heard.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, EOFError):
            pass  # the client went, or the test ends
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await self._say(writer, self._answer("GREETING", ""))
        mail, rcpts, tls, introduced = "", [], False, False
        while line := await reader.readuntil(b"\r\n"):
            command = line.decode().rstrip("\r\n")
            self.said.append(command)
            self._heard.set()
            verb = command.upper().partition(" ")[0].partition(":")[0]
            answer = self._answer(verb, command)
            if verb in ("EHLO", "LHLO") and answer.startswith("250"):
                offered = [*self.extensions, *(["STARTTLS"] if self.tls and not tls else [])]
                if introduced:  # as Postfix has it: the new client is not trusted with it
                    offered = [word for word in offered if not word.startswith("X")]
                lines = [answer[4:] or "peer.example", *offered]
                answer = "\r\n".join(f"250{'-' if n < len(lines) - 1 else ' '}{x}" for n, x in enumerate(lines))
            if verb == "XCLIENT" and introduced:
                answer = "550 5.7.0 insufficient authorization"
            if verb == "XCLIENT" and answer.startswith("220"):
                introduced = True
            if verb == "RSET":
                mail, rcpts = "", []
            if verb == "MAIL" and answer.startswith("2"):
                mail, rcpts = command, []
            if verb == "RCPT" and not mail and not self.sloppy:
                answer = "503 5.5.1 need MAIL"
            if verb == "RCPT" and answer.startswith("2"):
                rcpts.append(command)
            if verb == "DATA" and answer.startswith("3") and not rcpts:
                answer = self.answers.get("EMPTY", "554 5.5.1 no valid recipients")
            if verb == "BDAT" and answer.startswith("250"):
                content = await reader.readexactly(int(command.split()[1]))
                answer = self._answer("DOT", "")
                if answer.startswith("2"):
                    self.taken.append(Taken(mail, rcpts, content, tls, number))
            await self._say(writer, answer)
            if verb == "STARTTLS" and answer.startswith("220"):
                if self.after_starttls is not None:
                    await self._say(writer, self.after_starttls.decode())
                assert self.tls is not None
                await writer.start_tls(self.tls)
                tls = True
            if verb == "DATA" and answer.startswith("3"):
                content = await self._content(reader)
                good = False
                for rcpt in rcpts if self.lmtp else [""]:
                    answer = self._answer("DOT", rcpt)
                    good = good or answer.startswith("2")
                    await self._say(writer, answer)
                if good:
                    self.taken.append(Taken(mail, rcpts, content, tls, number))
                mail, rcpts = "", []
            if verb == "QUIT":
                return

    async def _content(self, reader: asyncio.StreamReader) -> bytes:
        while self.slow:
            await reader.readexactly(1)
            await asyncio.sleep(self.slow)
        lines = []
        while (line := await reader.readuntil(b"\n")) != b".\r\n":
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _answer(self, verb: str, command: str) -> str:
        say = self.answers.get(verb, DEFAULTS.get(verb, "250 2.0.0 Ok"))
        if callable(say):
            return say(command)
        if isinstance(say, list):
            return say.pop(0) if len(say) > 1 else say[0]
        return say

    async def _say(self, writer: asyncio.StreamWriter, answer: str) -> None:
        if answer == CLOSE:
            raise EOFError
        await asyncio.sleep(self.slow if len(self.said) > 1 else 0)
        if answer == STALL:
            await asyncio.Event().wait()
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        if answer.startswith("421"):
            raise EOFError
