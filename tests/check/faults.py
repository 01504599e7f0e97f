"""An engine that does what a real one will not do on demand: hangs, talks nonsense, closes early."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from backupmx.net.endpoint import Endpoint

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine(folder: Path, behaviour: Behaviour) -> AsyncIterator[Endpoint]:
    """-> where it listens."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        except ConnectionError:
            pass  # the check had enough of it: that is what is tested
        finally:
            writer.close()

    path = folder / "engine"
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield Endpoint(path=str(path))


def says(answer: bytes) -> Behaviour:
    """Reads a little, answers, closes."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(answer)
        await writer.drain()

    return behaviour


def in_turn(*answers: bytes) -> Behaviour:
    """Another answer to each connection."""
    left = list(answers)

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(left.pop(0))
        await writer.drain()

    return behaviour


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and never answers."""
    while await reader.read(65536):
        pass
    await asyncio.sleep(3600)


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Goes away without a word."""


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers without end."""
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
