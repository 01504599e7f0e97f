"""Pure.  milter_codec: the frames of the milter protocol, version 6, as the MTA speaks it.

A frame is four octets of length, one of command, and data (strings end in NUL).

    offer() ─► negotiated(data)            what the milter wants to see and may do
    frame, strings, macro_frame            what we say
    length(four)                           how much of its answer follows; milter_answers reads that

The first thing a milter says is which steps of a session it does not want
(SMFIP_NO*) and after which it will not answer (SMFIP_NR_*); it may also choose
the macros it gets (SMFIF_SETSYMLIST).

Trouble
    Nonsense   these octets are no frame, or no answer to what we asked

A length is believed up to 1 MiB: libmilter never writes more than 64 KiB and a
name.  Nothing is read that a length did not announce, and no answer needs more
memory than its frame.

Why not kilter-protocol?  Tried: a length of zero leaves it out of step for
good, and HELO "a..b", which clients do send, raises UnicodeError.

Standards: none; libmilter's mfdef.h and Postfix's milter8.c are the protocol.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST = 1 << 20
CHUNK = 65535
"""Octets of a body in one frame: MILTER_CHUNK_SIZE."""
VERSION = 6

ACTIONS = 0x1FF
"""SMFIF_*: add headers, change the body, add and delete recipients, change headers, quarantine, change the sender,
add recipients with parameters, choose macros.  All that there are."""
LEADING_SPACE = 0x100000
"""SMFIP_HDR_LEADSPC: the blank after a header's colon is part of its value."""
SKIP = 0x400


class Nonsense(ValueError):
    """What came is no milter protocol, or not its turn.  The text says what."""


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a session."""

    name: str
    """As Postfix's log calls it."""
    command: bytes
    declined: int
    """The bit with which a milter says that it does not want it (SMFIP_NO*)."""
    silent: int
    """The bit with which it says that it will not answer (SMFIP_NR_*)."""
    stage: int = -1
    """Its number in a list of macros (SMFIM_*)."""


CONNECT = Step("CONNECT", b"C", 0x1, 0x1000, 0)
HELO = Step("HELO", b"H", 0x2, 0x2000, 1)
MAIL = Step("MAIL", b"M", 0x4, 0x4000, 2)
RCPT = Step("RCPT", b"R", 0x8, 0x8000, 3)
DATA = Step("DATA", b"T", 0x200, 0x10000, 4)
HEADER = Step("HEADER", b"L", 0x20, 0x80)
END_OF_HEADER = Step("END-OF-HEADER", b"N", 0x40, 0x40000, 6)
BODY = Step("BODY", b"B", 0x10, 0x80000)
END_OF_MESSAGE = Step("END-OF-MESSAGE", b"E", 0, 0, 5)

STEPS = (CONNECT, HELO, MAIL, RCPT, DATA, HEADER, END_OF_HEADER, BODY, END_OF_MESSAGE)
# SMFIP_NOUNKNOWN 0x100 and NR_UNKN 0x20000: we never report an unknown command, so both may be wished.
# SMFIP_RCPT_REJ 0x800 is not offered: who was refused at the door is not in the message.
_OFFERED = sum(step.declined | step.silent for step in STEPS) | 0x100 | 0x20000 | SKIP | LEADING_SPACE


@dataclass(frozen=True, slots=True)
class Terms:
    """What was negotiated."""

    version: int
    actions: int
    steps: int
    macros: Mapping[int, tuple[str, ...]]
    """By stage: the names a milter wants in place of the usual ones."""

    def wants(self, step: Step) -> bool:
        return not self.steps & step.declined

    def answers(self, step: Step) -> bool:
        return not self.steps & step.silent

    @property
    def leading_space(self) -> bool:
        return bool(self.steps & LEADING_SPACE)


# What we say


def frame(command: bytes, *data: bytes) -> bytes:
    size = 1 + sum(map(len, data))
    return b"".join((struct.pack("!I", size), command, *data))


def strings(*values: bytes) -> bytes:
    """Each value and its NUL.  A NUL inside ends the value, as in any C program."""
    return b"".join(value.partition(b"\0")[0] + b"\0" for value in values)


def offer() -> bytes:
    """The first frame: our version, what a milter may do, what it may decline."""
    return frame(b"O", struct.pack("!III", VERSION, ACTIONS, _OFFERED))


def connect_data(name: bytes, address: bytes, port: int) -> bytes:
    family = b"6" if b":" in address else b"4"
    return strings(name) + family + struct.pack("!H", port & 0xFFFF) + strings(address)


def macro_frame(step: Step, macros: Iterable[tuple[str, str]]) -> bytes:
    """The values that come before a step; b"" when there is none."""
    pairs = [_encoded(word) for pair in macros for word in pair]
    return frame(b"D", step.command, strings(*pairs)) if pairs else b""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


# What it says


def length(four: bytes) -> int:
    """Octets of the frame that follows, its command included.  Raises Nonsense."""
    size = int.from_bytes(four, "big")
    if not 1 <= size <= LONGEST:
        raise Nonsense(f"a frame of {size} octets")
    return size


def negotiated(data: bytes) -> Terms:
    """The data of its answer to `offer`.  Raises Nonsense."""
    if len(data) < 12:
        raise Nonsense("a negotiation cut short")
    version, actions, steps = struct.unpack_from("!III", data)
    if not 2 <= version <= VERSION:
        raise Nonsense(f"protocol version {version}, we speak 2 to {VERSION}")
    if actions & ~ACTIONS:
        raise Nonsense(f"it wants to do what nobody knows (0x{actions & ~ACTIONS:x})")
    return Terms(version, actions, steps & _OFFERED, dict(_macro_lists(data[12:])))


def _macro_lists(data: bytes) -> Iterable[tuple[int, tuple[str, ...]]]:
    while data:
        if len(data) < 5:
            raise Nonsense("a list of macros cut short")
        stage = int.from_bytes(data[:4], "big")
        names, nul, data = data[4:].partition(b"\0")
        if not nul:
            raise Nonsense("a list of macros without an end")
        yield stage, tuple(names.decode("utf-8", "replace").replace(",", " ").split())
