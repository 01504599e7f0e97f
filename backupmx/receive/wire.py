"""wire: one client's connection.  Bytes in, commands and content out; replies in, bytes out.

    bytes ─► _work ─► smtp_VERB ─► reply, in one write for all that came together
               └ in DATA and BDAT ─► take_content

A verb answers at once with its reply, or gives an awaitable when it has to
wait (STARTTLS, the end of DATA).  While that runs, what the client sends is
kept and not looked at.  Verbs are session.py's, content is transfer.py's.

What a client can do to us
    hang up             what runs for it goes on; its reply goes nowhere
    say nothing         421 4.4.2 when `deadline` passes (the door looks, listen.py)
    not read replies    its commands wait until it does, then it is dropped
    talk nonsense       500, later and later, 421 4.7.0 after twenty errors
    hit a bug of ours   451 4.3.0, the traceback in the log, the next command works

Why aiosmtpd and so little of it?  Its verbs, its extension by `smtp_` methods
and its constructor's state are what others know; its way of reading costs a
coroutine step and two timers a line, and its set-up a quarter of a connection.

Standards: RFC 5321 4.1.1, 4.5.3; 2034 enhanced codes, 2920 PIPELINING, 3207 STARTTLS.
"""

import asyncio
import math
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeAlias, cast

from aiosmtpd.smtp import SMTP
from aiosmtpd.smtp import Session as State

from backupmx.mail.envelope import Client, Tls
from backupmx.mail.reply import Reply
from backupmx.receive import command
from backupmx.receive.anvil import Cells
from backupmx.receive.limits import PIPELINE_LIMIT
from backupmx.receive.service import Service

Later: TypeAlias = Awaitable[bytes | Reply | None]
Answer: TypeAlias = bytes | Reply | Later
"""A reply that counts as no error, with its CR LF; a reply; or what gives one, None: the verb has seen to it."""
Verb: TypeAlias = tuple[str, Callable[[Any, bytes], Answer]]
"""Its name in the log, and what it does."""

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")
_DEFAULT_STATUS = {"500": "5.5.2", "501": "5.5.4", "502": "5.5.1", "503": "5.5.1"}

_LAST_WORDS = 10.0
"""Seconds for a client to take our last reply; then the connection is dropped with it."""

_REPLIES = 100
"""Replies in one write; more are not made before the transport says whether the client reads."""

_HANDSHAKE = b"\x16\x03"
"""How a ClientHello begins (RFC 8446 5.1): it may have no line end that we would answer to."""

_UNKNOWN: Verb = ("UNKNOWN", lambda session, argument: command.UNKNOWN)
_NOTHING: Verb = ("UNKNOWN", lambda session, argument: command.BAD_SYNTAX)
_TOO_LONG: Verb = ("UNKNOWN", lambda session, argument: session.too_long())
_BARE_LF: Verb = ("UNKNOWN", lambda session, argument: session.bare_lf_command())


class Wire(SMTP, ABC):
    """aiosmtpd 1.4.6's SMTP with another engine.  tests/receive/test_aiosmtpd.py fails when it changes under us.

    Overridden, and why
        __init__         runs inspect.getmembers for each connection; `pattern` runs it once a process
        connection_made  starts a task and a stream a connection; ours are answered from data_received
        connection_lost, eof_received
                         cancel the handler, also while it commits; here it ends in its own time
        data_received, pause_writing, resume_writing
                         StreamReaderProtocol's: a stream between the bytes and us
        push             aiosmtpd's own replies lack enhanced codes
        handle_exception its answer is a permanent 500 with the exception's words
    Inherited: HELP, the table of verbs and their @syntax, `session`, the state that __init__ makes.
    """

    verbs: ClassVar[dict[bytes, Verb]]
    """What each command word does: session.py's table."""

    transport: asyncio.Transport | None
    loop: asyncio.AbstractEventLoop
    session: State

    client = Client("", 0)
    origin: tuple[str, int] | None = None
    """Whom a proxy in front of us speaks for; None: who is at the other end."""
    counted: Cells | None = None
    """Where its connections and rates are counted; None: it is spared."""
    deadline = math.inf
    in_content = False
    parting = False
    """Our last word is said."""
    strict = False
    """A line ends in CR LF and in nothing else."""
    errors = 0
    _junk = 0  # commands without a delivery that only talk
    _buffer = b""
    _busy = False  # a verb has not answered yet
    _choked = False  # the client does not read
    _eof = False  # the client's last word is said
    _overlong = False  # the rest of a command that was too long is to come
    _naming: asyncio.Task[None] | None = None
    _verb = "CONNECT"

    def __init__(self, service: Service, pattern: dict[str, Any]) -> None:
        self.__dict__.update(pattern)
        self.service = service
        self._said: dict[str, int] = {}
        self._refused: dict[str, int] = {}

    @classmethod
    def pattern(cls, service: Service, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """What aiosmtpd's constructor makes: the beginning of every session of a process."""
        made = cls.__new__(cls)
        settings = service.settings
        SMTP.__init__(
            made, None, data_size_limit=settings.message_size_limit or None, enable_SMTPUTF8=True,
            hostname=settings.hostname, ident="ESMTP backupmx", timeout=settings.timeout, loop=loop,
        )  # fmt: skip
        made._smtp_methods = {name: getattr(cls, f"smtp_{name}") for name in made._smtp_methods if name != "AUTH"}
        return vars(made) | {"_closed": None}  # StreamReaderProtocol's future, which all sessions would share

    @abstractmethod
    def take_content(self, data: bytes, at: int) -> tuple[int, Answer | None]:
        """What came while `in_content`, from `at` on.  -> where it ends, and the reply to it; None: more is to come."""

    @abstractmethod
    def lose_content(self) -> None:
        """The client is gone; what it had not finished is forgotten."""

    @abstractmethod
    def greet(self) -> None:
        """Now, or when somebody unknown has waited for it."""

    @property
    def unfinished(self) -> bool:
        """A message is coming in."""
        return self.in_content

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.session = self._create_session()
        peer = self.origin or transport.get_extra_info("peername") or ("unknown", 0)
        self.session.peer = cast(Any, peer)
        self.welcome(peer[0], peer[1])

    def welcome(
        self, address: str, port: int, name: str = "", helo: str = "", protocol: str = "SMTP", tls: Tls | None = None
    ) -> None:
        """A client, whoever told us of it: named (without `name` the DNS is asked), counted, greeted or refused."""
        assert self.transport is not None
        service, now = self.service, self.loop.time()
        self.deadline = now + service.settings.timeout
        known = name or service.names.known(address, now)
        daemon = self.transport.get_extra_info("sockname") or ("", 0)
        self.client = Client(address, port, known or "unknown", helo, protocol, tls, (daemon[0], daemon[1]))
        self.strict = service.settings.reject_bare_newline and address not in service.spared
        service.called(address)
        if known is None:
            self._naming = service.spawn(self._find_name())
        else:
            service.journal.connected(self.client)
        too_many = service.enter(self)
        if service.stopping:
            self._last_word(self.named_reply(421, "4.3.2", "Server shutting down"))
        elif too_many is not None:
            self._refuse(too_many)
        elif refusal := service.admission.connect(self.client):
            self._refuse(refusal)
        else:
            self.greet()

    async def _find_name(self) -> None:
        name = await self.service.names.find(self.client.address)
        if self._naming is not asyncio.current_task():
            return  # another client is in its place (XCLIENT)
        old = self.client
        self.client = Client(old.address, old.port, name, old.helo, old.protocol, old.tls, old.daemon)
        self._naming = None
        if self.transport is not None:
            self.service.journal.connected(self.client)

    def data_received(self, data: bytes) -> None:
        if self.parting:
            return
        self._buffer += data
        if self._verb == "CONNECT" and self._buffer.startswith(_HANDSHAKE):
            self.service.journal.tls_failed(self.client, "a handshake without STARTTLS")
            self._last_word(command.TLS_UNASKED)
        elif not self._busy and not self._choked:
            self._work()
        elif len(self._buffer) > PIPELINE_LIMIT and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool | None:
        """The client will say no more.  It may still listen: what it said is answered first."""
        self._eof = True
        return (self._busy or self._choked) and self.client.tls is None  # under TLS the answer means nothing and warns

    def connection_lost(self, error: Exception | None) -> None:
        """What runs for this client goes on: a commit is not undone by a client that hangs up."""
        if self.transport is None:
            return
        self.transport = None
        self._buffer = b""
        self.in_content = False
        self.lose_content()
        self._leave(lost=not self.parting)

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._go_on()

    def become(self, address: str, port: int, name: str, helo: str, protocol: str) -> None:
        """Begin anew as another client, for whom this one speaks (XCLIENT)."""
        if self.transport is None:
            return
        self._leave(lost=False)
        self.counted = self._naming = None
        self._said, self._refused = {}, {}
        self.welcome(address, port, name, helo, protocol, self.client.tls)

    def _leave(self, *, lost: bool) -> None:
        """This client is no more; the account of what it said."""
        self.service.leave(self)
        journal = self.service.journal
        if self._naming is not None:
            journal.connected(self.client)
        if lost:
            journal.lost(self.client, self._verb)
        journal.disconnected(self.client, command.account(self._said, self._refused))

    # Endings

    def timed_out(self) -> None:
        """`deadline` has passed: a reason, or the end when our last word was not even read."""
        if self.parting:
            self.abort()
            return
        self.service.journal.timed_out(self.client, self._verb, self.service.settings.timeout)
        self._last_word(self.named_reply(421, "4.4.2", "Error: timeout exceeded"))

    def stop(self) -> None:
        """We are told to stop: at a command border this is the end; a message that comes in is finished."""
        if not self._busy and not self.unfinished and not self.parting:
            self._last_word(self.named_reply(421, "4.3.2", "Server shutting down"))

    def abort(self) -> None:
        """The time for ending well is over."""
        if self.transport is not None:
            self.transport.abort()

    def _last_word(self, reply: Reply) -> None:
        if self.transport is not None:
            self.transport.write(line(reply))
        self._part()

    def _part(self) -> None:
        """No more from us.  What a client still sends is read and dropped: closing on unread bytes resets the
        connection, and the reset would overtake our last word.  Not where it has said nothing yet: clients whom
        we do not even greet would hold the places of others."""
        self.parting = True
        self.service.left.set()
        self.deadline = self.loop.time() + _LAST_WORDS
        if self.transport is None:
            return
        if self._eof or self._verb in ("QUIT", "CONNECT") or not self.transport.can_write_eof():
            self.transport.close()
        else:
            try:
                self.transport.write_eof()
                self.transport.resume_reading()
            except OSError:
                self.transport.abort()  # the client is gone, we have not been told yet

    def _refuse(self, reply: Reply) -> None:
        self.service.journal.refused("CONNECT", self.client, reply)
        self._last_word(reply)

    def too_long(self) -> Reply:
        setting = f"line_length_limit={self.service.settings.line_length_limit}"
        self.service.journal.refused(self._verb, self.client, command.TOO_LONG, setting=setting)
        return command.TOO_LONG

    def bare_lf(self) -> Reply:
        """smtp.forbid_bare_newline = "reject", in Postfix's words."""
        reply = self.named_reply(550, "5.5.2", "Error: bare <LF> received")
        self.service.journal.refused(self._verb, self.client, reply, setting="smtp.forbid_bare_newline=reject")
        return reply

    def bare_lf_command(self) -> Reply:
        """Whose commands end so may be somebody whom another server made talk to us: out of step, so it ends."""
        self.parting = True
        return self.bare_lf()

    def named_reply(self, code: int, status: str, text: str) -> Reply:
        """Postfix names itself in replies that end a session."""
        return Reply(code, status, f"{self.service.settings.hostname} {text}")

    # Commands and content

    def _work(self) -> None:
        """Take everything that is here, as long as each command and each content is answered at once."""
        replies: list[bytes] = []
        buffer, at = self._buffer, 0
        try:
            while at < len(buffer) and not (self._busy or self.parting or self._choked):
                if self.in_content:
                    at, answer = self.take_content(buffer, at)
                    if answer is None:
                        break
                    replies.append(self._reply_to(answer))
                else:
                    end = buffer.find(b"\n", at)
                    if end < 0:
                        break
                    replies.append(self._obey(buffer[at:end]))
                    at = end + 1
                if len(replies) == _REPLIES and self.transport is not None:
                    self.transport.write(b"".join(replies))
                    replies = []
        except Exception as error:  # the verbs' own are caught in _obey: this one leaves us out of step
            self._last_word(self._bug(error))
            return
        self._buffer = buffer[at:]
        if self.transport is None:
            return
        if reply := b"".join(replies):
            self.transport.write(reply)
        if self.parting:
            self._part()
        elif len(self._buffer) > self.service.settings.line_length_limit and not self._busy and not self._choked:
            self._overlong, self._buffer = True, b""
        elif self.service.stopping:
            self.stop()

    def _obey(self, command_line: bytes) -> bytes:
        """One command; b"" when its reply comes later."""
        settings = self.service.settings
        self.deadline = self.loop.time() + settings.timeout
        words = command_line.split(None, 1)
        if self._overlong or len(command_line) > settings.line_length_limit:
            self._overlong = False
            verb, method = _TOO_LONG
        elif self.strict and command_line[-1:] != b"\r":
            verb, method = _BARE_LF
        else:
            verb, method = self.verbs.get(words[0].upper(), _UNKNOWN) if words else _NOTHING
        self._verb = verb
        self._said[verb] = self._said.get(verb, 0) + 1
        try:
            answer = method(self, words[1].rstrip() if len(words) > 1 else b"")
        except Exception as error:
            answer = self._bug(error)
        if isinstance(answer, bytes) and self.errors <= settings.hard_error_limit:
            return answer
        return self._reply_to(answer)

    def _reply_to(self, answer: Answer) -> bytes:
        """What goes out now; b"" when it comes later."""
        if isinstance(answer, bytes):
            return self._after_error(answer) if self.errors > self.service.settings.hard_error_limit else answer
        if isinstance(answer, Reply):
            return self._worded(answer)
        self._wait_for(answer)
        return b""

    def _worded(self, reply: Reply) -> bytes:
        if reply.code < 400:
            return line(reply)
        self._refused[self._verb] = self._refused.get(self._verb, 0) + 1
        self.errors += 1
        return self._after_error(line(reply))

    def _after_error(self, reply: bytes) -> bytes:
        """After some errors the client waits, after too many it goes (smtpd_soft_error_limit, hard)."""
        settings = self.service.settings
        if self.parting:
            return reply
        if self.errors > settings.hard_error_limit:
            self.parting = True
            junk = settings.junk_command_limit if self._junk > settings.junk_command_limit else 0
            self.service.journal.too_many_errors(self.client, self._verb, settings.hard_error_limit, junk)
            return reply + line(self.named_reply(421, "4.7.0", "Error: too many errors"))
        spared = not settings.error_delay or self.client.address in self.service.spared
        if spared or self.errors < settings.soft_error_limit:
            return reply
        self._wait_for(_after(settings.error_delay, reply))
        return b""

    def _bug(self, error: Exception) -> Reply:
        self.service.journal.bug(f"{self._verb} from {self.client}", error)
        return command.BUG

    # Waiting

    def _wait_for(self, answer: Later) -> None:
        self._busy = True
        self.deadline = math.inf
        self.service.spawn(self._reply_when_done(answer))

    async def _reply_when_done(self, answer: Later) -> None:
        try:
            reply = await answer
        except Exception as error:
            reply = self._bug(error)
        self._busy = False
        if self.transport is None:
            return
        self.deadline = self.loop.time() + self.service.settings.timeout
        if reply:
            self.transport.write(line(reply) if isinstance(reply, Reply) else reply)
        self._go_on()

    def _go_on(self) -> None:
        """After a pause: the commands that came meanwhile, or the end."""
        if self.service.stopping:
            self.stop()
        if self._buffer and not (self._busy or self._choked or self.parting):
            self._work()
        if self._busy or self._choked or self.parting or self.transport is None or self.transport.is_closing():
            return
        if self._eof:
            self._part()
        else:
            self.transport.resume_reading()

    def read_on(self) -> None:
        """What made us stop reading content is over."""
        if self.transport is not None and not self._busy and not self.transport.is_closing():
            self.transport.resume_reading()

    async def push(self, status: str | bytes) -> None:
        """For verbs of aiosmtpd's own making."""
        text = status if isinstance(status, str) else status.decode("utf-8", "replace")
        code, _, words = text.partition(" ")
        if not _ENHANCED.match(words) and code[:1] in ("2", "4", "5"):
            words = f"{_DEFAULT_STATUS.get(code, f'{code[0]}.0.0')} {words}"
        if self.transport is not None:
            self.transport.write(f"{code} {words}\r\n".encode())

    async def handle_exception(self, error: Exception) -> str:
        return str(self._bug(error))

    # STARTTLS

    async def start_tls(self, context: ssl.SSLContext) -> Tls | None:
        """Turn to TLS; None: it failed and the connection is gone.

        RFC 3207 4.2: what the client sent ahead is forgotten.  Nothing can come in clear between that and
        the handshake: reading stops here, and start_tls changes the protocol before it waits.
        """
        before, self._buffer = self.transport, b""
        patience = self.service.settings.handshake_timeout
        if before is None:
            return None
        before.pause_reading()
        before.write(b"220 2.0.0 Ready to start TLS\r\n")
        try:
            secured = await self.loop.start_tls(
                before, self, context, server_side=True,
                ssl_handshake_timeout=patience,
            )  # fmt: skip
        except OSError as error:
            why = getattr(error, "reason", None) or type(error).__name__
            if isinstance(error, ConnectionAbortedError):  # both loops' word for this, and for nothing else
                why = f"it did not end in time [handshake_timeout={patience:g}s]"
            self.service.journal.tls_failed(self.client, why)
            secured = None
        if secured is None or self.transport is None:
            before.abort()
            self.parting = True
            self.connection_lost(None)
            return None
        if not before.is_closing():  # `data_received` may have stopped it: it knew of no other
            before.resume_reading()
        self.transport = secured  # what is in the buffer now came encrypted, with the end of the handshake
        self.session = self._create_session()
        negotiated = secured.get_extra_info("ssl_object")
        name, version, bits = negotiated.cipher()
        return Tls(negotiated.version() or version, name, bits, bool(negotiated.session_reused))


def line(reply: Reply) -> bytes:
    return reply.encode() + b"\r\n"


async def _after(delay: float, reply: bytes) -> bytes:
    await asyncio.sleep(delay)
    return reply
