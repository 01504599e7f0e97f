"""What is in the way of a start: one sentence each, what and how to mend it, and status 2."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backupmx.queue.schema import VERSION
from tests.journeys.appliance import Appliance, bound_to, environment

pytestmark = pytest.mark.neighbours

NOBODY = 65534


def away(mx: Appliance) -> None:
    """The queue's folder belongs to root, and nobody else may go in."""
    (mx.folder / "state").mkdir(mode=0o700)


def secret_key(mx: Appliance) -> None:
    """A certificate's key that root alone may read."""
    (mx.folder / "key.pem").write_text("secret\n")
    (mx.folder / "key.pem").chmod(0o600)
    text = mx.config.read_text()
    mx.config.write_text(text.replace("[smtp]", '[smtp]\ntls_chain_files = ["key.pem"]'))


def taken_folder(mx: Appliance) -> None:
    """The state directory cannot be made."""


def secret_rules(mx: Appliance) -> None:
    (mx.folder / "header_checks").chmod(0o600)


def secret_configuration(mx: Appliance) -> None:
    mx.config.chmod(0o600)


def newer_queue(mx: Appliance) -> None:
    (mx.folder / "state").mkdir(mode=0o700)
    with closing(sqlite3.connect(mx.folder / "state" / "queue.db")) as db:
        db.execute("CREATE TABLE entries (id)")
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    for path in (mx.folder / "state", mx.folder / "state" / "queue.db"):
        os.chown(path, NOBODY, NOBODY)


def rooted_queue(mx: Appliance) -> None:
    """The folder is ours, the database root's."""
    newer_queue(mx)
    os.chown(mx.folder / "state" / "queue.db", 0, 0)
    (mx.folder / "state" / "queue.db").chmod(0o600)


def foreign_files(mx: Appliance) -> None:
    (mx.folder / "state").mkdir(mode=0o700)
    (mx.folder / "state" / "lock").touch(mode=0o600)
    os.chown(mx.folder / "state", NOBODY, NOBODY)


def low_port(mx: Appliance) -> None:
    """A port that root alone may open."""
    mx.config.write_text(mx.config.read_text().replace(f"127.0.0.1:{mx.port}", "127.0.0.1:25"))


CASES: dict[Callable[[Appliance], None], tuple[str, str]] = {
    taken_folder: ("state", "writable"),
    away: ("state", "writable"),
    secret_key: ("key.pem", "readable"),
    secret_rules: ("header_checks", "readable"),
    secret_configuration: ("backupmx.toml", "readable"),
    newer_queue: ("queue.db", "version"),
    rooted_queue: ("queue.db", "owner"),
    foreign_files: ("lock", "writable"),
    low_port: ("127.0.0.1:25", "start as root"),
}


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that others may pass: each new run of pytest closes its own to them, under our feet."""
    with tempfile.TemporaryDirectory(prefix="backupmx-start-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_as_somebody_else(outside: Path, case: Callable[[Appliance], None]) -> None:
    """Started as a user who may not: one sentence that names the file and what to do, no traceback, status 2."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("another user's place is taken by root alone")
    mx = Appliance(outside / "mx", {}, bound_to(["example.jp"], 1))
    for path in (mx.folder, *mx.folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    case(mx)
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
         sys.executable, "-m", "backupmx", "serve", "-c", str(mx.config)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=environment(), cwd="/",
    )  # fmt: skip
    named, remedy = CASES[case]
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert named in lines[0]
    assert remedy in lines[0]
