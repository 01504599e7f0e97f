"""descriptors: how many files and sockets a worker may have open, and how many clients that is.

The usual soft limit of 1,024 is less than `smtp.connection_limit`.  A worker
raises its own as far as the hard limit allows; where that is not enough the
operator hears of it at the start and not in the first flood.  A client costs a
socket and at times a file for its message; what is left is for the queue, the
resolver, engines and milters.

Past `most` no client is accepted (listen.py): it waits in the kernel's queue,
where an EMFILE would have cut it off without a word.
"""

import resource

from backupmx.config import Smtp
from backupmx.journal import Journal

_EACH = 2
_OURS = 256


def most_clients(smtp: Smtp, journal: Journal) -> int:
    """Raises this process's limit as needed.  -> the clients it can have at once, those it only says no to included"""
    wanted = _EACH * 2 * smtp.connection_limit + _OURS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    most = clients_of(min(soft, wanted) if soft != resource.RLIM_INFINITY else wanted)
    if most < smtp.connection_limit:
        journal.warned(
            f"{soft} open files allow {most} clients a worker, less than smtp.connection_limit"
            f" ({smtp.connection_limit}); raise the limit (LimitNOFILE=, ulimit -n)"
        )
    return max(1, most)


def clients_of(files: int) -> int:
    """Pure.  For so many clients there are descriptors."""
    return max(1, files - _OURS) // _EACH


def allowed() -> int | None:
    """So many descriptors a process started from here may have; None: there is no limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard
