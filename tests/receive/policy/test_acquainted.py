"""clients.db: who has stood the wait before the greeting."""

from pathlib import Path

import pytest

from backupmx.journal import Journal
from backupmx.receive.policy.acquainted import KEPT, Acquainted
from backupmx.recipients import store_file

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def acquainted(path: Path, clock: Clock, lines: list[bytes] | None = None, **settings: int) -> Acquainted:
    journal = Journal(sink=(lines if lines is not None else []).append, stamped=False)
    return Acquainted(path / "clients.db", journal, clock=clock, **settings)


def test_shared_and_kept(tmp_path: Path) -> None:
    """A client that one worker met is known to the others, and after a restart, for a week since it was last here."""
    clock = Clock()
    one, other = acquainted(tmp_path, clock), acquainted(tmp_path, clock)
    assert not other.knows("192.0.2.1")
    one.meet("192.0.2.1")
    assert one.knows("192.0.2.1")
    assert one.flush() == ""
    assert other.knows("192.0.2.1")
    clock.now += KEPT - DAY
    assert other.knows("192.0.2.1")  # it is here again: another week
    other.close()
    clock.now += KEPT - DAY
    assert one.knows("192.0.2.1")
    one.close()
    clock.now += KEPT
    assert not one.knows("192.0.2.1")
    one.close()


def test_an_ipv6_client_is_its_network(tmp_path: Path) -> None:
    """Whoever has a whole /64 waits once, not once for each address."""
    met = acquainted(tmp_path, Clock())
    met.meet("2001:db8::1")
    assert met.knows("2001:db8::2:3")
    assert not met.knows("2001:db8:0:1::1")
    met.close()


def test_bounded(tmp_path: Path) -> None:
    """Of more than there is room for the oldest go, in memory and on disk."""
    clock = Clock()
    met = acquainted(tmp_path, clock, most=100)
    for n in range(150):
        clock.now += 1
        met.meet(f"192.0.2.{n}")
    met.flush()
    assert not met.knows("192.0.2.1")
    assert met.knows("192.0.2.149")
    for n in range(20_000):
        met.meet(f"10.{n >> 8}.{n & 255}.1")
    assert len(met._met) <= 5000
    met.close()


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    """A file that is no database costs nobody anything but another wait."""
    (tmp_path / "clients.db").write_bytes(b"no database" * 1000)
    lines: list[bytes] = []
    met = acquainted(tmp_path, Clock(), lines)
    assert not met.knows("192.0.2.1")
    met.meet("192.0.2.1")
    met.close()
    assert met.knows("192.0.2.1")
    assert lines == []
    met.close()


@pytest.mark.parametrize("there", [False, True])
def test_trouble_is_told_once_and_nobody_is_refused(tmp_path: Path, there: bool) -> None:
    """Without a folder to write to, or with a folder in the file's place, every client waits, and the log says why."""
    folder = tmp_path / "none"
    if there:
        (folder / "clients.db").mkdir(parents=True)
    lines: list[bytes] = []
    met = acquainted(folder, Clock(), lines)
    for n in range(10):
        assert not met.knows(f"192.0.2.{n}")
    met.meet("192.0.2.1")
    met.close()
    assert len(lines) == 1
    assert b"clients.db: " in lines[0]


def test_damage_in_the_middle(tmp_path: Path) -> None:
    """A file whose pages turn out to be damaged is trouble once; then who comes is remembered again."""
    clock, lines = Clock(), list[bytes]()
    first = acquainted(tmp_path, clock)
    for n in range(4000):
        first.meet(f"192.0.{n // 256}.{n % 256}")
    first.close()
    path = tmp_path / "clients.db"
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * (path.stat().st_size - 4096 * 2))
    then, other = acquainted(tmp_path, clock, lines), acquainted(tmp_path, clock)
    assert [one.knows("192.0.2.7") for one in (then, other)] == [False, False]
    assert b"malformed" in b"".join(lines)
    then.meet("192.0.2.7")
    assert then.flush() == ""
    clock.now += 60
    assert [one.knows("192.0.2.7") for one in (then, other)] == [True, True]
    assert (tmp_path / "clients.db.damaged").exists()
    for one in (then, other):
        one.close()


def test_who_writes_to_the_new_file_reads_it_too(tmp_path: Path) -> None:
    """A worker that has written to the file that another began in a damaged one's place does not read on in the old."""
    clock, path = Clock(), tmp_path / "clients.db"
    one, other = acquainted(tmp_path, clock), acquainted(tmp_path, clock)
    assert not one.knows("192.0.2.1")
    store_file.set_aside(path, store_file.number(path))
    one.meet("192.0.2.1")
    other.meet("192.0.2.2")
    assert (other.flush(), one.flush()) == ("", "")
    clock.now += 60
    assert one.knows("192.0.2.2")
    for each in (one, other):
        each.close()
