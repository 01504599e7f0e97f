"""legible: text in the database that is no text any more.

A bit that flips in a column of text leaves octets that are no UTF-8; Python raises for the whole answer, the row and
its thousand neighbours alike.  So whoever meets it asks once more, with `forgiving`: each octet that is
none becomes MARK, and who sees a mark knows that these words are damaged.

    is_illegible   was it this, and not the disk?
    forgiving      for one more reading
    is_marked      has any of these words a mark?
    behind         the octets behind which a listing goes on

MARK is no character and never will be (Unicode 23.7); addresses have none, of other words rows.text takes it
away.  Unlike a lone surrogate it can be written to the database again.  It costs nothing where nothing is damaged.
"""

import codecs
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MARK = "\uffff"
DAMAGED = "damaged: not all of it is text any more"
_ERRORS = "backupmx.queue.legible"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return MARK, error.end


codecs.register_error(_ERRORS, _mark)


def is_illegible(error: BaseException) -> bool:
    """Python's own error, which has no code of SQLite's."""
    return isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorcode", None) is None


@contextmanager
def forgiving(db: sqlite3.Connection) -> Iterator[None]:
    db.text_factory = _forgiven
    try:
        yield
    finally:
        db.text_factory = str


def _forgiven(octets: bytes) -> str:
    return octets.decode("utf-8", _ERRORS)


def is_marked(words: Iterable[object]) -> bool:
    return any(isinstance(word, str) and MARK in word for word in words)


def behind(id: str) -> bytes:
    """What sorts behind this id: of a marked one, behind all that begin as it does and go on with no ASCII."""
    good, marked, _ = id.partition(MARK)
    octets = good.encode("utf-8", "surrogatepass")
    return octets + b"\xff" * 32 if marked else octets
