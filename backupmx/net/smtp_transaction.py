"""Pure.  smtp_transaction: MAIL, RCPT, DATA, content: one message, reply by reply.

The state of one transaction, without a socket.  `answer` takes the peer's next
reply and says what must be done now:

    MORE      wait for the next reply
    COMMAND   send `command` (a peer without PIPELINING)
    CONTENT   354, or BDAT's turn, and somebody wants it: send the message
    DOT       354 for nobody: send a lone dot (RFC 2920 3.1)
    HANG_UP   354 though MAIL was refused: it may hold recipients, and a dot
              would bring them an empty message; every recipient has its reply
    DONE      every recipient has its reply

After `lone_dot` or the content, LMTP answers once for each accepted recipient
(RFC 2033 4.2), SMTP once for all.  A refused MAIL is everybody's answer; the
refusals of RCPT that follow it are echoes.  A reply no server should give here
(3xx to the dot, 2xx to DATA) is temporary: unknown means temporary.

`chunked`: BDAT instead of DATA (RFC 3030).  It is sent when the last RCPT is
answered and somebody was accepted, never behind RCPT in the same write: a
server that is not as good as its word would read content as commands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from backupmx.mail.message import Buffer, Message
from backupmx.mail.reply import Reply
from backupmx.net.smtp_replies import reply as reply_of


@dataclass(frozen=True, slots=True)
class Result:
    """What a peer said of each recipient, in the envelope's order."""

    replies: tuple[Reply | None, ...]
    """None: no answer after the final dot; the message may have been taken."""
    lost: str = ""
    """Why there was none."""


class Next(Enum):
    MORE = auto()
    COMMAND = auto()
    CONTENT = auto()
    DOT = auto()
    HANG_UP = auto()
    DONE = auto()


class Transaction:
    __slots__ = (
        "_accepted", "_commands", "_ends", "_lmtp", "_mail_ok", "_recipients", "_replies", "_sent", "_step",
        "begun", "chunked", "dotted", "message", "pieces", "size",
    )  # fmt: skip

    def __init__(
        self, commands: list[bytes], message: Message, size: int, *, lmtp: bool = False, chunked: bool = False
    ) -> None:
        """`commands`: MAIL, each RCPT, and DATA if not `chunked`."""
        self.message = message
        self.size = size
        self.begun = False
        """Its first command was sent."""
        self.dotted = False
        """Its last octet was sent: the peer may have taken it."""
        self.chunked = chunked
        self.pieces: Iterator[Buffer] | None = None
        """Content on its way."""
        self._commands = commands
        self._lmtp = lmtp
        self._recipients = len(commands) - (1 if chunked else 2)
        self._replies: list[Reply | None] = [None] * self._recipients
        self._accepted: list[int] = []
        self._mail_ok = False
        self._sent = 0
        self._step = 0  # replies so far: MAIL, each RCPT, DATA, then the dot's
        self._ends = 0  # replies to the dot that are still to come

    def opening(self, pipelining: bool) -> list[bytes]:
        """What is sent first: every command, or only MAIL."""
        self.begun = True
        commands = self._commands if pipelining else self._commands[:1]
        self._sent = len(commands)
        return commands

    @property
    def command(self) -> bytes:
        """The next one, when `answer` said COMMAND."""
        self._sent += 1
        return self._commands[self._sent - 1]

    @property
    def opened(self) -> bool:
        """Its MAIL was sent."""
        return self._sent > 0

    @property
    def in_content(self) -> bool:
        """Its content is on its way, or answered next."""
        return self._step > self._recipients + 1

    @property
    def unfinished(self) -> bool:
        """The peer is inside a transaction that ended without content: it needs a RSET."""
        return self._mail_ok and not self.dotted

    @property
    def phase(self) -> str:
        """What the peer answers next: "mail", "rcpt", "data", "block" or "dot"."""
        if self.pieces is not None:
            return "block"
        step, last = self._step, self._recipients + 1
        return "mail" if step == 0 else "rcpt" if step < last else "data" if step == last else "dot"

    def answer(self, code: int, lines: list[bytes]) -> Next:
        """The peer's next reply."""
        step, last = self._step, self._recipients + 1
        self._step += 1
        if step > last:
            return self._answer_dot(code, lines)
        if step == last:
            return self._answer_data(code, lines)
        if code // 100 == 2:
            if step:
                self._accepted.append(step - 1)
            else:
                self._mail_ok = True
        elif step == 0:
            self._replies = [_refusal(code, lines)] * self._recipients
        elif self._mail_ok:
            self._replies[step - 1] = _refusal(code, lines)
        return self._after(step + 1, last)

    def end(self, reply: Reply) -> Result:
        """The peer's last word for those who have none: 421, or a reply before the message was whole."""
        reply = reply if reply.code >= 400 else Reply(451, "4.5.0", f"out of step: {reply}")
        return Result(tuple(reply if said is None else said for said in self._replies))

    def lost(self, why: str) -> Result | None:
        """The connection went.  None: before the final dot, so nothing was taken."""
        known = None not in self._replies
        return Result(tuple(self._replies), "" if known else why) if known or self.dotted else None

    @property
    def result(self) -> Result:
        return Result(tuple(self._replies))

    def _after(self, step: int, last: int) -> Next:
        if self._sent > step:
            return Next.MORE
        if not self._mail_ok or (step == last and not self._accepted):
            return Next.DONE
        if step < last or not self.chunked:
            return Next.COMMAND
        self._step, self._ends = last + 1, 1
        return Next.CONTENT

    def _answer_data(self, code: int, lines: list[bytes]) -> Next:
        wanted = self._mail_ok and self._accepted
        if code // 100 == 3:
            if not self._mail_ok:
                return Next.HANG_UP
            self._ends = len(self._accepted) if wanted and self._lmtp else 1
            return Next.CONTENT if wanted else Next.DOT
        if wanted:
            self._for_accepted(_refusal(code, lines))
        return Next.DONE

    def _answer_dot(self, code: int, lines: list[bytes]) -> Next:
        self._ends -= 1
        reply = reply_of(code, lines) if code // 100 == 2 else _refusal(code, lines)
        if self._lmtp and self._accepted:
            self._replies[self._accepted[-1 - self._ends]] = reply
        elif self._mail_ok:
            self._for_accepted(reply)
        return Next.DONE if self._ends == 0 else Next.MORE

    def _for_accepted(self, reply: Reply) -> None:
        for index in self._accepted:
            self._replies[index] = reply


def _refusal(code: int, lines: list[bytes]) -> Reply:
    reply = reply_of(code, lines)
    return reply if reply.code >= 400 else Reply(451, "4.5.0", f"unexpected reply: {reply}")
