"""Pure.  milter_answers: what a milter says of a step, and what it wants done to a message.

    answer(command, data)    one frame -> Continue, Accept, Discard, Skip,
                             Progress, Refuse: after any step
                             AddHeader ... Quarantine: at the end of a message

A reply code in its own words is kept: "550 5.7.1 text", in one line or several.
Without an enhanced code it gets x.7.1.  421 becomes 451: we do not hang up.

Trouble
    Nonsense   no such answer, data where none belongs, strings without an
               end, a header name that is none
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from backupmx.mail.reply import Reply
from backupmx.net.milter_codec import Nonsense

# What a milter answers to a step


@dataclass(frozen=True, slots=True)
class Continue:
    pass


@dataclass(frozen=True, slots=True)
class Accept:
    pass


@dataclass(frozen=True, slots=True)
class Discard:
    pass


@dataclass(frozen=True, slots=True)
class Skip:
    """It has seen enough of the body."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Still at work: wait on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reject, tempfail, or a reply in its own words."""

    reply: Reply


Answer: TypeAlias = Continue | Accept | Discard | Skip | Progress | Refuse


# What it asks for at the end of a message


@dataclass(frozen=True, slots=True)
class AddHeader:
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class InsertHeader:
    index: int
    """0: on top of everything, 1: after the first header ..."""
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ChangeHeader:
    index: int
    """1: the first of that name."""
    name: bytes
    value: bytes
    """b"": delete it."""


@dataclass(frozen=True, slots=True)
class ReplaceBody:
    chunk: bytes
    """All chunks together are the new body."""


@dataclass(frozen=True, slots=True)
class AddRecipient:
    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteRecipient:
    path: bytes


@dataclass(frozen=True, slots=True)
class ChangeSender:
    path: bytes
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class Quarantine:
    reason: str


Edit: TypeAlias = (
    AddHeader | InsertHeader | ChangeHeader | ReplaceBody | AddRecipient | DeleteRecipient | ChangeSender | Quarantine
)

# Postfix's words (milter8.c).
REJECTED = Reply(550, "5.7.1", "Command rejected")
TRY_AGAIN = Reply(451, "4.7.1", "Service unavailable - try again later")


def answer(command: bytes, data: bytes) -> Answer | Edit:
    """What a frame means.  Raises Nonsense."""
    if command in _PLAIN:
        if data:
            raise Nonsense(f"data after answer {command!r}")
        return _PLAIN[command]
    if command not in _READERS:
        raise Nonsense(f"answer {command!r}")
    return _READERS[command](data)


def _reply(data: bytes) -> Refuse:
    """ "550 5.7.1 text", in one or several lines; "%%" is "%" (libmilter doubles it)."""
    (text,) = _texts(data, 1)
    code = ""
    lines: list[str] = []
    for line in re.split(r"\r?\n", text.replace(b"%%", b"%").decode("utf-8", "surrogateescape")):
        match = _REPLY_LINE.fullmatch(line)
        if match is None or code not in ("", match[1]):
            raise Nonsense(f"reply {line[:60]!r}")
        code, status = match[1], match[2] or ""
        rest = match[3] or ""
        lines.append(f"{status} {rest}".strip() if not lines else rest)
    # 421 would mean that we hang up (RFC 5321 4.2.2), and at the end of the message we do not.
    number = 451 if code == "421" else int(code)
    return Refuse(_with_status(Reply.from_peer(number, [line for line in lines if line])))


def _with_status(reply: Reply) -> Reply:
    if reply.status:
        return reply
    return Reply(reply.code, f"{str(reply.code)[0]}.7.1", reply.text or REJECTED.text)


def _texts(data: bytes, count: int) -> list[bytes]:
    """Exactly so many strings.  Raises Nonsense."""
    parts = data.split(b"\0", count)
    if len(parts) != count + 1 or parts[-1]:
        raise Nonsense(f"{count} strings wanted")
    return parts[:-1]


def _numbered(data: bytes) -> tuple[int, bytes, bytes]:
    if len(data) < 4:
        raise Nonsense("a header index cut short")
    name, value = _texts(data[4:], 2)
    index = int.from_bytes(data[:4], "big")
    if index >= 1 << 31:
        raise Nonsense(f"header index {index}")
    return index, _named(name), value


def _named(name: bytes) -> bytes:
    """A name that is none would end the header block, or become part of another header."""
    if not _NAME.fullmatch(name):
        raise Nonsense(f"header name {name[:60]!r}")
    return name


def _header(data: bytes) -> AddHeader:
    name, value = _texts(data, 2)
    return AddHeader(_named(name), value)


def _path(data: bytes) -> tuple[bytes, bytes]:
    """An address and, perhaps, ESMTP parameters."""
    path, nul, rest = data.partition(b"\0")
    if not nul:
        raise Nonsense("an address without an end")
    return path, _texts(rest, 1)[0] if rest else b""


_NAME = re.compile(rb"[!-9;-~]{1,998}")
_REPLY_LINE = re.compile(r"([45][0-9][0-9])(?:[ -](?:([45]\.[0-9]{1,3}\.[0-9]{1,3})(?= |$))? ?(.*))?", re.DOTALL)
_PLAIN: dict[bytes, Answer] = {
    b"c": Continue(), b"a": Accept(), b"d": Discard(), b"s": Skip(), b"p": Progress(),
    b"r": Refuse(REJECTED), b"t": Refuse(TRY_AGAIN),
    b"4": Refuse(TRY_AGAIN),  # SMFIR_SHUTDOWN: 421 and the connection's end, which come too late here
    b"f": Refuse(TRY_AGAIN),  # SMFIR_CONN_FAIL
}  # fmt: skip
_READERS: dict[bytes, Callable[[bytes], Answer | Edit]] = {
    b"y": _reply,
    b"h": _header,
    b"i": lambda data: InsertHeader(*_numbered(data)),
    b"m": lambda data: ChangeHeader(*_numbered(data)),
    b"b": ReplaceBody,
    b"+": lambda data: AddRecipient(_texts(data, 1)[0]),
    b"2": lambda data: AddRecipient(*_path(data)),
    b"-": lambda data: DeleteRecipient(_texts(data, 1)[0]),
    b"e": lambda data: ChangeSender(*_path(data)),
    b"q": lambda data: Quarantine(_texts(data, 1)[0].decode("utf-8", "replace")),
}
