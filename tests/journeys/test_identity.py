"""Started by root with `user`: everything but the opening of ports happens as that user, commands of root's too."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that everybody may enter, with a state directory of nobody's."""
    if os.geteuid() != 0:
        pytest.skip("only root changes its identity")
    if not readable_by("nobody"):
        pytest.skip("this Python is in a folder that only root may enter")
    path = Path(tempfile.mkdtemp(prefix="backupmx-"))
    path.chmod(0o755)
    (path / "state").mkdir()
    os.chown(path / "state", pwd.getpwnam("nobody").pw_uid, -1)
    yield path
    shutil.rmtree(path)


def test_user(folder: Path, dns: str) -> None:
    """Every process is nobody's; so is every file of the state directory, also after commands that root gave."""
    nobody = pwd.getpwnam("nobody").pw_uid
    mx = Appliance(
        folder, {"user": "nobody", "dns": {"servers": [dns]}}, f"example.jp  smtp:[127.0.0.1]:{free_port()}\n"
    )
    mx.start()
    try:
        assert mx.process is not None
        assert {uid(pid) for pid in (mx.process.pid, *mx.children())} == {nobody}
        sent = send(mx.port, message("held by root"))
        eventually(lambda: mx.cli("queue", "hold", sent.queue_id).returncode == 0)
        assert mx.cli("queue", "list").returncode == 0
        owners = {path: path.stat().st_uid for path in (folder / "state").rglob("*")}
        assert {path.name: owner for path, owner in owners.items() if owner != nobody} == {}
        assert send(mx.port, message("after root")).code == 250
        mx.reload()
        assert "the old policy stays" not in mx.log
    finally:
        assert mx.stop() == 0
    assert {path.name for path in (folder / "state").rglob("*") if path.stat().st_mode & 0o077} == set()


def test_nobody_else_reads_mail(serve: Serve) -> None:
    """Whatever is written, by small and large mail, discards, commands, a restart, under any umask: 0600 and 0700."""
    before = os.umask(0)
    try:
        mx = serve(f"example.jp  smtp:[127.0.0.1]:{free_port()}\n", header_checks="/^Subject: no/ DISCARD\n")
        for content in (message("small"), message("large") + b"0123456789abc\r\n" * 200_000, message("no")):
            assert send(mx.port, content).code == 250
        assert mx.cli("flush", "--no-wait").returncode in (0, 1)
        assert mx.quarantine() != []
        assert mx.stop() == 0
        mx.start()
    finally:
        os.umask(before)
    modes = dict(modes_in(mx.folder / "state"))
    files = {path: mode for path, mode in modes.items() if not path.is_dir()}
    assert any(path.is_file() and path.stat().st_size > 2_000_000 for path in files)
    assert {path.name: oct(mode) for path, mode in files.items() if mode != 0o600} == {}
    assert {path.name: oct(mode) for path, mode in modes.items() if path.is_dir() and mode != 0o700} == {}


def modes_in(folder: Path) -> Iterator[tuple[Path, int]]:
    """Of the folder and all in it; what a running appliance takes away meanwhile is passed over."""
    for path in (folder, *folder.rglob("*")):
        try:
            yield path, path.lstat().st_mode & 0o7777
        except FileNotFoundError:
            continue


def readable_by(user: str) -> bool:
    """The Python of these tests, for a process that has dropped its rights."""
    try:
        return not subprocess.run([sys.executable, "-c", ""], user=user, cwd="/", check=False).returncode
    except PermissionError:
        return False


def uid(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Uid:")[2].split()[1])
