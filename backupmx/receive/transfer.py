"""transfer: a transaction's content, from DATA or the first BDAT to our reply.

    DATA ─► Unstuffing ─┐
                        ├─► Body ─► the final dot, BDAT LAST ─► accept() ─► our reply
    BDAT ─► Chunks ─────┘

The state of a transaction lasts from MAIL to the final dot or the last chunk,
RSET, HELO, EHLO or STARTTLS, whatever the reply was (RFC 5321 4.1.1.4): a
second message cannot inherit the first one's recipients.

A chunk is as long as it says, so a chunk that is refused is read and dropped
before its refusal goes out: what follows it are commands again.  After a
refusal the transaction is gone, but what the client sent ahead of it may
still be chunks: they are dropped too (551), until the last one, RSET or a
greeting.  MAIL and RCPT wait for that.  Where we cannot tell how long a chunk
is, or it is so long that reading it is a service to nobody, we say why and
hang up.

Trouble
    QueueTrouble, OSError   the disk: 451 or 452, nothing was promised.
    any other exception     a bug: the wire says 451 4.3.0.

Why is BINARYMIME not offered?  Content without line ends cannot be relayed
to a primary that does not take it; Postfix does not offer it either.

Standards: RFC 5321 4.1.1.4; 3030 CHUNKING.
"""

import asyncio
import errno
import math
from typing import Any

from aiosmtpd.smtp import syntax

from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.reply import Reply
from backupmx.queue.entry import QueueFull, QueueTrouble
from backupmx.receive import command
from backupmx.receive.data import Chunks, Unstuffing
from backupmx.receive.limits import DATA_RATE, SWALLOWED
from backupmx.receive.sender import Doubt
from backupmx.receive.service import Service
from backupmx.receive.spool import Body
from backupmx.receive.wire import Answer, Wire


class Transfer(Wire):
    """The state of a transaction and its content.  aiosmtpd's smtp_DATA holds the message in memory three times,
    refuses long lines, and passes bare CR and LF on; it knows no BDAT."""

    _mail: command.Mail | None = None
    """There is a transaction."""
    _doubt: Doubt | None = None
    """About its sender."""
    _doubting: asyncio.Task[None] | None = None
    _rejected = False
    """A recipient was."""
    _overshoot = 0
    """Recipients beyond the limit."""
    _queue_id = ""
    _body: Body | None = None
    """Content, as far as it has come."""
    _unstuffing: Unstuffing | None = None
    """It comes by DATA."""
    _chunks: Chunks | None = None
    """It comes by BDAT."""
    _in_chunks = False
    """Between the first BDAT and the last."""
    # The chunk that comes, or came last
    _count = _left = 0
    _last = False
    _refusal: Reply | None = None
    _pace = math.inf
    """When the transfer is too slow."""

    def __init__(self, service: Service, pattern: dict[str, Any]) -> None:
        super().__init__(service, pattern)
        self._recipients: list[Recipient] = []

    def _forget(self) -> None:
        """No transaction."""
        if self._mail is None and not self._in_chunks:
            return
        self._mail = self._doubt = self._doubting = None
        self._recipients = []
        self._rejected = self._in_chunks = False
        self._overshoot = 0
        self._queue_id = ""
        if self._body is not None:
            self._body.discard()
            self._body = self._unstuffing = self._chunks = None

    @property
    def unfinished(self) -> bool:
        return self.in_content or self._chunks is not None

    @syntax("DATA")
    def smtp_DATA(self, argument: bytes) -> Answer:
        if self._in_chunks:
            return command.DATA_AFTER_BDAT
        if argument:
            return command.DATA_SYNTAX
        if not self.client.helo:
            return command.HELO_FIRST
        if not self._recipients:
            return command.NO_RECIPIENTS if self._rejected else command.NEED_RCPT
        self._body = self._new_body()
        self._unstuffing = Unstuffing(strict=self.strict)
        self.in_content = True
        return command.GO_AHEAD

    @syntax("BDAT count [LAST]")
    def smtp_BDAT(self, argument: bytes) -> Answer:
        asked = command.bdat(argument)
        if isinstance(asked, Reply):
            self.parting = True  # what follows may be commands or content: nobody can tell
            return asked
        self._count, self._last = asked
        self._left = self._count
        self._refusal = self._refuse_chunk()
        if self._refusal is not None:
            self._spoil()
            if self._beyond_reason(self._count):
                self.parting = True
                return self._refusal
        elif self._chunks is None:
            self._body = self._new_body()
            self._chunks = Chunks(strict=self.strict)
            self._in_chunks = True
            self._pace = self.deadline
        self.deadline = min(self.deadline, self._pace)
        if not self._left:
            return self._end_of_chunk()
        self.in_content = True
        return b""

    def _refuse_chunk(self) -> Reply | None:
        limit, body, chunks = self.service.settings.message_size_limit, self._body, self._chunks
        if not self._count and not self._last:
            return command.NULL_BDAT
        if self._in_chunks and self._chunks is None:
            return Reply(551, "5.0.0", f"Discarded {self._count} bytes after earlier error")
        if not self.client.helo:
            return command.HELO_FIRST
        if self._mail is None:
            return command.NEED_RCPT
        if not self._recipients:
            return command.NO_RECIPIENTS
        sent = body.size + chunks.held if body and chunks else 0
        if not limit or self._count <= limit - sent:
            return None
        return self._too_big("BDAT", command.CHUNK_TOO_BIG, self._envelope(self._mail), self._queue_id)

    def _spoil(self) -> None:
        """The message is lost; chunks may follow that belong to it."""
        pace = self._pace if self._in_chunks else self.deadline
        self._forget()
        self._in_chunks, self._pace = not self._last, pace

    def _beyond_reason(self, octets: int) -> bool:
        """So many that dropping them is a service to nobody."""
        limit = self.service.settings.message_size_limit
        return limit > 0 and octets > SWALLOWED * limit

    def _new_body(self) -> Body:
        settings = self.service.settings
        name = f"{self._queue_id}.in{settings.spool_mark}"
        path = f"{settings.spool_folder}/{name}" if settings.spool_folder else ""
        return Body(
            path, settings.spool_above, self.service.pool, self.read_on, self.service.budget, floor=settings.min_free
        )

    # Content

    def take_content(self, data: bytes, at: int) -> tuple[int, Answer | None]:
        if self._unstuffing is None:
            return self._take_chunk(data, at)
        assert self._body is not None
        piece, rest = self._unstuffing.feed(data[at:])
        self._add(self._body, piece)
        if rest is not None:
            self.in_content = False
            return len(data) - len(rest), self._end_of_content(self._unstuffing.bare_lf)
        if self._beyond_reason(self._body.size):
            self.parting = True
            return len(data), command.TOO_BIG
        self.deadline = self._by_rate(self.deadline, len(data) - at)
        return len(data), None

    def _take_chunk(self, data: bytes, at: int) -> tuple[int, Answer | None]:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        self.deadline = self._pace = self._by_rate(self._pace, len(piece))
        if self._chunks is not None and self._body is not None:
            self._add(self._body, self._chunks.feed(piece))
        return at + len(piece), None if self._left else self._end_of_chunk()

    def _end_of_chunk(self) -> Answer:
        self.in_content = False
        if self._refusal is not None:
            return self._refusal
        assert self._chunks is not None
        assert self._body is not None
        if self._chunks.bare_lf:
            self._spoil()
            return self.bare_lf()
        if self._last:
            self._add(self._body, self._chunks.end())
            return self._end_of_content(bare_lf=False)
        said = f"250 2.0.0 Ok: {self._count} bytes\r\n".encode()
        return self._when_written(self._body, said) if self._body.behind else said

    async def _when_written(self, body: Body, said: bytes) -> bytes | Reply:
        """The client sends the next chunk when this one has left our memory."""
        try:
            await body.caught_up()
        except OSError as error:
            self._spoil()
            return self._disk_trouble(error)
        return said

    def _by_rate(self, deadline: float, octets: int) -> float:
        return min(self.loop.time() + self.service.settings.timeout, deadline + octets / DATA_RATE)

    def _add(self, body: Body, piece: bytes) -> None:
        limit = self.service.settings.message_size_limit
        if limit and body.size + len(piece) > limit:
            body.discard()  # it still counts; the client hears of it at the end (RFC 1870 6.3)
        if not body.add(piece) and self.transport is not None:
            self.transport.pause_reading()

    def lose_content(self) -> None:
        if self._body is not None:
            self._forget()

    # The end

    def _end_of_content(self, bare_lf: bool) -> Answer:
        """The transaction is over, whatever becomes of the message."""
        mail, body, counted = self._mail, self._body, self._chunks is not None
        assert mail is not None
        assert body is not None
        work = self._deliver(self._envelope(mail), body, self._queue_id, bare_lf=bare_lf, counted=counted)
        self._body = self._unstuffing = self._chunks = None  # not to be discarded
        self._forget()
        return work

    def _envelope(self, mail: command.Mail) -> Envelope:
        return Envelope(mail.sender, tuple(self._recipients), mail.body, mail.smtputf8, mail.ret, mail.envid)

    async def _deliver(self, envelope: Envelope, body: Body, queue_id: str, *, bare_lf: bool, counted: bool) -> Reply:
        """The content is complete: what becomes of the message, and our reply; `counted`: with the size in it."""
        limit = self.service.settings.message_size_limit
        if limit and body.size > limit:
            body.discard()
            reply = self._too_big("END-OF-MESSAGE", command.TOO_BIG, envelope, queue_id)
        elif inability := self.service.abilities and self.service.abilities.content(envelope.addresses, body.size):
            body.discard()
            reply = self._too_big("END-OF-MESSAGE", inability.reply, envelope, queue_id, inability.which)
        elif bare_lf:
            body.discard()
            reply = self.bare_lf()
        else:
            reply = await self._accept(envelope, body, queue_id)
        if reply.code < 300:
            self.errors = self._junk = 0
        else:
            self._refused[self._verb] = self._refused.get(self._verb, 0) + 1
            self.errors += 1
        if counted and reply.code == 250:
            return Reply(250, reply.status, f"Ok: {body.size} bytes {reply.text.removeprefix('Ok: ')}")
        return reply

    async def _accept(self, envelope: Envelope, body: Body, queue_id: str) -> Reply:
        try:
            content = await body.finish()
        except OSError as error:
            body.discard()
            return self._disk_trouble(error)
        try:
            return await self.service.accept(self.client, envelope, content, queue_id)
        except QueueTrouble as trouble:
            if type(trouble) not in (QueueTrouble, QueueFull):
                content.kept()  # a kind that cannot say whether the commit was made: the file waits for the sweep
            return trouble.reply
        except BaseException:
            content.kept()  # a bug behind the commit must not take the queue's file away
            raise
        finally:
            body.discard()

    def _disk_trouble(self, error: OSError) -> Reply:
        self.service.journal.queue_trouble(f"spool: {error}")
        return QueueFull.reply if error.errno in (errno.ENOSPC, errno.EDQUOT) else QueueTrouble.reply

    def _too_big(self, stage: str, reply: Reply, envelope: Envelope, queue_id: str, setting: str = "") -> Reply:
        setting = setting or f"smtp.message_size_limit={self.service.settings.message_size_limit}"
        self.service.journal.refused(
            stage, self.client, reply, sender=envelope.sender, recipient=envelope.recipients[0].address,
            queue_id=queue_id, setting=setting,
        )  # fmt: skip
        return reply
