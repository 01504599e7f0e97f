"""ports: every worker's listening sockets, or every reason why not.

SO_REUSEPORT lets several of our processes share a port.  It would also let two
appliances of one user share it without knowing, each getting half of the mail;
so a port is tried without it first.  What systemd opened for us (activation.py)
is taken instead of opening anything.
"""

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Sequence

from backupmx.config import ConfigTrouble
from backupmx.operate.serve.activation import passed
from backupmx.receive.listen import address_of, open_all, open_sockets

Sockets = list[list[socket.socket]]

_REMEDIES = {
    errno.EADDRINUSE: "; stop the program that has it (ss -ltnp, sockstat -l), or name another port",
    errno.EACCES: "; start as root with `user` set, let systemd open it (backupmx.socket), or name a port above 1023",
    errno.EADDRNOTAVAIL: "; name an address of this host",
}


def listening(listen: Sequence[str], workers: int) -> Sockets:
    """One list of sockets for each worker.  Raises ConfigTrouble with every address that cannot be had."""
    workers = workers or os.cpu_count() or 1
    if given := passed():
        return [given, *([each.dup() for each in given] for _ in range(workers - 1))]
    if errors := [error for address in listen for error in _unusable(address)]:
        raise ConfigTrouble(errors)
    try:
        return open_all(listen, workers)
    except OSError as error:
        raise ConfigTrouble([_sentence(error)]) from None


def close(sockets: Iterable[list[socket.socket]]) -> None:
    for mine in sockets:
        for each in mine:
            each.close()


def shown(sockets: Sockets) -> str:
    """Where the first worker listens, "127.0.0.1:2525, [::1]:2525": port 0 has become a number."""
    return ", ".join(address_of(each) for each in sockets[0])


def _unusable(address: str) -> Iterator[str]:
    """Why we cannot listen there, if so."""
    try:
        (ours,) = open_sockets([address])
    except OSError as error:
        yield _sentence(error)
        return
    family, place = ours.family, ours.getsockname()
    ours.close()
    with socket.socket(family, socket.SOCK_STREAM) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            alone.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            alone.bind(place)
        except OSError as error:
            yield _sentence(OSError(error.errno, error.strerror, address))


def _sentence(error: OSError) -> str:
    return f"smtp.listen: {error.filename}: {error.strerror}{_REMEDIES.get(error.errno or 0, '')}"
