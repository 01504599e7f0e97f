"""wake: a bell between processes: "something may be due", nothing more.

    put, flush ... --commit--> Bell.ring() ~~datagram~~> Ear.wait() in the relay

The relay binds a Unix datagram socket in the state folder; whoever commits sends it
one octet.  A bell that nobody hears is no trouble: the mail is in the queue, and
the relay looks there when it starts and when something becomes due.  Many rings
before the relay listens are one.
"""

import asyncio
import os
import socket

NAME = "wake.sock"


class Bell:
    """For who commits.  Never waits, never fails."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self) -> None:
        try:
            self._socket.sendto(b"!", self._path)
        except OSError:
            pass  # nobody listens, or enough rings wait to be heard

    def close(self) -> None:
        self._socket.close()


class Ear:
    """For the relay.  Made inside a running loop; takes the place of one that died."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._rung = asyncio.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if os.path.lexists(self._path):
            os.unlink(self._path)
        self._socket.bind(self._path)
        os.chmod(self._path, 0o600)
        self._inode = os.stat(self._path).st_ino
        asyncio.get_running_loop().add_reader(self._socket, self._heard)

    async def wait(self, timeout: float | None) -> bool:
        """Until somebody rings (True) or `timeout` seconds are over.  A ring since the last wait counts."""
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        if os.path.lexists(self._path) and os.stat(self._path).st_ino == self._inode:  # else our successor's
            os.unlink(self._path)

    def _heard(self) -> None:
        """Empty the socket: one wait for all of them."""
        try:
            while self._socket.recv(1):
                self._rung.set()
        except BlockingIOError:
            pass  # that was all
