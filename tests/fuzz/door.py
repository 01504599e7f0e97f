"""door: a byte-level fuzzer for port 25.

    python -m tests.fuzz.door --minutes 10 [--seed N]

Strangers with mutated dialogues (dialogue.py) call at real doors, each set up
differently.  A dialogue that draws replies in an order not seen before is
kept and mutated on: the replies are the map of where we have been.

What must hold for each
    the door does not die: it answers, ends the dialogue, and takes ordinary mail after it
    no bug is met: no exception in a session, none in the loop
    replies are replies: three digits, an enhanced code of the same class, no word of our insides
    what a client that listens was told of is what was stored: a 250 each, no more, no less
    no spool file is left

It ends with a line of figures; with status 1 and the dialogue, as Python
writes bytes, when something did not hold.
"""

import argparse
import asyncio
import logging
import random
import re
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from backupmx.net.tls import ServerTls
from tests.fuzz.dialogue import Dialogue, End, mutated, recorded
from tests.receive.doors import Running, Talk, running

PATIENCE = 20.0
"""Seconds for a dialogue: each is over in milliseconds, on a machine that is not busy."""

_HESITATION = 0.3
"""Seconds that a client who said STARTTLS waits for its reply, then it goes on in clear."""

_PLAIN = re.compile(rb"220[ -]|354 End data|250[ -](mx2\.example\.net|[A-Z0-9]+( [A-Z0-9_=]+)*)$")
"""Replies without an enhanced code: greeting, HELO, EHLO, DATA (RFC 2034 section 3)."""
_REPLY = re.compile(rb"([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3} [^\r\n]*")
_INSIDES = re.compile(rb"Traceback|Exception|[a-z]Error\b|Error: \(|object at 0x|\.py\b")
_TOLD = re.compile(rb"^250 2\.0\.0 Ok: .*queued as ([0-9A-Za-z]+)", re.MULTILINE)


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass
class Figures:
    dialogues: int = 0
    replies: int = 0
    stored: int = 0
    seen: set[tuple[bytes, ...]] = field(default_factory=set)
    """Orders of replies."""

    def __str__(self) -> str:
        return (
            f"{self.dialogues} dialogues, {self.replies} replies, {self.stored} messages,"
            f" {len(self.seen)} orders of replies"
        )


@dataclass
class Target:
    """A door and what a client of it needs."""

    door: Running
    spool: Path
    client_tls: ssl.SSLContext
    opening: bytes = b""
    """What must come before everything: a PROXY header."""


@asynccontextmanager
async def targets(folder: Path) -> AsyncIterator[list[Target]]:
    """Doors as operators set them up, and one with every limit low."""
    authority = trustme.CA()
    chain = folder / "chain.pem"
    authority.issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(str(chain))
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def flush(domain: str) -> int:
        return 0

    low: dict[str, Any] = {
        "message_size_limit": 3000, "recipient_limit": 3, "limit_exceptions": (), "client_connection_limit": 0,
        "line_length_limit": 600, "junk_command_limit": 3, "hard_error_limit": 6,
    }  # fmt: skip
    setups: list[tuple[bytes, dict[str, Any]]] = [
        (b"", {"spool_above": 1000}),
        (b"", {"xclient_from": ("127.0.0.1",), "etrn_from": ("127.0.0.1",), "flush": flush, "spool_above": 100}),
        (b"PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", {"proxy_protocol_from": ("127.0.0.1",)}),
        (b"", {"reject_bare_newline": True, "limit_exceptions": ()}),
        (b"", low),
    ]
    async with AsyncExitStack() as stack:
        made = []
        for number, (opening, settings) in enumerate(setups):
            spool = folder / f"spool-{number}"
            spool.mkdir()
            # No client of ours is a silent one: the limits of time are for others.
            given = {"error_delay": 0, "tls": ServerTls([chain]), "client_connection_limit": 0, **settings}
            door = await stack.enter_async_context(running(spool_folder=str(spool), **given))
            made.append(Target(door, spool, client_tls, opening))
        yield made


async def play(target: Target, dialogue: Dialogue) -> list[bytes]:
    """One dialogue at one door.  -> the lines of its replies.  Raises Broken."""
    door = target.door
    before = len(door.recorder.messages)
    try:
        async with asyncio.timeout(PATIENCE):
            said, cut = await _talk(target, dialogue)
            while door.door.service.sessions or door.door.service.tasks:
                await door.next_change()
    except TimeoutError:
        raise Broken(f"no end within {PATIENCE:.0f} seconds") from None
    lines = said.split(b"\r\n")
    _check_replies(lines)
    if door.door.service.journal.counters["bug"]:
        raise Broken("\n".join(door.lines[-40:]))
    stored = [taken.queue_id.encode() for taken in door.recorder.messages[before:]]
    told = _TOLD.findall(said)
    # Who goes on in clear after QUIT or STARTTLS is cut off, and may not hear what was said last.
    overtaken = cut and any(re.search(" (quit|starttls)=", line) for line in door.lines)
    listens = dialogue.end is End.LISTENS and not overtaken
    if told != stored[: len(told)] or (listens and told != stored):
        raise Broken(f"told of {told}, stored {stored}")
    if left := list(target.spool.iterdir()):
        raise Broken(f"left behind: {left}")
    del door.log[:]
    return lines


def _check_replies(lines: list[bytes]) -> None:
    for line in lines[:-1]:
        if not _PLAIN.match(line) and not _REPLY.fullmatch(line):
            raise Broken(f"no reply: {line!r}")
        if _INSIDES.search(line):
            raise Broken(f"it speaks of our insides: {line!r}")


async def _talk(target: Target, dialogue: Dialogue) -> tuple[bytes, bool]:
    """Send all, read all that comes.  -> what came, whether the connection was reset"""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.door.port, limit=1 << 24)
    talk, said, cut = Talk(reader, writer), bytearray(), False
    try:
        if target.opening:
            writer.write(target.opening)
        for piece in dialogue.pieces:
            talk.writer.write(piece)
            await asyncio.sleep(0)
            if piece == b"STARTTLS\r\n":
                await _secured(talk, target.client_tls, said)
        if dialogue.end is End.LISTENS:
            await _read_to_end(talk, said)
        elif dialogue.end is End.RESETS:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
    except OSError:  # ssl.SSLError is one too
        cut = True  # it hung up on us; that is an answer too
    finally:
        talk.writer.close()  # not waited for: asyncio tells nobody of the end of a handshake that failed
    return bytes(said), cut


async def _read_to_end(talk: Talk, said: bytearray) -> None:
    """TLS has no half-closed connection: there QUIT is what ends a dialogue that still can be."""
    if talk.writer.can_write_eof():
        talk.writer.write_eof()
    else:
        talk.writer.write(b"\r\n.\r\nQUIT\r\n")
    while octets := await talk.reader.read(1 << 20):
        said += octets


async def _secured(talk: Talk, context: ssl.SSLContext, said: bytearray) -> None:
    """Read replies until one says that TLS begins, if it does: in the middle of content nothing is said."""
    try:
        async with asyncio.timeout(_HESITATION):
            while (line := await talk.reader.readline()) and not line.startswith(b"220 2.0.0"):
                said += line
                if re.match(rb"[45]\d\d ", line):
                    return
    except TimeoutError:
        return
    said += line
    if line:
        await talk.secure(context)


class Fuzz:
    """Plays until it is told to stop."""

    def __init__(self, doors: list[Target], seed: int) -> None:
        self.doors = doors
        self.chance = random.Random(seed)
        self.dialogues = recorded()
        self.figures = Figures()
        self._trouble: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._trouble.append(str(context)))

    async def one(self) -> None:
        """Raises Broken, with the dialogue."""
        dialogue, target = mutated(self.dialogues, self.chance), self.chance.choice(self.doors)
        try:
            lines = await play(target, dialogue)
            if self._trouble:
                raise Broken(f"in the loop: {self._trouble}")
        except Broken as broken:
            broken.add_note(f"door {self.doors.index(target)}: {dialogue!r}")
            raise
        self._account(target, dialogue, lines)
        if self.figures.dialogues % 100 == 0:
            await self._ordinary(target)

    def _account(self, target: Target, dialogue: Dialogue, lines: list[bytes]) -> None:
        figures = self.figures
        figures.dialogues += 1
        figures.replies += len(lines) - 1
        figures.stored += len(target.door.recorder.messages)
        target.door.recorder.messages.clear()
        # Repetitions are no news: what counts is which reply followed which.
        order = tuple(line[:9] for at, line in enumerate(lines[:-1]) if not at or line[:9] != lines[at - 1][:9])
        if order not in figures.seen:
            figures.seen.add(order)
            self.dialogues.append(dialogue)

    async def _ordinary(self, target: Target) -> None:
        mail = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<user@example.jp>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
        await play(target, Dialogue((mail,)))
        if target.door.recorder.messages.pop().content != b"Subject: x\r\n\r\nx\r\n":
            raise Broken("ordinary mail arrives changed")


async def fuzz(seed: int, *, dialogues: int = 0, seconds: float = 0.0) -> Figures:
    """So many dialogues, or for so long.  Raises Broken."""
    with tempfile.TemporaryDirectory(prefix="fuzz-door-") as folder:
        async with targets(Path(folder)) as doors:
            fuzzing, until, shown = Fuzz(doors, seed), time.monotonic() + seconds, 0
            while fuzzing.figures.dialogues < dialogues or time.monotonic() < until:
                await fuzzing.one()
                if seconds and (minute := int((until - time.monotonic()) / 60)) != shown:
                    shown = minute
                    print(f"{minute + 1} min to go: {fuzzing.figures}", flush=True)
            return fuzzing.figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.door")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each write to a door that hung up
    print(f"seed {asked.seed}", flush=True)
    try:
        print(asyncio.run(fuzz(asked.seed, seconds=asked.minutes * 60)))
    except Broken as broken:
        print(broken, *broken.__notes__, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
