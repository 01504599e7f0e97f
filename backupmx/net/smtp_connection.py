"""smtp_connection: messages over one connection, one after the other and ahead of each other.

    write   MAIL RCPT RCPT DATA
    read    250  250  250  354
    write   content . MAIL RCPT RCPT DATA      the next message, if one waits
    read    250       250  250  250  354

So a message costs one write and one read while messages wait, and one round
trip and a half alone (RFC 2920).  A peer without PIPELINING is asked command by
command.  Replies move a transaction on where they arrive, in `data_received`;
no task wakes before the whole transaction is answered.

Before MAIL there may be more to say: RSET after a transaction that was given
up, XFORWARD with MAIL in one write, XCLIENT and a new EHLO one by one, once a
connection (smtp_origin).  Messages over a quarter MiB go by BDAT where CHUNKING is
offered: that spares looking at each octet, a third of our work for them.  Small
ones do not: BDAT would wait for the answers to RCPT just as DATA does.

Trouble
    Lost     the connection went before the final dot: nothing was taken
    After the final dot nobody can know: `deliver` returns, and recipients
    without an answer are None in `Result.replies`, with `Result.lost`.
    Every wait has its limit (RFC 5321 4.5.3.2), and so has a whole message: half
    an hour and what 500 octets a second need (Postfix: smtp_min_data_rate).
    421 ends the connection wherever it comes, and is the answer of those who
    have none yet.

Why not aiosmtplib?  It waits for each command and wakes a task for each reply:
147 us a message against 20 us.

Standards: RFC 5321, 2920 (PIPELINING), 3030 (CHUNKING), 2033 (LMTP).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterator
from typing import cast

from backupmx.mail.envelope import Client, Envelope, Tls
from backupmx.mail.message import Buffer, Message
from backupmx.mail.reply import Reply
from backupmx.net import smtp_commands, smtp_content, smtp_origin, smtp_replies
from backupmx.net.smtp_transaction import Next, Result, Transaction
from backupmx.net.smtp_trouble import Lost, SmtpTrouble, Timeouts, Unreachable

_UNKNOWN = (500, 501, 502, 503, 504, 555)
# To BDAT, with recipients accepted: it announced what it does not know.
_SLOWEST = 500
_PHASES = {
    "mail": "sending MAIL FROM",
    "rcpt": "sending RCPT TO",
    "data": "sending DATA command",
    "block": "sending message body",
    "dot": "sending end of data -- message may be sent more than once",
}


class _Delivery(Transaction):
    """A transaction, where it comes from, and the attempt that waits for it."""

    __slots__ = ("before", "client", "done", "ident")

    def __init__(
        self, commands: list[bytes], message: Message, size: int, *, lmtp: bool, chunked: bool,
        client: Client | None, ident: str, done: asyncio.Future[Result],
    ) -> None:  # fmt: skip
        super().__init__(commands, message, size, lmtp=lmtp, chunked=chunked)
        self.client = client
        self.ident = ident
        self.before: deque[bytes] = deque()
        """Commands that are answered before its MAIL is: RSET, XFORWARD, XCLIENT, EHLO."""
        self.done = done


class Connection(asyncio.Protocol):
    """One conversation.  Make it with `connect`."""

    def __init__(self, peer: str, *, helo: str, lmtp: bool, forward: str, timeouts: Timeouts) -> None:
        self.peer = peer
        """primary1.example.net[192.0.2.1]"""
        self.helo = helo
        self.lmtp = lmtp
        self.forward = forward
        """auto, xclient, xforward or off: how the client of a message is told (smtp_origin)."""
        self.chunking = True
        """BDAT may be used where it is offered; False when this peer broke off at one."""
        self.timeouts = timeouts
        self.phase = "receiving the initial server greeting"
        """What was asked last outside a transaction; inside one `_doing` knows."""
        self.extensions: dict[str, str] = {}
        self.banner = ""
        """Its greeting, without the 220."""
        self.name = ""
        """What the peer calls itself in its EHLO reply."""
        self.tls: Tls | None = None
        self.trust = ""
        """Untrusted or Verified, when there is TLS (net/tls_client)."""
        self.served = 0
        """Transactions it has answered."""
        self.usable = False
        """It can be given messages."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._replies = smtp_replies.Replies()
        self._queue: deque[_Delivery] = deque()
        self._asked: asyncio.Future[tuple[int, list[bytes]]] | None = None
        self._early: list[tuple[int, list[bytes]]] = []
        self._trouble = ""
        self._dirty = False  # the peer is inside a transaction that we gave up: RSET first
        self._pipelining = False
        self._paused = False
        self._heard = 0.0  # when its last answer came, or what we sent began to move
        self._latest = 0.0
        self._forwards = False
        self._shown: Client | None = None  # who the peer takes us for, or will, by XCLIENT
        self._introduced = False  # it does
        self._unshowable: Client | None = None  # whom it would not take us for
        self._tick: asyncio.TimerHandle | None = None
        limits = (timeouts.mail, timeouts.rcpt, timeouts.data, timeouts.block, timeouts.dot, timeouts.message)
        self._interval = min(5.0, min(limits) / 4)

    # what the relay calls

    @property
    def load(self) -> int:
        """Transactions that are not answered yet."""
        return len(self._queue)

    def unfit(self, envelope: Envelope, message: Message, size: int) -> Reply | None:
        """Why this peer cannot be sent this message, in our own words; None: it can."""
        reply = smtp_commands.unfit(envelope, message, size, self.extensions)
        return reply and Reply(reply.code, reply.status, f"{reply.text} by host {self.peer}")

    def admits(self, client: Client | None) -> bool:
        """This client's mail may go over this connection: the peer takes us for nobody else."""
        return self._shown is None or self._shown == client

    async def deliver(
        self, envelope: Envelope, message: Message, size: int, *, client: Client | None = None, ident: str = ""
    ) -> Result:
        """Send one message.  Raises Lost when it was certainly not taken.

        `client` and `ident` (our queue id) are told to a peer that wants to know.
        """
        if not self.usable:
            raise Lost(self._trouble or f"lost connection with {self.peer}")
        if not self.admits(client):
            raise Lost(f"host {self.peer} takes us for {self._shown}")
        if self._forwards and client is not None and self._shown is None and self._may_show(client):
            self._shown = client
        commands = smtp_commands.group(envelope, size, self.extensions)
        chunked = size > smtp_content.PIECE and self.chunking and "CHUNKING" in self.extensions and not self.lmtp
        transaction = _Delivery(
            commands if chunked else [*commands, b"DATA\r\n"], message, size, lmtp=self.lmtp, chunked=chunked,
            client=client, ident=ident, done=self._loop.create_future(),
        )  # fmt: skip
        self.phase = "waiting for the next message"
        self._queue.append(transaction)
        if self._queue[0] is transaction:
            self._open(transaction)
            self._heard = self._loop.time()
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
                await self.ask(b"QUIT\r\n", patience, "sending QUIT")
            except SmtpTrouble:
                pass  # It is leaving as well: that was all we wanted.
        self.abort()

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
        self._lose(self._trouble or f"connection with {self.peer} given up")

    # the beginning: one question at a time (net/smtp)

    @property
    def has_more(self) -> bool:
        """The peer said more than it was asked for."""
        return self._replies.inside or bool(self._early)

    def heard_hello(self, lines: list[bytes]) -> None:
        """The peer's reply to EHLO."""
        self.extensions = smtp_commands.offered(lines)
        self._pipelining = "PIPELINING" in self.extensions
        self._forwards = self.forward != "off" and not self.extensions.keys().isdisjoint(("XCLIENT", "XFORWARD"))
        self.name = lines[0].decode("ascii", "replace").partition(" ")[0]

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> ssl.SSLObject:
        """The handshake.  Raises OSError, ValueError."""
        assert self._transport is not None
        patience = self.timeouts.tls
        secured = await self._loop.start_tls(
            self._transport, self, context, server_hostname=server_name or None, ssl_handshake_timeout=patience
        )
        if secured is None:
            raise OSError("connection lost")
        self._transport = secured
        return cast(ssl.SSLObject, secured.get_extra_info("ssl_object"))

    async def ask(self, command: bytes, patience: float, phase: str) -> tuple[int, list[bytes]]:
        self.phase = phase
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
        self._heard = self._loop.time()

    def connection_lost(self, error: Exception | None) -> None:
        why = f" ({error.strerror or error})" if isinstance(error, OSError) and error.strerror else ""
        self._lose(f"lost connection with {self.peer} while {self._doing}{why}")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._queue and self._queue[0].pieces is not None:
            self._send_pieces(self._queue[0], self._queue[0].pieces)
            self._heard = self._loop.time()

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
        if transaction.chunked and transaction.in_content and code in _UNKNOWN:
            transaction.dotted = False  # what it refused is not the message
            self._end(f"host {self.peer} said: {smtp_replies.reply(code, lines)} (in reply to BDAT)")
        elif code == 421 or transaction.pieces is not None:
            # It closes, or it answers a message that it has not got whole: out of step either way.
            reply = smtp_replies.reply(code, lines)
            self._finish(transaction.end(reply))
            self._end(f"host {self.peer} said: {reply}")
        elif transaction.before:
            self._answer_before(transaction, code, lines)
        else:
            self._act(transaction, transaction.answer(code, lines))

    def _act(self, transaction: _Delivery, what: Next) -> None:
        if what is Next.MORE:
            return
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

    def _open(self, transaction: _Delivery) -> None:
        self._write(b"".join(self._opening(transaction)))
        self._begin(transaction)

    def _opening(self, transaction: _Delivery) -> list[bytes]:
        """What is sent first."""
        if not (self._dirty or self._forwards):
            return transaction.opening(self._pipelining)
        before = self._before(transaction)
        if not before:
            return transaction.opening(self._pipelining)
        transaction.before.extend(before)
        transaction.begun = True
        if not self._pipelining:
            return before[:1]
        return before if before[-1].startswith(b"XCLIENT") else [*before, *transaction.opening(True)]

    def _before(self, transaction: _Delivery) -> list[bytes]:
        before = [b"RSET\r\n"] if self._dirty else []
        self._dirty = False
        client, wants = transaction.client, self.extensions
        if client is None or self._introduced:
            return before
        if client == self._shown:
            return [*before, smtp_origin.xclient(client, wants["XCLIENT"])]
        if "XFORWARD" in wants and self.forward in ("auto", "xforward"):
            before += smtp_origin.xforward(client, transaction.ident, wants["XFORWARD"])
        return before

    def _may_show(self, client: Client) -> bool:
        wants = self.extensions.get("XCLIENT", "") if self.forward in ("auto", "xclient") else ""
        return bool(wants and client != self._unshowable and smtp_origin.xclient(client, wants))

    def _answer_before(self, transaction: _Delivery, code: int, lines: list[bytes]) -> None:
        """A refused XFORWARD is no matter."""
        command = transaction.before.popleft()
        if command.startswith(b"XCLIENT"):
            self._answer_xclient(transaction, code)
            return
        if command.startswith((b"EHLO", b"LHLO")):
            if code != 250:
                self._unwelcome(transaction, smtp_replies.reply(code, lines))
                return
            self.heard_hello(lines)
        if transaction.opened:
            pass  # MAIL is under way behind it
        elif transaction.before:
            self._write(transaction.before[0])
        else:
            self._write(b"".join(transaction.opening(self._pipelining)))

    def _answer_xclient(self, transaction: _Delivery, code: int) -> None:
        shown, self._introduced = self._shown, code == 220
        if not self._introduced or shown is None:
            self._unshowable, self._shown = shown, None
            if code != 501:  # that was for this client (IPv6, to a server that has none); this is for us
                del self.extensions["XCLIENT"]
            self._open(transaction)
            return
        verb = "LHLO" if self.lmtp else "EHLO"
        hello = f"{verb} {smtp_origin.hello(shown, self.helo)}\r\n".encode()
        transaction.before.append(hello)
        self._write(hello)

    def _unwelcome(self, transaction: _Delivery, reply: Reply) -> None:
        """The peer does not greet the client we showed it: its word on this message."""
        self._finish(transaction.end(reply))
        self._end(f"host {self.peer} said: {reply} (in reply to EHLO)")

    def _send_content(self, transaction: _Delivery) -> None:
        if transaction.chunked:
            chunks = [chunk for chunk in transaction.message.chunks() if chunk]
            self._write(b"BDAT %d LAST\r\n" % sum(len(chunk) for chunk in chunks))
            transaction.pieces = smtp_content.slices(chunks)
            self._send_pieces(transaction, transaction.pieces)
        elif transaction.size <= smtp_content.PIECE:
            content = smtp_content.whole(transaction.message.chunks())
            self._write(b"".join((content, *self._behind(transaction))))
        else:
            transaction.pieces = smtp_content.pieces(transaction.message.chunks())
            self._send_pieces(transaction, transaction.pieces)

    def _send_pieces(self, transaction: _Delivery, pieces: Iterator[Buffer]) -> None:
        while not self._paused:
            piece = next(pieces, None)
            if piece is None:
                transaction.pieces = None
                self._write(b"".join(self._behind(transaction)))
                break
            self._write(piece)

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
            self._begin(self._queue[0])
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
            if transaction.chunked and transaction.in_content:
                self.chunking = False  # whatever it was: the next try goes by DATA
            result = transaction.lost(self._trouble)
            if transaction.done.done():
                continue
            if result is not None:
                transaction.done.set_result(result)
            else:
                transaction.done.set_exception(Lost(self._trouble))

    def _begin(self, transaction: _Delivery) -> None:
        """Its answers come next."""
        self._latest = self._loop.time() + self.timeouts.message + transaction.size / _SLOWEST

    @property
    def _doing(self) -> str:
        return _PHASES[self._queue[0].phase] if self._queue else self.phase

    def _check(self) -> None:
        """Every few seconds while a transaction runs: cheaper than a timer for each reply."""
        self._tick = None
        if not self._queue:
            return
        deadline = self._heard + float(getattr(self.timeouts, self._queue[0].phase))
        if self._loop.time() >= min(deadline, self._latest):
            self._end(f"conversation with {self.peer} timed out while {self._doing}")
            return
        self._tick = self._loop.call_later(self._interval, self._check)

    def _write(self, data: Buffer) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def refused(self, code: int, lines: list[bytes]) -> str:
        return f"host {self.peer} refused to talk to me: {smtp_replies.reply(code, lines)}"
