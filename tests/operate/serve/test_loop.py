"""What a process is told from outside, as words."""

import asyncio
import os
import signal

from backupmx.operate.serve.loop import SIGNALS, Told, run


def test_signals_are_words() -> None:
    """SIGHUP is reload, SIGTERM is stop, in the order in which they came."""

    async def story() -> int:
        told = Told()
        os.kill(os.getpid(), signal.SIGHUP)
        assert await told.word() == "reload"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await told.word() == "stop"
        return 7

    assert run(story()) == 7


def test_what_comes_before_we_listen() -> None:
    """A signal between fork and event loop waits until there is somebody to hear it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signal.raise_signal(signal.SIGHUP)  # to this thread: another one of pytest-xdist's does not block it

    async def story() -> int:
        assert await Told().word() == "reload"
        return 0

    assert run(story()) == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS) == set()


def test_the_supervisor_dies() -> None:
    """When the other end of its pipe closes, however that came, the word is stop."""
    reading, writing = os.pipe()

    async def story() -> int:
        told = Told(reading)
        asyncio.get_running_loop().call_soon(os.close, writing)
        assert await told.word() == "stop"
        return 0

    assert run(story()) == 0
