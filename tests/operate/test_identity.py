"""Root only for the ports."""

import os
import pwd

import pytest

from backupmx.config import ConfigTrouble
from backupmx.operate.identity import become, become_owner, known

ROOT = os.geteuid() == 0


@pytest.mark.skipif(not ROOT, reason="only root changes its identity")
def test_become() -> None:
    """As root we become the user that is named, with his groups, and cannot go back."""
    nobody = pwd.getpwnam("nobody")
    pid = os.fork()
    if not pid:
        try:
            become("nobody")
            good = (os.getuid(), os.geteuid(), os.getegid()) == (nobody.pw_uid, nobody.pw_uid, nobody.pw_gid)
            try:
                os.setuid(0)
                good = False
            except PermissionError:
                pass  # that is the point
            os._exit(0 if good else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(not ROOT, reason="only root changes its identity")
def test_no_such_user() -> None:
    """A user who does not exist is a sentence, before anything else is done."""
    with pytest.raises(ConfigTrouble, match='user: no user "nobody-of-this-name" here'):
        known("nobody-of-this-name")


def test_we_stay_who_we_are() -> None:
    """Without a name, and for a queue of root's own, nothing changes."""
    before = os.getuid(), os.getgid(), os.getgroups()
    become("")
    become_owner(0, 0)
    assert (os.getuid(), os.getgid(), os.getgroups()) == before
