"""Engines on sockets: where they listen, and what goes wrong between us."""

import asyncio
import socket
from pathlib import Path

import pytest

from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.wire import dialogue, places
from backupmx.net.endpoint import Endpoint
from tests.check.faults import closes, engine, floods, hangs, says
from tests.neighbours.unbound import free_port


async def ask(address: Endpoint, seconds: float = 5.0, until: bytes = b"\0") -> bytes:
    async with dialogue(address, seconds, places()) as there:
        await there.send(b"question")
        return await there.receive(until)


async def test_nobody_listens(tmp_path: Path) -> None:
    """No socket, no listener, no such name: the engine is away."""
    for address in (
        Endpoint(path=str(tmp_path / "none")),
        Endpoint(host="127.0.0.1", port=free_port()),
        Endpoint(host="nowhere.invalid", port=1),
    ):
        with pytest.raises(EngineAway):
            await ask(address)


async def test_answer(tmp_path: Path) -> None:
    """An answer ends at its mark, or where the engine closes."""
    async with engine(tmp_path, says(b"yes\0rest")) as address:
        assert await ask(address) == b"yes"
        assert await ask(address, until=b"") == b"yes\0rest"


async def test_silence(tmp_path: Path) -> None:
    """An engine that took the message and never answers: this message may be the reason."""
    async with engine(tmp_path, hangs) as address:
        with pytest.raises(Unscannable, match=r"no answer in 0\.2 s"):
            await ask(address, 0.2)


async def test_closed(tmp_path: Path) -> None:
    """An engine that goes away without a word."""
    async with engine(tmp_path, closes) as address:
        with pytest.raises(Unscannable):
            await ask(address)


async def test_answer_without_end(tmp_path: Path) -> None:
    """An engine that floods us costs a megabyte and no more."""
    async with engine(tmp_path, floods) as address:
        with pytest.raises(Unscannable, match="no end"):
            await ask(address)


async def test_it_closes_while_we_send(tmp_path: Path) -> None:
    """What an engine said before it closed on a large message is still read."""
    async with engine(tmp_path, says(b"too large\0")) as address, dialogue(address, 5, places()) as there:
        taken = True
        for _ in range(200):
            taken = taken and await there.send(b"x" * 65536)
        assert not taken
        assert await there.receive(b"\0") == b"too large"


async def test_a_full_backlog_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket whose backlog is full is asked again, and is away only when that lasts."""
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(path)
        busy.listen(0)
        first.connect(path)
        monkeypatch.setattr("backupmx.check.wire._CONNECT_SECONDS", 0.1)
        with pytest.raises(EngineAway, match="no connection"):
            await ask(Endpoint(path=path))
        monkeypatch.setattr("backupmx.check.wire._CONNECT_SECONDS", 5)
        asking = asyncio.create_task(ask(Endpoint(path=path), 1))
        await asyncio.sleep(0.05)
        busy.setblocking(False)
        for _ in range(2):
            (await asyncio.get_running_loop().sock_accept(busy))[0].close()
        with pytest.raises(Unscannable):
            await asking


async def test_turns(tmp_path: Path) -> None:
    """A hundred messages at once are given to the engine a few at a time."""
    now, most = 0, 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await reader.read(64)
        await asyncio.sleep(0.005)
        now -= 1
        writer.write(b"yes\0")

    async with engine(tmp_path, counts) as address:
        turn = places()

        async def once() -> bytes:
            async with dialogue(address, 20, turn) as there:
                await there.send(b"question")
                return await there.receive(b"\0")

        assert set(await asyncio.gather(*(once() for _ in range(100)))) == {b"yes"}
    assert most <= 16


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """A connection that failed is closed: warnings are errors here."""
    async with engine(tmp_path, hangs) as address:
        for _ in range(20):
            with pytest.raises(Unscannable):
                await ask(address, 0.01)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        with pytest.raises(EngineAway):
            await ask(Endpoint(host="127.0.0.1", port=busy.getsockname()[1]))
