"""wake: a bell between processes: "something may be due", nothing more.

    put, flush ... --commit--> Bell.ring() ~~octet~~> Ear.wait() in the relay

The relay makes a named pipe in the state folder; whoever commits writes one octet.
A bell that nobody hears is no trouble: the mail is in the queue, and the relay
looks there when it starts and when something becomes due.  Many rings before the
relay listens are one.

Why no socket?  The path of a Unix socket ends at 107 octets (103 on FreeBSD): in
a deeper state folder the relay could not start.
"""

import asyncio
import os

NAME = "wake"


class Bell:
    """For who commits.  Never waits, never fails."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._pipe = -1

    def ring(self) -> None:
        if not self._write():
            self.close()  # a relay that died: its successor has another pipe
            self._write()

    def _write(self) -> bool:
        try:
            if self._pipe < 0:
                self._pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.write(self._pipe, b"!")
        except BlockingIOError:
            return True  # enough rings wait to be heard
        except OSError:
            return False  # nobody listens
        return True

    def close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


class Ear:
    """For the relay.  Made inside a running loop; takes the place of one that died."""

    def __init__(self, state_dir: str) -> None:
        self._path = os.path.join(state_dir, NAME)
        self._rung = asyncio.Event()
        if os.path.lexists(self._path):
            os.unlink(self._path)
        os.mkfifo(self._path, 0o600)
        # For writing too: else the pipe would read as ended whenever the last bell closes.
        self._pipe = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._inode = os.fstat(self._pipe).st_ino
        asyncio.get_running_loop().add_reader(self._pipe, self._heard)

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
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)
        if os.path.lexists(self._path) and os.stat(self._path).st_ino == self._inode:  # else our successor's
            os.unlink(self._path)

    def _heard(self) -> None:
        """Empty the pipe: one wait for all of them."""
        try:
            while os.read(self._pipe, 4096):
                self._rung.set()
        except BlockingIOError:
            pass  # that was all
