"""milter: one dialogue with one milter, as an MTA has it.

    async with dialogue(Endpoint.parse("unix:/run/x.sock", "inet"), Timeouts()) as milter:
        answer = await milter.step(MAIL, strings(b"<a@b.example>"), macros=[("i", "4hX")])
        edits, answer = await milter.end([("i", "4hX")])

A connection serves one message.  A step that the milter declined is not sent
(its macros are: a later step may need them), one after which it does not
answer is not waited for, and small frames leave together.

Edits come out of `end` only with the milter's last word: one that is lost
before it, also in the middle of a new body, has changed nothing.

Trouble
    MilterAway   nobody listens
    MilterLost   it took the connection, and then closed it, said nothing in
                 time, or something that is no milter protocol

`progress` starts its time anew, so the caller sets a limit for the whole.

Why not keep connections (SMFIC_QUIT_NC, "quit, a new connection follows")?  A
milter of libmilter that has said ACCEPT, as opendkim and clamav-milter say of
every message, overlooks it, and the CONNECT after it as well: the next message
would hang for its timeout, and what the milter knew of the one before stays.
Postfix never sends it; within a session it goes on with MAIL, which we cannot:
each message is told with its own client.  A new connection and its negotiation
are a third of a millisecond of a message's 1.2 (rspamd) to 11 (spamass-milter).
tests/check/test_milters_kept.py asks the real ones.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backupmx.net.endpoint import Endpoint, connected
from backupmx.net.milter_answers import (
    Accept,
    Answer,
    Continue,
    Discard,
    Edit,
    Progress,
    Refuse,
    ReplaceBody,
    Skip,
    answer,
)
from backupmx.net.milter_codec import (
    BODY,
    END_OF_HEADER,
    END_OF_MESSAGE,
    HEADER,
    Nonsense,
    Step,
    Terms,
    frame,
    length,
    macro_frame,
    negotiated,
    offer,
)

_TOGETHER = 64 << 10
_MOST_EDITS = 10_000
"""Chunks of a new body aside, and beside one for each header that it saw: a milter that removes what looks like
its own header removes as many as somebody sent, and must not be lost for that."""
_EDIT_COST = 256
"""Octets that an edit counts beside its own: many small ones cost memory too."""
_AT_A_TIME = 200
"""Frames of a few octets that are taken before it is others' turn: five milliseconds."""


class MilterTrouble(Exception):
    """The text is one line for the log."""


class MilterAway(MilterTrouble):
    """Nobody listens there."""


class MilterLost(MilterTrouble):
    """It was there, and broke off."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, by default Postfix's: milter_connect_timeout, milter_command_timeout, milter_content_timeout."""

    connect: float = 30.0
    command: float = 30.0
    content: float = 300.0

    def of(self, step: Step) -> float:
        return self.content if step in (HEADER, END_OF_HEADER, BODY, END_OF_MESSAGE) else self.command


class Dialogue:
    """An open connection, negotiated."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeouts: Timeouts) -> None:
        self._reader, self._writer, self._timeouts = reader, writer, timeouts
        self._out = bytearray()
        self.terms = Terms(0, 0, 0, {})

    async def negotiate(self) -> None:
        """Raises MilterLost."""
        self._out += offer()
        async with self._limit("the negotiation", self._timeouts.command):
            await self._flush()
            command, data = await self._frame()
            if command != b"O":
                raise Nonsense(f"answer {command!r} to the negotiation")
            self.terms = negotiated(data)

    async def step(self, step: Step, data: bytes = b"", macros: Iterable[tuple[str, str]] = ()) -> Answer:
        """Report it; what the milter says of it.  Continue where it wants or says nothing.  Raises MilterLost."""
        self._out += macro_frame(step, macros)
        wanted, answers = self.terms.wants(step), self.terms.answers(step)
        if wanted:
            self._out += frame(step.command, data)
        if not wanted or not answers:
            if len(self._out) > _TOGETHER:
                async with self._limit(step.name, self._timeouts.of(step)):
                    await self._flush()
                    await asyncio.sleep(0)  # thousands of headers were put together: it is others' turn
            return Continue()
        return await self._asked(step, [])

    async def end(
        self, macros: Iterable[tuple[str, str]], largest: int, headers: int = 0
    ) -> tuple[tuple[Edit, ...], Answer]:
        """The end of the message: all it wants changed, and its last word.  Raises MilterLost.

        `largest`: octets that its changes may take.  `headers`: so many it was shown.
        """
        self._out += macro_frame(END_OF_MESSAGE, macros) + frame(END_OF_MESSAGE.command)
        edits: list[Edit] = []
        room = largest + headers * 2 * _EDIT_COST
        said = await self._asked(END_OF_MESSAGE, edits, room, _MOST_EDITS + headers)
        return tuple(edits), said

    async def _asked(self, step: Step, edits: list[Edit], room: int = 0, most: int = 0) -> Answer:
        """Send what waits; read up to an answer that is not Progress."""
        seconds, others, frames = self._timeouts.of(step), 0, 0
        while True:
            frames += 1
            if frames % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            async with self._limit(step.name, seconds):
                await self._flush()
                command, data = await self._frame()
                said = answer(command, data)
                if isinstance(said, Progress):
                    continue
                if isinstance(said, Continue | Accept | Discard | Refuse) or (isinstance(said, Skip) and step is BODY):
                    return said
                if step is not END_OF_MESSAGE or isinstance(said, Skip):
                    raise Nonsense(f"answer {command!r}")
                room -= len(data) + _EDIT_COST
                others += not isinstance(said, ReplaceBody)
                if room < 0 or others > most:
                    raise Nonsense("more changes than a message may have")
                edits.append(said)

    async def _frame(self) -> tuple[bytes, bytes]:
        size = length(await self._reader.readexactly(4))
        octets = await self._reader.readexactly(size)
        return octets[:1], octets[1:]

    async def _flush(self) -> None:
        if self._out:
            out, self._out = self._out, bytearray()
            self._writer.write(out)
            await self._writer.drain()

    @asynccontextmanager
    async def _limit(self, where: str, seconds: float) -> AsyncIterator[None]:
        """What can go wrong in one exchange, as MilterLost."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except Nonsense as nonsense:
            raise MilterLost(f"after {where}: this is no milter protocol: {nonsense}") from None
        except TimeoutError:
            raise MilterLost(f"after {where}: no answer in {seconds:g} s") from None
        except asyncio.IncompleteReadError:
            raise MilterLost(f"after {where}: it closed the connection") from None
        except OSError as error:
            raise MilterLost(f"after {where}: connection lost: {error.strerror or error}") from None

    async def quit(self) -> None:
        """Good-bye, if there is still somebody to hear it."""
        try:
            async with asyncio.timeout(1.0):
                self._out = bytearray(frame(b"Q"))
                await self._flush()
        except (OSError, TimeoutError):
            pass  # it is gone, or not listening: closing says the same


@asynccontextmanager
async def dialogue(endpoint: Endpoint, timeouts: Timeouts) -> AsyncIterator[Dialogue]:
    """A new connection, negotiated; closed at the end.  Raises MilterAway, MilterLost."""
    reader, writer = await _connected(endpoint, timeouts.connect)
    try:
        milter = Dialogue(reader, writer, timeouts)
        await milter.negotiate()
        yield milter
        await milter.quit()
    finally:
        writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


async def _connected(endpoint: Endpoint, seconds: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.open_connection(sock=await connected(endpoint))
    except TimeoutError:
        raise MilterAway(f"{endpoint}: no connection in {seconds:g} s") from None
    except OSError as error:
        raise MilterAway(f"{endpoint}: {error.strerror or error}") from None
