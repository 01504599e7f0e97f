"""The bell between processes."""

import os
import stat
from pathlib import Path

from backupmx.queue.wake import NAME, Bell, Ear


async def test_rung(tmp_path: Path) -> None:
    """A ring wakes, also one from before the wait; many are one."""
    ear, bell = Ear(str(tmp_path)), Bell(str(tmp_path))
    for _ in range(1000):
        bell.ring()
    assert await ear.wait(10) is True
    assert await ear.wait(0.01) is False
    bell.close()
    ear.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    """Ringing where nobody listens, or not even a folder is, is nothing."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        bell = Bell(str(folder))
        bell.ring()
        bell.close()


async def test_in_the_place_of_one_that_died(tmp_path: Path) -> None:
    """A relay that starts again takes the bell over, and only the owner may ring."""
    first = Ear(str(tmp_path))
    second, bell = Ear(str(tmp_path)), Bell(str(tmp_path))
    bell.ring()
    assert await second.wait(10) is True
    assert stat.S_IMODE(os.stat(tmp_path / NAME).st_mode) == 0o600
    first.close()
    bell.ring()
    assert await second.wait(10) is True
    bell.close()
    second.close()
    assert os.listdir(tmp_path) == []


async def test_a_deep_state_folder(tmp_path: Path) -> None:
    """A path longer than that of a Unix socket may be still has its bell."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    ear, bell = Ear(str(folder)), Bell(str(folder))
    bell.ring()
    assert await ear.wait(10) is True
    bell.close()
    ear.close()


async def test_a_bell_finds_the_successor(tmp_path: Path) -> None:
    """Who rang before the relay died is heard by the next one."""
    bell, first = Bell(str(tmp_path)), Ear(str(tmp_path))
    bell.ring()
    first.close()
    bell.ring()
    second = Ear(str(tmp_path))
    bell.ring()
    assert await second.wait(10) is True
    bell.close()
    second.close()
