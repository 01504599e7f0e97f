"""One appliance on one state directory."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from backupmx.config import Config, ConfigTrouble, parse
from backupmx.operate.serve.lock import becomes_free, is_running, lock


@pytest.fixture
def config(tmp_path: Path) -> Config:
    text = 'hostname = "mx2.example.net"\nstate_dir = "state"\n[relay]\ntransport_map = "x"\n'
    return parse(text, tmp_path / "backupmx.toml")


def test_nobody_there(config: Config) -> None:
    """Without a state directory nobody works on it, and looking makes none."""
    assert not is_running(config)
    assert becomes_free(config, 0)
    assert not config.state_path("").exists()


def test_taken(config: Config) -> None:
    """Who holds the lock is seen, keeps a second one out, and is gone when its last descriptor is."""
    ours = lock(config)
    assert is_running(config)
    assert config.state_path("lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(ConfigTrouble, match="another backupmx works on this queue"):
        lock(config)
    assert not becomes_free(config, 0)
    inherited = os.dup(ours)
    os.close(ours)
    assert is_running(config)
    os.close(inherited)
    assert not is_running(config)
    again = lock(config)
    fcntl.flock(again, fcntl.LOCK_UN)
    os.close(again)


def test_becomes_free(config: Config) -> None:
    """Who waits hears of it when the last holder goes, and does not hold it then."""
    ours = lock(config)
    going = threading.Thread(target=lambda: (is_running(config), os.close(ours)))
    going.start()
    assert becomes_free(config, 30)
    going.join()
    os.close(lock(config))


def test_no_place_for_it(config: Config) -> None:
    """A state directory that cannot be is a sentence with its path."""
    config.state_path("").parent.joinpath("state").write_text("a file\n")
    with pytest.raises(ConfigTrouble, match=r"state: File exists; state_dir wants a folder here"):
        lock(config)


def test_no_link_is_followed(config: Config, tmp_path: Path) -> None:
    """A link in the place of the lock leads nobody to another file."""
    config.state_path("").mkdir()
    (tmp_path / "precious").write_text("mine\n")
    config.state_path("lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigTrouble, match="state/lock"):
        lock(config)
    assert not is_running(config)
    assert (tmp_path / "precious").read_text() == "mine\n"


def test_no_pipe_is_waited_for(config: Config) -> None:
    """A named pipe in its place holds nobody up."""
    config.state_path("").mkdir()
    os.mkfifo(config.state_path("lock"))
    assert not is_running(config)


def test_no_room_for_a_number(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the lock is had all the same; only its process number is not in it."""
    monkeypatch.setattr(os, "write", lambda descriptor, data: (_ for _ in ()).throw(OSError(28, "full")))
    os.close(lock(config))


def test_no_folder_can_be_made(config: Config) -> None:
    """Where the state directory cannot be made, the command that makes it is named."""
    folder = config.path.parent / "state"
    folder.symlink_to("/proc/self/no-such-folder")
    with pytest.raises(
        ConfigTrouble, match=rf"make the folder, writable for the user \S+: install -d -m 700 -o \S+ {folder}"
    ):
        lock(config)
