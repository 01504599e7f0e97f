"""listen: who gets a connection: the socket, and uvicorn on it with the patience of a small server.

    Patient   a request's head within 20 s; a connection 5 minutes; 200 of them, the silent ones go first
    Server    uvicorn, that leaves signals and logging to us

uvicorn waits for ever for a client that says nothing, and takes as many as there are
descriptors; here either is a way for one local user to lock the operator out.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 200
_HEAD_WITHIN = 20.0
_LIFE = 300.0
_LAST_ANSWER = 30.0


class Patient(H11Protocol):
    """One connection, with an end."""

    _waits: asyncio.TimerHandle | None = None
    _ends: asyncio.TimerHandle | None = None
    _began = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            self._make_room()
        self._began = self.loop.time()
        self._ends = self.loop.call_later(_LIFE, self._old)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._waits, self._ends):
            if timer is not None:
                timer.cancel()

    def _make_room(self) -> None:
        """The one that has said nothing for longest goes: a flood displaces itself, and who asks is answered."""
        silent = [
            one for one in self.connections if isinstance(one, Patient) and one is not self and not one._is_asking
        ]
        if silent:
            min(silent, key=lambda one: one._began).transport.abort()
        else:
            self.transport.abort()

    @property
    def _is_asking(self) -> bool:
        """A request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        """The clock runs while no request is being answered."""
        if self._is_asking:
            if self._waits is not None:
                self._waits.cancel()
                self._waits = None
        elif self._waits is None and not self.transport.is_closing():
            self._waits = self.loop.call_later(_HEAD_WITHIN, self.transport.abort)

    def _old(self) -> None:
        self._ends = self.loop.call_later(_LAST_ANSWER, self.transport.abort)
        self.shutdown()


class Server(uvicorn.Server):
    """Signals are the process's own business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def install_signal_handlers(self) -> None:
        """As older uvicorns name it."""


def server(app: ASGIApp) -> Server:
    """To be served on a socket of `bind`."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).disabled = True  # journal.py alone logs
    return Server(
        uvicorn.Config(
            app, http=Patient, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=15, timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=32768,
        )
    )  # fmt: skip


def bind(listen: str, mode: str) -> socket.socket:
    """Of admin.listen.  Raises OSError."""
    if listen.startswith("unix:"):
        return _unix(listen[5:], int(mode, 8))
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen(128)
    except (OSError, OverflowError) as error:
        bound.close()
        raise error if isinstance(error, OSError) else OSError(None, f"no port {port}") from None
    return bound


def _unix(path: str, mode: int) -> socket.socket:
    """A socket that an earlier life left is taken away; one where somebody answers, or another file, is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(None, "there is another file of that name")
        with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(ConnectionRefusedError):
            other.connect(path)
            raise OSError(None, "somebody listens there already")
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(path)  # with the umask of the appliance: nobody else may connect before the mode is set
        os.chmod(path, mode)
        bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound
