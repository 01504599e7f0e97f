"""Body files: whole or not there, never elsewhere."""

import os
import stat
import threading
import zlib
from pathlib import Path

import pytest

from backupmx.mail.message import Spool
from backupmx.queue.bodies import Bodies, Damaged

BODY = b"\r\n" + os.urandom(3_000_000)


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    return Bodies(str(tmp_path / "bodies"))


def test_written_and_read(bodies: Bodies) -> None:
    """Chunks become a file that reads back the same, summed the same."""
    bodies.write("id", [BODY[:100], memoryview(BODY)[100:]])
    assert bytes(bodies.view("id", 0, len(BODY))) == BODY
    assert bodies.sum("id", 0, len(BODY), 0) == zlib.crc32(BODY)
    assert stat.S_IMODE(os.stat(os.path.join(bodies.folder, "id")).st_mode) == 0o600


def test_from_an_offset(bodies: Bodies) -> None:
    """A spooled file's body begins behind the header block that lies before it."""
    Path(bodies.folder, "spool").write_bytes(b"Header: x\r\n" + BODY)
    assert bodies.adopt(Spool(os.path.join(bodies.folder, "spool"), 11)) == "spool"
    assert bytes(bodies.view("spool", 11, len(BODY))) == BODY
    assert bodies.sum("spool", 11, len(BODY), 0) == zlib.crc32(BODY)


def test_never_over_another(bodies: Bodies) -> None:
    """A name that is taken stays what it is."""
    bodies.write("id", [b"first"])
    with pytest.raises(FileExistsError):
        bodies.write("id", [b"second"])
    assert bytes(bodies.view("id", 0, 5)) == b"first"


def test_half_written_is_removed(bodies: Bodies) -> None:
    """A body that cannot be written to its end leaves no file."""

    def chunks() -> object:
        yield b"beginning"
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        bodies.write("id", chunks())  # type: ignore[arg-type]
    assert bodies.names() == []


@pytest.mark.parametrize("path", ["../queue.db", "/etc/passwd", "deeper/spool"])
def test_nothing_elsewhere_is_adopted(bodies: Bodies, path: str) -> None:
    """Only a file right in the folder can become the queue's, and be deleted by it."""
    with pytest.raises(ValueError, match="not in the body folder"):
        bodies.adopt(Spool(os.path.join(bodies.folder, path)))


def test_short_or_gone(bodies: Bodies) -> None:
    """A file that is too short or missing is damage, not an I/O error."""
    bodies.write("id", [b"12345"])
    for call in (lambda: bodies.view("id", 0, 6), lambda: bodies.sum("id", 3, 3, 0), lambda: bodies.view("no", 0, 1)):
        with pytest.raises(Damaged):
            call()


def test_a_view_outlives_its_file(bodies: Bodies) -> None:
    """Mail that is being delivered can be deleted."""
    bodies.write("id", [BODY])
    view = bodies.view("id", 0, len(BODY))
    bodies.remove(["id", "id"])
    assert (bytes(view) == BODY, bodies.names()) == (True, [])


def test_many_at_once(bodies: Bodies) -> None:
    """Writers that share one fsync of the folder all have their file."""
    threads = [threading.Thread(target=bodies.write, args=(f"id{n}", [b"x" * 1000])) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(bodies.names()), bodies._synced) == (16, 16)


def test_sweep(bodies: Bodies) -> None:
    """What nobody names goes."""
    for name in ("known", "left", "half"):
        bodies.write(name, [b"x"])
    assert (bodies.sweep(["known", "elsewhere"]), bodies.names()) == (["half", "left"], ["known"])
