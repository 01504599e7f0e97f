"""identity: who we are: root only for the ports, then `user`; a command on the queue is its owner."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import backupmx
from backupmx.config import ConfigTrouble
from backupmx.config.home import whose


def known(user: str) -> pwd.struct_passwd | None:
    """The entry of `user`; None when we stay who we are.  Raises ConfigTrouble."""
    if not user or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigTrouble([f'user: no user "{user}" here; create it, or write user = ""']) from None


def become(user: str) -> None:
    """Give up root for `user`; nothing when we are not root or none is named.  Raises ConfigTrouble."""
    if (entry := known(user)) is not None:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)


@contextmanager
def seen_by(user: str) -> Iterator[None]:
    """Within, root opens files as `user` would; nothing when we are not root or none is named.

    Raises ConfigTrouble.  Of a process with one thread alone.
    """
    if (entry := known(user)) is None:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.initgroups(user, entry.pw_gid)
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def out_of_reach(user: str) -> list[str]:
    """What of us `user` cannot read: with a Python below /root his later imports would fail.  Raises ConfigTrouble."""
    with seen_by(user):
        return [
            f"{Path(file).parent}: the user {user} cannot read this; install Python and backupmx where he can"
            for file in (os.__file__, backupmx.__file__)
            if not os.access(file, os.R_OK, effective_ids=True)
        ]


def become_owner(uid: int, gid: int) -> None:
    """As root, take the identity of a file's owner; nothing otherwise."""
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)


def become_owner_of(folder: Path) -> None:
    """As root, take the identity of the state directory's owner, before anything in it is opened.

    What root made there would lock the appliance out.  Raises ConfigTrouble.
    """
    try:
        status = folder.stat()
    except OSError as error:
        remedy = "; `backupmx serve` makes it" if isinstance(error, FileNotFoundError) else ""
        raise ConfigTrouble([f"{folder}: {error.strerror}{remedy}"]) from None
    become_owner(status.st_uid, status.st_gid)
    require_access(folder)


def require_access(folder: Path) -> None:
    """Who may not look into it would find nothing there and say so, which is not true.  Raises ConfigTrouble."""
    if os.path.isdir(folder) and not os.access(folder, os.X_OK):
        owner = whose(folder.stat().st_uid)
        raise ConfigTrouble([f"{folder}: Permission denied; run this as root or as the user {owner}"])
