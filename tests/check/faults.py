"""An engine that does what a real one will not do on demand: hangs, talks nonsense, closes early."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from backupmx.net.endpoint import Endpoint

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine(folder: Path, behaviour: Behaviour) -> AsyncIterator[Endpoint]:
    """-> where it listens; who still hangs at the end is let go."""
    talks = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        talks.add(task)
        try:
            await behaviour(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the check had enough of it: that is what is tested
        finally:
            talks.discard(task)
            writer.close()

    path = folder / "engine"
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield Endpoint(path=str(path))
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks)
        await asyncio.sleep(0)


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
    await asyncio.Event().wait()  # also when nothing more comes: spamd's clients close their half


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Goes away without a word."""


async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers without end."""
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
