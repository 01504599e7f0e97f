"""A client that changes its keys without end; what real OpenSSL does with it is in tests/journeys/test_tls.py."""

import gc
import ssl

from backupmx.net import tls_keys

READ = ("read", 0x304, 22, 24, b"")


def connection() -> ssl.SSLObject:
    context = tls_keys.watched(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


def test_this_python_tells() -> None:
    """OpenSSL's messages can be seen here; a Python without the hook wants another way."""
    assert tls_keys._SETTER is not None


def test_once_too_many() -> None:
    """So many changes are the client's business; the next one ends it, and that is said once."""
    one, other, ended = connection(), connection(), []
    for each in (one, other):
        tls_keys.watch(each, lambda each=each: ended.append(each))
    for _ in range(tls_keys.MOST):
        tls_keys._heard(one, *READ)
    tls_keys._heard(one, "write", *READ[1:])  # our own answers
    tls_keys._heard(one, "read", 0x304, 22, 4, b"")  # another message
    assert ended == []
    for _ in range(3):
        tls_keys._heard(one, *READ)
    assert ended == [one]


def test_nothing_is_kept() -> None:
    """A connection that is gone is forgotten."""
    gc.collect()
    before = len(tls_keys._watched)
    one = connection()
    tls_keys.watch(one, print)
    assert len(tls_keys._watched) == before + 1
    del one
    gc.collect()
    assert len(tls_keys._watched) == before
