"""Who gets a connection: real sockets, and clients that want to keep the operator out."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from backupmx.operate.page import listen
from tests.neighbours.unbound import free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    await PlainTextResponse("here\n")(scope, receive, send)


class Served:
    """A server on a port of its own."""

    async def __aenter__(self) -> int:
        port = free_port()
        self._bound = listen.bind(f"127.0.0.1:{port}", "0660")
        self._server = listen.server(_app)
        self._task = asyncio.create_task(self._server.serve([self._bound]))
        return port

    async def __aexit__(self, *trouble: object) -> None:
        self._server.should_exit = True
        await self._task
        self._bound.close()


async def _ask(port: int, request: bytes = REQUEST) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        line = await reader.readline()
    except ConnectionResetError:
        line = b""
    writer.close()
    return line


async def test_who_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects and waits, or sends its request a byte at a time, is not waited for."""
    monkeypatch.setattr(listen, "_HEAD_WITHIN", 0.2)
    async with Served() as port:
        for said in (b"", b"GET / HT", REQUEST[:-2], REQUEST + b"GET /"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            async with asyncio.timeout(20):
                try:
                    await reader.read()
                except ConnectionResetError:
                    pass
            writer.close()
        assert await _ask(port) == b"HTTP/1.1 200 OK\r\n"


async def test_a_thousand_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the limit are dropped, none is kept, and who comes after them is answered."""
    monkeypatch.setattr(listen, "_HEAD_WITHIN", 1.0)
    async with Served() as port:
        many = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(1000)))
        async with asyncio.timeout(60):
            for reader, writer in many:
                try:
                    await reader.read()
                except ConnectionResetError:
                    pass
                writer.close()
        assert await _ask(port) == b"HTTP/1.1 200 OK\r\n"


async def test_a_flood_does_not_keep_others_out() -> None:
    """While a thousand connections say nothing, who asks is answered at once."""
    async with Served() as port:
        many = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(1000)))
        answers = [await _ask(port) for _ in range(20)]
        for _, writer in many:
            writer.close()
    assert answers == [b"HTTP/1.1 200 OK\r\n"] * 20


async def test_rubbish() -> None:
    """Control bytes, a huge head, another protocol: a 400 or nothing, and the next is answered."""
    async with Served() as port:
        for said in (
            b"\x00\xff\x16\x03\x01" * 20 + b"\r\n\r\n",
            b"EHLO x\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n",
        ):
            assert b"200" not in await _ask(port, said)
        assert await _ask(port) == b"HTTP/1.1 200 OK\r\n"


async def test_unix_socket(tmp_path: Path) -> None:
    """It has its mode, takes the place of one that nobody serves, and never that of another file or server."""
    path = tmp_path / "page.sock"
    listen.bind(f"unix:{path}", "0660").close()
    bound = listen.bind(f"unix:{path}", "0600")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(OSError, match="somebody listens"):
        listen.bind(f"unix:{path}", "0660")
    bound.close()
    file = tmp_path / "letter"
    file.write_text("mine")
    with pytest.raises(OSError, match="another file"):
        listen.bind(f"unix:{file}", "0660")
    assert file.read_text() == "mine"


def test_a_port_in_use() -> None:
    """It is an error with its reason, not a second server."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            listen.bind(f"127.0.0.1:{other.getsockname()[1]}", "0660")
