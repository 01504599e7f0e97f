"""A client that changes its keys without end; what real OpenSSL does with it is in tests/journeys/test_tls.py."""

import ssl

import pytest

from backupmx.net import tls_keys

READ = ("read", 0x304, 22, 24, b"")


def connection() -> ssl.SSLObject:
    context = tls_keys.counted(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


def test_this_python_tells() -> None:
    """OpenSSL's messages can be seen here; a Python without the hook wants another way."""
    assert tls_keys._SETTER is not None


def test_once_too_many() -> None:
    """So many changes are the client's business; one more, and nothing is read from it again.  Others do not mind."""
    one, other = connection(), connection()
    for _ in range(tls_keys.MOST):
        tls_keys._heard(one, *READ)
    tls_keys._heard(one, "write", *READ[1:])  # our own answers
    tls_keys._heard(one, "read", 0x304, 22, 4, b"")  # another message
    with pytest.raises(ssl.SSLWantReadError):
        one.read(1)
    tls_keys._heard(one, *READ)
    with pytest.raises(tls_keys.KeysWithoutEnd, match="more than 32 key updates"):
        one.read(1)
    with pytest.raises(ssl.SSLWantReadError):
        other.read(1)
