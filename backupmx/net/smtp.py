"""smtp: our side of an SMTP or LMTP conversation.

`connect` gives a connection that has greeted and said EHLO (and, where it is
offered, STARTTLS); `deliver` sends one message over it, as often as one likes,
also before the last one is answered:

    write   MAIL RCPT RCPT DATA
    read    250  250  250  354
    write   content . MAIL RCPT RCPT DATA      the next message, if one waits
    read    250       250  250  250  354

So a message costs one write and one read while messages wait, and one round
trip and a half alone (RFC 2920).  A peer without PIPELINING is asked command by
command.  Replies move a transaction on where they arrive, in `data_received`;
no task wakes before the whole transaction is answered.

    relay.connections --connect--> Connection <--deliver-- relay.deliver

Trouble
    SmtpTrouble
     ├ Unreachable   no connection, no 220, no EHLO: this host is no use now
     ├ TlsTrouble    STARTTLS was offered and failed: connect again without
     └ Lost          the connection went before the final dot: nothing was taken
    After the final dot nobody can know: `deliver` returns, and recipients
    without an answer are None in `Result.replies`, with `Result.lost`.
    Every wait has its limit (RFC 5321 4.5.3.2); 421 ends the connection
    wherever it comes, and is the answer of those who have none yet.

Why not aiosmtplib?  It waits for each command and wakes a task for each reply:
147 us a message against 20 us.

BUGS
    No CHUNKING: BDAT saves the dots, but Postfix makes a copy either way.

Standards: RFC 5321, 2920 (PIPELINING), 3207 (STARTTLS), 2033 (LMTP), 1870, 3461, 6152, 6531.
"""

import asyncio
import errno
import os
import ssl
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from backupmx.mail.envelope import Envelope
from backupmx.mail.message import Message
from backupmx.mail.reply import Reply
from backupmx.net import smtp_commands, smtp_content, smtp_replies
from backupmx.net.smtp_transaction import Next, Result, Transaction


class SmtpTrouble(Exception):
    """The text is for log and queue, in Postfix's words; `status` is its RFC 3463 code."""

    def __init__(self, text: str, status: str = "4.4.2") -> None:
        super().__init__(text)
        self.status = status


class Unreachable(SmtpTrouble):
    """This host takes no mail now."""


class TlsTrouble(SmtpTrouble):
    """STARTTLS was offered and did not work."""


class Lost(SmtpTrouble):
    """The connection went before the message was sent whole: it was not taken."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each answer; defaults of RFC 5321 4.5.3.2, the first three Postfix's."""

    connect: float = 30.0
    greeting: float = 300.0
    tls: float = 30.0
    """Shorter than Postfix's 300: a hung handshake is followed by a try in clear."""
    hello: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0


_PHASES = {
    "mail": "sending MAIL FROM",
    "rcpt": "sending RCPT TO",
    "data": "sending DATA command",
    "block": "sending message body",
    "dot": "sending end of data -- message may be sent more than once",
}


class _Delivery(Transaction):
    """A transaction and the attempt that waits for it."""

    __slots__ = ("done",)

    def __init__(
        self, commands: list[bytes], message: Message, size: int, *, lmtp: bool, done: asyncio.Future[Result]
    ) -> None:
        super().__init__(commands, message, size, lmtp=lmtp)
        self.done = done


class Connection(asyncio.Protocol):
    """One conversation.  Make it with `connect`."""

    def __init__(self, peer: str, *, lmtp: bool, timeouts: Timeouts) -> None:
        self.peer = peer
        """primary1.example.net[192.0.2.1]"""
        self.lmtp = lmtp
        self.extensions: dict[str, str] = {}
        self.name = ""
        """What the peer calls itself in its EHLO reply."""
        self.tls = False
        self.served = 0
        """Transactions it has answered."""
        self.usable = False
        """It can be given messages."""
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._replies = smtp_replies.Replies()
        self._queue: deque[_Delivery] = deque()
        self._asked: asyncio.Future[tuple[int, list[bytes]]] | None = None
        self._early: list[tuple[int, list[bytes]]] = []
        self._phase = "receiving the initial server greeting"
        self._trouble = ""
        self._dirty = False  # the peer is inside a transaction that we gave up: RSET first
        self._pipelining = False
        self._paused = False
        self._deadline = 0.0
        self._tick: asyncio.TimerHandle | None = None
        self._interval = min(5.0, min(timeouts.mail, timeouts.rcpt, timeouts.data, timeouts.block, timeouts.dot) / 4)

    # what the relay calls

    @property
    def load(self) -> int:
        """Transactions that are not answered yet."""
        return len(self._queue)

    def unfit(self, envelope: Envelope, message: Message, size: int) -> Reply | None:
        """Why this peer cannot be sent this message, in our own words; None: it can."""
        reply = smtp_commands.unfit(envelope, message, size, self.extensions)
        return reply and Reply(reply.code, reply.status, f"{reply.text} by host {self.peer}")

    async def deliver(self, envelope: Envelope, message: Message, size: int) -> Result:
        """Send one message.  Raises Lost when it was certainly not taken."""
        if not self.usable:
            raise Lost(self._trouble or f"lost connection with {self.peer}")
        commands = smtp_commands.group(envelope, size, self.extensions)
        transaction = _Delivery(commands, message, size, lmtp=self.lmtp, done=self._loop.create_future())
        self._queue.append(transaction)
        if self._queue[0] is transaction:
            self._open(transaction)
        if self._tick is None:
            self._tick = self._loop.call_later(self._interval, self._check)
        try:
            return await transaction.done
        except asyncio.CancelledError:
            self.abort()
            raise

    async def quit(self, patience: float = 2.0) -> None:
        """QUIT, and wait a moment for the answer.  RFC 5321 4.1.1.10."""
        if self.usable and not self._queue:
            self.usable = False
            try:
                await self._ask(b"QUIT\r\n", patience, "sending QUIT")
            except SmtpTrouble:
                pass  # It is leaving as well: that was all we wanted.
        self.abort()

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
        self._lose(self._trouble or f"connection with {self.peer} given up")

    # the beginning: one question at a time

    async def greet(self, helo: str, tls: ssl.SSLContext | None, server_name: str) -> None:
        """220, EHLO, STARTTLS and EHLO again.  Raises Unreachable or TlsTrouble."""
        code, lines = await self._ask(b"", self._timeouts.greeting, self._phase)
        if code != 220:
            # Also 5xx: another host may take the mail, or this one later (Postfix: smtp_skip_5xx_greeting).
            raise Unreachable(self._refused(code, lines), _status(code, lines, "4.3.0"))
        await self._hello(helo)
        if tls is not None and "STARTTLS" in self.extensions:
            await self._start_tls(helo, tls, server_name)
        self.usable = True

    async def _hello(self, helo: str) -> None:
        verb = "LHLO" if self.lmtp else "EHLO"
        phase = f"performing the {verb} handshake"
        code, lines = await self._ask(f"{verb} {helo}\r\n".encode(), self._timeouts.hello, phase)
        if code >= 500 and not self.lmtp:
            code, lines = await self._ask(f"HELO {helo}\r\n".encode(), self._timeouts.hello, phase)
            lines = lines[:1]
        if code != 250:
            raise Unreachable(self._refused(code, lines), _status(code, lines, "4.3.0"))
        self.extensions = smtp_commands.offered(lines)
        self._pipelining = "PIPELINING" in self.extensions
        self.name = lines[0].decode("ascii", "replace").partition(" ")[0]

    async def _start_tls(self, helo: str, tls: ssl.SSLContext, server_name: str) -> None:
        try:
            code, _ = await self._ask(b"STARTTLS\r\n", self._timeouts.tls, "sending STARTTLS")
        except Unreachable as error:
            raise TlsTrouble(str(error), error.status) from None
        if code != 220:
            return  # It changed its mind: in clear, over this same connection.
        assert self._transport is not None
        if self._replies.inside or self._early:
            # Octets behind the 220 would pass for the inside of the TLS session (CVE-2011-0411 from this side).
            raise TlsTrouble(f"{self.peer} sent text behind its reply to STARTTLS", "4.7.0")
        try:
            secured = await self._loop.start_tls(
                self._transport, self, tls, server_hostname=server_name or None,
                ssl_handshake_timeout=self._timeouts.tls,
            )  # fmt: skip
        except (OSError, ValueError) as error:  # ssl.SSLError and a lost connection are OSErrors
            raise TlsTrouble(
                f"TLS handshake with {self.peer} failed: {error or type(error).__name__}", "4.7.5"
            ) from None
        if secured is None:
            raise TlsTrouble(f"TLS handshake with {self.peer} failed: connection lost", "4.7.5")
        self._transport = secured
        self.tls = True
        try:
            await self._hello(helo)
        except Unreachable as error:
            raise TlsTrouble(f"{error} (under TLS)", error.status) from None

    async def _ask(self, command: bytes, patience: float, phase: str) -> tuple[int, list[bytes]]:
        self._phase = phase
        if self._trouble:
            raise Unreachable(self._trouble)
        if self._early:
            if command:
                raise Unreachable(f"host {self.peer} speaks out of turn: {smtp_replies.reply(*self._early[0])}")
            return self._early.pop(0)
        self._asked = self._loop.create_future()
        self._write(command)
        try:
            async with asyncio.timeout(patience):
                return await self._asked
        except TimeoutError:
            raise Unreachable(f"conversation with {self.peer} timed out while {phase}") from None
        finally:
            self._asked = None

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=2 * smtp_content.PIECE)

    def data_received(self, data: bytes) -> None:
        try:
            for code, lines in self._replies.feed(data):
                self._reply(code, lines)
        except smtp_replies.Nonsense as error:
            self._end(f"host {self.peer} does not speak SMTP: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        why = f" ({error.strerror or error})" if isinstance(error, OSError) and error.strerror else ""
        self._lose(f"lost connection with {self.peer} while {self._phase}{why}")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._queue and self._queue[0].pieces is not None:
            self._send_pieces(self._queue[0], self._queue[0].pieces)

    # transactions, one after the other

    def _reply(self, code: int, lines: list[bytes]) -> None:
        if self._queue:
            self._answer(self._queue[0], code, lines)
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result((code, lines))
        elif not self.usable:
            self._early.append((code, lines))  # the greeting, before we wait for it
        else:
            # Nobody asked: 421 before it closes an idle connection, or nonsense.
            self._end(f"host {self.peer} said: {smtp_replies.reply(code, lines)} (while idle)")

    def _answer(self, transaction: _Delivery, code: int, lines: list[bytes]) -> None:
        if code == 421 or transaction.pieces is not None:
            # It closes, or it answers a message that it has not got whole: out of step either way.
            reply = smtp_replies.reply(code, lines)
            self._finish(transaction.end(reply))
            self._end(f"host {self.peer} said: {reply}")
        elif transaction.resetting:
            transaction.resetting = False
            if not self._pipelining:
                self._open(transaction)
        else:
            self._act(transaction, transaction.answer(code, lines))

    def _act(self, transaction: _Delivery, what: Next) -> None:
        if what is Next.DONE:
            self._dirty = transaction.unfinished
            self._finish(transaction.result)
            return
        if what is Next.HANG_UP:
            self._finish(transaction.result)
            self._end(f"host {self.peer} asked for content without MAIL")
            return
        if what is Next.CONTENT:
            self._send_content(transaction)
        elif what is Next.DOT:
            transaction.dotted = True
            self._write(b".\r\n")
        elif what is Next.COMMAND:
            self._write(transaction.command)
        self._wait(transaction.phase)

    def _open(self, transaction: _Delivery) -> None:
        self._write(b"".join(self._opening(transaction)))
        self._wait("mail")

    def _opening(self, transaction: _Delivery) -> list[bytes]:
        if not self._dirty:
            return transaction.opening(self._pipelining)
        self._dirty = False
        transaction.resetting = transaction.begun = True
        return [b"RSET\r\n", *(transaction.opening(True) if self._pipelining else ())]

    def _send_content(self, transaction: _Delivery) -> None:
        if transaction.size <= smtp_content.PIECE:
            content = smtp_content.whole(transaction.message.chunks())
            self._write(b"".join((content, *self._behind(transaction))))
        else:
            transaction.pieces = smtp_content.pieces(transaction.message.chunks())
            self._send_pieces(transaction, transaction.pieces)

    def _send_pieces(self, transaction: _Delivery, pieces: Iterator[bytes]) -> None:
        while not self._paused:
            piece = next(pieces, None)
            if piece is None:
                transaction.pieces = None
                self._write(b"".join(self._behind(transaction)))
                break
            self._write(piece)
        self._wait(transaction.phase)

    def _behind(self, transaction: _Delivery) -> list[bytes]:
        """The next message's commands ride behind this one's dot."""
        transaction.dotted = True
        return self._opening(self._queue[1]) if len(self._queue) > 1 and self._pipelining else []

    def _finish(self, result: Result) -> None:
        """The first transaction has all its answers: wake its attempt, and go on with the next one."""
        transaction = self._queue.popleft()
        transaction.pieces = None
        self.served += 1
        if not transaction.done.done():
            transaction.done.set_result(result)
        if self._queue and self._queue[0].begun:
            self._wait("mail")
        elif self._queue:
            self._open(self._queue[0])

    # the end

    def _end(self, why: str) -> None:
        """This connection is no use any more, and this is why."""
        self._trouble = self._trouble or why
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
        self._lose(why)

    def _lose(self, why: str) -> None:
        """Tell everybody who waits.  The message whose dot was sent may have been taken; the others were not."""
        self.usable = False
        self._trouble = self._trouble or why
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(Unreachable(self._trouble))
        waiting, self._queue = self._queue, deque()
        for transaction in waiting:
            result = transaction.lost(self._trouble)
            if transaction.done.done():
                continue
            if result is not None:
                transaction.done.set_result(result)
            else:
                transaction.done.set_exception(Lost(self._trouble))

    def _wait(self, phase: str) -> None:
        self._phase = _PHASES[phase]
        self._deadline = self._loop.time() + float(getattr(self._timeouts, phase))

    def _check(self) -> None:
        """Every few seconds while a transaction runs: cheaper than a timer for each reply."""
        self._tick = None
        if not self._queue:
            return
        if self._loop.time() >= self._deadline:
            self._end(f"conversation with {self.peer} timed out while {self._phase}")
            return
        self._tick = self._loop.call_later(self._interval, self._check)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _refused(self, code: int, lines: list[bytes]) -> str:
        return f"host {self.peer} refused to talk to me: {smtp_replies.reply(code, lines)}"


def opportunistic() -> ssl.SSLContext:
    """TLS at level `may`: against listeners, not against an active attacker; no name is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(
    name: str,
    address: str,
    port: int,
    *,
    helo: str,
    lmtp: bool = False,
    tls: ssl.SSLContext | None = None,
    bind: str = "",
    timeouts: Timeouts | None = None,
) -> Connection:
    """A connection ready for `deliver`.  `address` "": `name` is a socket file.  Raises Unreachable, TlsTrouble."""
    timeouts = timeouts or Timeouts()
    peer = f"{name}[{address}]" if address else name
    loop = asyncio.get_running_loop()
    connection = Connection(peer, lmtp=lmtp, timeouts=timeouts)
    try:
        async with asyncio.timeout(timeouts.connect):
            if address:
                local = (bind, 0) if bind and (":" in bind) == (":" in address) else None
                await loop.create_connection(lambda: connection, address, port, local_addr=local)
            else:
                await loop.create_unix_connection(lambda: connection, name)
    except OSError as error:  # TimeoutError is one
        why = os.strerror(error.errno or errno.ETIMEDOUT)
        place = f"{peer}:{port}" if address else peer
        raise Unreachable(f"connect to {place}: {why}", "4.4.1") from None
    try:
        await connection.greet(helo, tls, name if address else "")
    except BaseException:
        connection.abort()
        raise
    return connection


def _status(code: int, lines: list[bytes], default: str) -> str:
    """A peer's refusal of us is temporary for the mail, whatever its class."""
    status = smtp_replies.reply(code, lines).status
    return f"4{status[1:]}" if status else default
