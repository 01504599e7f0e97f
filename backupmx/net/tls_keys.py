"""tls_keys: a client of TLS 1.3 that changes its keys without end is cut off.

A KeyUpdate is 27 octets to send and a tenth of a millisecond to obey: new keys,
and a KeyUpdate back.  OpenSSL obeys as many as come, inside one read, and no
event loop sees any of it: one client sending nothing else kept a whole worker
from its other clients for a quarter of a minute.  No mail server changes keys
this often; most never do, GnuTLS every sixteen million records (RFC 8446 5.5).

    context ─ counted ─► OpenSSL tells of each message ─► the 33rd KeyUpdate ─► the read in which it came fails

Why _msg_callback, which is not in Python's manual?  It is the only place where
a KeyUpdate can be seen, and it is there from 3.8 on.  ssl's own setter turns
each number into an enum first, which makes a handshake a third longer; the one
below it does not.  Where a Python has it no longer nobody is cut off.

Why not raise in the callback?  OpenSSL's "wants more" would hide it.

BUGS
    What a client sent in one go, up to 256 KiB, is obeyed before it is cut off: half a second.
"""

import ssl
from typing import Any

MOST = 32
"""In the life of a connection.  Go ends one after 16 in a row (crypto/tls, maxUselessRecords)."""

_HANDSHAKE, _KEY_UPDATE = 22, 24
_SETTER: Any = getattr(ssl.SSLContext.__mro__[1], "_msg_callback", None)


class KeysWithoutEnd(ConnectionError):
    """The event loop closes the connection, and its protocol hears of this in `connection_lost`."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST} key updates")


class Counted(ssl.SSLObject):
    """What the event loops read from."""

    left = MOST

    def read(self, len: int = 1024, buffer: Any = None) -> bytes:
        """Raises KeysWithoutEnd, beside what ssl raises."""
        try:
            return super().read(len, buffer)
        finally:
            if self.left < 0:
                raise KeysWithoutEnd


def counted(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, and its connections end at one KeyUpdate too many."""
    if _SETTER is not None:
        context.sslobject_class = Counted
        _SETTER.__set__(context, _heard)
    return context


def _heard(connection: Any, direction: str, version: int, content: int, message: int, data: bytes) -> None:
    if content == _HANDSHAKE and message == _KEY_UPDATE and direction == "read":
        connection.left -= 1
