"""tls_keys: a client of TLS 1.3 that changes its keys without end is cut off.

A KeyUpdate is 27 octets to send and a tenth of a millisecond to obey: new keys,
and a KeyUpdate back.  OpenSSL obeys as many as come, inside one read, and no
event loop sees any of it: one client sending nothing else kept a whole worker
from its other clients for a quarter of a minute.  No mail server changes keys
this often; most never do, GnuTLS every sixteen million records (RFC 8446 5.5).

    context ─ watched ─► OpenSSL tells of each message ─► the 33rd KeyUpdate: `end`

Why _msg_callback, which is not in Python's manual?  It is the only place where
a KeyUpdate can be seen, and it is there from 3.8 on.  ssl's own setter turns
each number into an enum first, which makes a handshake a third longer; the one
below it does not.  Where a Python has it no longer nobody is cut off.

BUGS
    What a client sent in one go, up to 256 KiB, is obeyed before it is cut off: half a second.
"""

import ssl
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

MOST = 32
"""In the life of a connection.  Go ends one after 16 in a row (crypto/tls, maxUselessRecords)."""

_HANDSHAKE, _KEY_UPDATE = 22, 24
_SETTER: Any = getattr(ssl.SSLContext.__mro__[1], "_msg_callback", None)

_watched: "WeakKeyDictionary[ssl.SSLObject, Watched]" = WeakKeyDictionary()


class Watched:
    """One connection: how often its keys may still change, and what ends it."""

    __slots__ = ("end", "left")

    def __init__(self, end: Callable[[], object]) -> None:
        self.left = MOST
        self.end = end


def watched(context: ssl.SSLContext) -> ssl.SSLContext:
    """Connections of this context may be given to `watch`."""
    if _SETTER is not None:
        _SETTER.__set__(context, _heard)
    return context


def watch(connection: ssl.SSLObject, end: Callable[[], object]) -> None:
    """`end` is called once, from within a read, at one KeyUpdate too many.  It may abort the transport."""
    _watched[connection] = Watched(end)


def _heard(connection: Any, direction: str, version: int, content: int, message: int, data: bytes) -> None:
    if content != _HANDSHAKE or message != _KEY_UPDATE or direction != "read":
        return
    found = _watched.get(connection)
    if found is None:
        return
    found.left -= 1
    if found.left == -1:
        found.end()
