"""bodies: large bodies as files beside the database.

    write      the body of a new entry -> a file that survives a power cut
    adopt      a file the receiver has already spooled into the folder: fsync, no copy
    view       a body as read-only memory, mapped, not read
    sum        a body's checksum, read with read(2)
    remove     after the entry's removal is committed
    sweep      what no entry names: left over by a crash

Names of files that a process makes end in its `mark`: when it died, what it left
is told from what others are about to commit.

A file is on the disk (file and folder fsynced) before its row is committed, and
goes after the row's removal is committed.  So a crash leaves at most a file
that nobody names, never a name without its file.

Trouble
    OSError    as the system gave it; sqlite.py makes QueueTrouble of it.
    Damaged    the file is shorter than its row says, cannot be read, or is gone.

Why sum with read(2)?  A bad sector under a mapped page is SIGBUS, the end of the
process; under read(2) it is an error with a name.  The pages are then at hand.
"""

import errno
import mmap
import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from backupmx.mail.message import Buffer, Spool, pieces

_CHUNK = 1 << 20


class Damaged(Exception):
    """This is not what was written."""


class Bodies:
    """The body folder.  Every method waits for the disk: call it in a thread."""

    def __init__(self, folder: str, mark: str = "") -> None:
        self.folder = os.path.abspath(folder)
        self._mark = mark
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._counting = threading.Lock()
        self._syncing = threading.Lock()
        self._made = 0
        self._synced = 0

    def write(self, name: str, chunks: Iterable[Buffer]) -> str:
        """-> its name, `name` and our mark, once file and folder are on the disk.  A file half written is removed."""
        name += self._mark
        path = os.path.join(self.folder, name)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(file, "wb", buffering=0) as out:
                for piece in pieces(chunks):
                    _write_all(out.fileno(), piece)
                os.fsync(out.fileno())
            self._sync_folder()
        except BaseException:
            os.unlink(path)
            raise
        return name

    def adopt(self, spool: Spool) -> str:
        """-> the name of a spooled file, once it and the folder are on the disk."""
        folder, name = os.path.split(os.path.abspath(spool.path))
        if folder != self.folder:
            raise ValueError(f"{spool.path} is not in the body folder {self.folder}")
        with self._opened(name, os.O_RDONLY) as file:
            os.fsync(file)
        self._sync_folder()
        return name

    def view(self, name: str, start: int, size: int) -> memoryview:
        """`size` octets from `start` on, read-only; the map lives as long as the view."""
        with self._opened(name, os.O_RDONLY) as file:
            _check_size(file, name, start, size)
            if size == 0:
                return memoryview(b"")
            mapped = mmap.mmap(file, start + size, access=mmap.ACCESS_READ)
        return memoryview(mapped)[start:]

    def sum(self, name: str, start: int, size: int, checksum: int) -> int:
        """CRC-32 of the body, continued from `checksum`."""
        with self._opened(name, os.O_RDONLY) as file:
            _check_size(file, name, start, size)
            while size and (chunk := _read(file, name, min(_CHUNK, size), start)):
                checksum = zlib.crc32(chunk, checksum)
                start, size = start + len(chunk), size - len(chunk)
        return checksum

    def remove(self, names: Iterable[str]) -> None:
        """Files that are gone already are as good as removed."""
        for name in names:
            try:
                os.unlink(os.path.join(self.folder, name))
            except FileNotFoundError:
                continue  # a sweep, or an earlier try, was here

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def sweep(self, known: Iterable[str], mark: str = "") -> list[str]:
        """Remove what nobody names.  Only before anybody writes here, or whose files end in `mark`."""
        orphans = sorted({name for name in self.names() if name.endswith(mark)} - set(known))
        self.remove(orphans)
        return orphans

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        try:
            file = os.open(os.path.join(self.folder, name), flags | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Damaged(f"body file {name} is gone") from None
        try:
            yield file
        finally:
            os.close(file)

    def _sync_folder(self) -> None:
        """Names are on the disk.  One fsync serves everybody whose file was there when it began."""
        with self._counting:
            self._made += 1
            mine = self._made
        with self._syncing:
            if self._synced >= mine:
                return
            made = self._made
            sync_folder(self.folder)
            self._synced = made


def sync_folder(path: str) -> None:
    """The names in it survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check_size(file: int, name: str, start: int, size: int) -> None:
    found = os.fstat(file).st_size
    if found < start + size:
        raise Damaged(f"body file {name} has {found} octets, not {start + size}")


def _read(file: int, name: str, size: int, start: int) -> bytes:
    """A sector that cannot be read is damage to this one message, not to the queue."""
    try:
        return os.pread(file, size, start)
    except OSError as error:
        if error.errno == errno.EIO:
            raise Damaged(f"body file {name}: {error.strerror} at {start}") from error
        raise


def _write_all(file: int, chunk: Buffer) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(file, rest) :]
