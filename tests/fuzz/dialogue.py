"""dialogue: what a client of the fuzzer does, and how one dialogue becomes another.

A dialogue is pieces, each sent in one write, and how it ends.  The first ones
are what tests/dialogues/ records; `mutated` cuts, joins, repeats, swaps and
damages them.  The same random.Random gives the same dialogue.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path

from tests.dialogues.test_dialogues import STEP, sent

LONGEST = 20_000
"""Octets of one dialogue: what is longer is slower, not odder."""

WORDS = [
    b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"MAIL FROM:<> SIZE=1 BODY=8BITMIME\r\n",
    b"RCPT TO:<user@example.jp>\r\n", b"RCPT TO:<postmaster>\r\n", b"DATA\r\n", b".\r\n", b"\r\n.\r\n", b"RSET\r\n",
    b"BDAT 3\r\nabc", b"BDAT 0 LAST\r\n", b"BDAT 5 LAST\r\na\r\n.\r", b"BDAT 99999999999999999\r\n", b"NOOP\r\n",
    b"VRFY user@example.jp\r\n", b"HELP\r\n", b"HELP MAIL\r\n", b"ETRN example.jp\r\n", b"STARTTLS\r\n", b"QUIT\r\n",
    b"XCLIENT ADDR=192.0.2.1 NAME=x.example\r\n", b"XCLIENT ADDR=IPV6:2001:db8::1 HELO=y PROTO=ESMTP\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n", b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    b"\0", b"\r", b"\n", b"\r\n", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\r", b"\xff\xfe", b"\xe3\x81\x82",
    b"\x16\x03\x01",
    b" ", b"\t", b"<", b">", b":", b"@", b'"', b"\\", b"(", b",", b"[IPv6:::1]", b"=", b"+41", b"%s", b"{0}", b"-1",
    b" SMTPUTF8", b" RET=HDRS ENVID=x", b" NOTIFY=NEVER ORCPT=rfc822;a+40b",
    b"x" * 600, b"Subject: x\r\n",
    b"AUTH PLAIN\r\n",
]  # fmt: skip


class End(Enum):
    """How a dialogue ends, when the client has sent everything."""

    LISTENS = auto()  # half-closed: every reply is read
    CLOSES = auto()
    RESETS = auto()


@dataclass(frozen=True, slots=True)
class Dialogue:
    pieces: tuple[bytes, ...]
    end: End = End.LISTENS

    @property
    def octets(self) -> bytes:
        return b"".join(self.pieces)


def recorded() -> list[Dialogue]:
    """Those of tests/dialogues, a piece where the client waits for a reply."""
    folder = Path(__file__).parents[1] / "dialogues"
    return [dialogue for path in sorted(folder.glob("*.smtp")) if (dialogue := _read(path.read_text("utf-8")))]


def _read(script: str) -> Dialogue | None:
    pieces, piece = [], b""
    for match in filter(None, map(STEP.fullmatch, script.split("\n"))):
        if match[1] in "CcbB":
            piece += sent(match[1], match[3] or "") * min(int(match[2] or 1), 30)
        elif piece:
            pieces.append(piece)
            piece = b""
    whole = sum(map(len, pieces)) + len(piece)
    return Dialogue((*pieces, piece)) if 0 < whole <= LONGEST else None


def mutated(dialogues: Sequence[Dialogue], chance: random.Random) -> Dialogue:
    """A new one out of these."""
    octets = bytearray(chance.choice(dialogues).octets)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8))):
        chance.choice(_WAYS)(octets, chance, dialogues)
    del octets[LONGEST:]
    end = chance.choices((End.LISTENS, End.CLOSES, End.RESETS), (8, 1, 1))[0]
    return Dialogue(_cut(bytes(octets), chance), end)


def _cut(octets: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """Whole, at line ends, or anywhere."""
    way = chance.randrange(4)
    if way == 0 or not octets:
        return (octets,)
    if way == 1:
        return tuple(re.findall(rb"[^\n]*\n|[^\n]+", octets))
    edges = sorted({0, len(octets), *(chance.randrange(len(octets)) for _ in range(chance.choice((1, 2, 9))))})
    return tuple(octets[a:b] for a, b in pairwise(edges))


def _somewhere(octets: bytearray, chance: random.Random) -> slice:
    start = chance.randrange(len(octets) + 1)
    return slice(start, min(len(octets), start + chance.choice((0, 1, 2, 4, 16, 64, 512))))


def _insert(octets: bytearray, chance: random.Random, _: Sequence[Dialogue]) -> None:
    at = chance.randrange(len(octets) + 1)
    octets[at:at] = chance.choice(WORDS)


def _insert_line(octets: bytearray, chance: random.Random, _: Sequence[Dialogue]) -> None:
    at = octets.find(b"\n", chance.randrange(len(octets) + 1)) + 1
    octets[at:at] = chance.choice(WORDS)


def _remove(octets: bytearray, chance: random.Random, _: Sequence[Dialogue]) -> None:
    del octets[_somewhere(octets, chance)]


def _repeat(octets: bytearray, chance: random.Random, _: Sequence[Dialogue]) -> None:
    part = _somewhere(octets, chance)
    octets[part] = octets[part] * chance.choice((2, 2, 3, 40))


def _damage(octets: bytearray, chance: random.Random, _: Sequence[Dialogue]) -> None:
    if octets:
        octets[chance.randrange(len(octets))] = chance.choice((chance.randrange(256), 0, 10, 13, 32, 46, 128, 255))


def _splice(octets: bytearray, chance: random.Random, dialogues: Sequence[Dialogue]) -> None:
    other = chance.choice(dialogues).octets
    at = chance.randrange(len(octets) + 1)
    octets[at:] = other[chance.randrange(len(other) + 1) :]


def _append(octets: bytearray, chance: random.Random, dialogues: Sequence[Dialogue]) -> None:
    octets += chance.choice(dialogues).octets


_WAYS = (_insert, _insert, _insert_line, _insert_line, _remove, _repeat, _damage, _damage, _splice, _append)
