"""scripted_milter: a milter that does what a test says, for what no real one does on demand.

    async with ScriptedMilter({b"R": [b"c", reply("550 5.1.1 no")]}) as milter:
        ... Endpoint.parse(milter.address) ... milter.heard

`script` says what is written after a command, each value once and the last one for good: an answer as its frame's
content (b"c", b"y550 ...\\0"), `Raw` octets, HANG, CLOSE.  Commands that are not in it are answered with "continue".
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from backupmx.net.milter_codec import STEPS

HANG, CLOSE = "hang", "close"


@dataclass(frozen=True, slots=True)
class Raw:
    octets: bytes


Words = bytes | Raw | str
Script = Mapping[bytes, Sequence[Words]]

_SILENT = {step.command: step.silent for step in STEPS}


def framed(content: bytes) -> bytes:
    return struct.pack("!I", len(content)) + content


def reply(text: str) -> bytes:
    return b"y" + text.encode() + b"\0"


def add(name: bytes, value: bytes) -> bytes:
    return b"h" + name + b"\0" + value + b"\0"


def insert(index: int, name: bytes, value: bytes) -> bytes:
    return b"i" + struct.pack("!I", index) + name + b"\0" + value + b"\0"


def change(index: int, name: bytes, value: bytes) -> bytes:
    return b"m" + struct.pack("!I", index) + name + b"\0" + value + b"\0"


class ScriptedMilter:
    def __init__(
        self,
        script: Script | None = None,
        *,
        edits: Sequence[bytes | Raw] = (),
        actions: int = 0x1FF,
        steps: int = 0,
        macros: bytes = b"",
        version: int = 6,
        port: int = 0,
    ) -> None:
        """`edits`: written at the end of the message, before the answer to it.  `port` 0: any."""
        self.port = port
        self.script = {command: list(words) for command, words in (script or {}).items()}
        self.edits = edits
        self.steps = steps
        self.negotiation = b"O" + struct.pack("!III", version, actions, steps) + macros
        self.heard: list[tuple[bytes, bytes]] = []
        self.connections = 0
        self._talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ScriptedMilter":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.address = f"inet:127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await asyncio.sleep(0)

    def of(self, command: bytes) -> list[bytes]:
        """The data of each such command that was heard."""
        return [data for heard, data in self.heard if heard == command]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.connections += 1
        try:
            await self._listen(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._talks.discard(task)
            writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            content = await reader.readexactly(size)
            command, data = content[:1], content[1:]
            self.heard.append((command, data))
            if command == b"Q":
                return
            if command == b"E":
                for edit in self.edits:
                    writer.write(edit.octets if isinstance(edit, Raw) else framed(edit))
            word = self._word(command)
            if word == HANG:
                await asyncio.Event().wait()
            if word == CLOSE:
                await writer.drain()
                return
            if isinstance(word, Raw):
                writer.write(word.octets)
            elif isinstance(word, bytes) and word:
                writer.write(framed(word))
            await writer.drain()

    def _word(self, command: bytes) -> Words:
        if command in self.script:
            words = self.script[command]
            return words.pop(0) if len(words) > 1 else words[0]
        if command == b"O":
            return self.negotiation
        silent = command in b"DA" or (command in _SILENT and bool(self.steps & _SILENT[command]))
        return b"" if silent else b"c"
