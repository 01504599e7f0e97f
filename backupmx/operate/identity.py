"""identity: who we are: root only for the ports, then `user`; a command on the queue is its owner."""

import os
import pwd
from pathlib import Path

from backupmx.config import ConfigTrouble


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
        raise ConfigTrouble([f"{folder}: {error.strerror}"]) from None
    become_owner(status.st_uid, status.st_gid)
