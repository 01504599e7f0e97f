"""lock: one appliance on one state directory.

The supervisor locks a file there and its children inherit the lock, so it is
free only when the last of them is gone, however they went.  The command line
looks at it to know whether anybody would deliver.  Both may be root, and the
folder is not root's: a link there is not followed, a pipe not waited for.
"""

import contextlib
import fcntl
import os
import threading
from pathlib import Path

from backupmx.config import ConfigTrouble, Housed
from backupmx.config.home import whose

PATIENCE = 10.0
"""The children of an appliance that was killed end their work first; a moment's patience spares a restart."""

_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK


def lock(config: Housed) -> int:
    """The state directory is ours alone.  Raises ConfigTrouble."""
    path = config.state_path("lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigTrouble([taken(config)]) from None
    except OSError as error:
        raise ConfigTrouble([f"{error.filename or path}: {error.strerror}; {_remedy(path.parent)}"]) from None
    with contextlib.suppress(OSError):  # for who looks; a full disk is said by those who need it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
    return descriptor


def _remedy(folder: Path) -> str:
    """Pure but for a look whether the folder is there."""
    user = whose(os.geteuid())
    if folder.is_dir():
        return f"make it writable for the user {user}"
    if folder.exists():
        return "state_dir wants a folder here"
    return f"make the folder, writable for the user {user}: install -d -m 700 -o {user} {folder}"


def taken(config: Housed) -> str:
    """What to say when it is."""
    return f"{config.state_path('lock')}: another backupmx works on this queue; stop it first"


def is_running(config: Housed) -> bool:
    """An appliance holds the lock of this state directory."""
    try:
        descriptor = os.open(config.state_path("lock"), os.O_RDONLY | _SAFELY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def becomes_free(config: Housed, patience: float) -> bool:
    """Whether nobody holds it, now or within `patience` seconds."""
    if not is_running(config):
        return True
    # flock(2) knows no end of waiting: a thread waits, and stays behind when it takes too long.
    waiting = threading.Thread(target=_wait_for, args=(config.state_path("lock"),), daemon=True)
    waiting.start()
    waiting.join(patience)
    return not waiting.is_alive()


def _wait_for(path: Path) -> None:
    with contextlib.suppress(OSError):  # `lock` will say it
        descriptor = os.open(path, os.O_RDONLY | _SAFELY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)
