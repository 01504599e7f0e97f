"""activation: listening sockets that systemd opened for us, port 25 without any privilege.

systemd passes them as descriptors 3 and up and says so in LISTEN_PID and
LISTEN_FDS (sd_listen_fds(3)); it keeps them open while we are down, so a client
that comes during a restart waits and is not refused.  `smtp.listen` is not
looked at then.  Every worker serves duplicates of the same sockets: systemd
gives us one of each, so there is one queue of clients that all workers take from.

Trouble
    ConfigTrouble   what was passed is no listening TCP socket (Accept=yes), or
                    one for IPv4 and IPv6 at once, on which an IPv4 client would
                    be "::ffff:192.0.2.1" in logs, limits and SPF.
"""

import os
import socket
from collections.abc import Iterator

from backupmx.config import ConfigTrouble

_FIRST = 3  # SD_LISTEN_FDS_START


def descriptors() -> range:
    """What systemd passed to this process, and not to another one's parent; empty: nothing."""
    number = os.environ.get("LISTEN_FDS", "")
    mine = os.environ.get("LISTEN_PID") == str(os.getpid()) and number.isdecimal()
    return range(_FIRST, _FIRST + int(number)) if mine else range(0)


def passed() -> list[socket.socket]:
    """Duplicates of them.  Raises ConfigTrouble with all that is wrong."""
    sockets = []
    errors = []
    for descriptor in descriptors():
        try:
            opened = socket.socket(fileno=os.dup(descriptor))
        except OSError as error:
            errors.append(f"descriptor {descriptor} from systemd: {error.strerror}")
            continue
        sockets.append(opened)
        errors.extend(f"descriptor {descriptor} from systemd: {error}" for error in _unfit(opened))
    if errors:
        for each in sockets:
            each.close()
        raise ConfigTrouble(errors)
    for each in sockets:
        each.setblocking(False)
    return sockets


def _unfit(given: socket.socket) -> Iterator[str]:
    if given.family not in (socket.AF_INET, socket.AF_INET6) or given.type != socket.SOCK_STREAM:
        yield "no TCP socket; write ListenStream=0.0.0.0:25 and ListenStream=[::]:25"
    elif not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        yield "not listening; write Accept=no"
    elif given.family == socket.AF_INET6 and not given.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        yield "IPv4 and IPv6 in one; write BindIPv6Only=ipv6-only and a ListenStream= for each"


def done() -> None:
    """We have our duplicates; what we start must not take the originals for its own."""
    for descriptor in descriptors():
        os.close(descriptor)
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
