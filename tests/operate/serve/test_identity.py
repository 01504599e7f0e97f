"""Root only for the ports."""

import os
import pwd
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble
from backupmx.operate.serve.identity import (
    become,
    become_owner,
    become_owner_of,
    known,
    out_of_reach,
    require_access,
    seen_by,
)  # fmt: skip

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


@pytest.mark.skipif(not ROOT, reason="only root changes its identity")
def test_seen_by(tmp_path: Path) -> None:
    """Within, root is refused what the user would be refused; afterwards it is root again, with its groups."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    secret = tmp_path / "privkey.pem"
    secret.write_text("key\n")
    secret.chmod(0o600)
    with seen_by("nobody"), pytest.raises(PermissionError):
        secret.read_text()
    assert secret.read_text() == "key\n"
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


@pytest.mark.skipif(not ROOT, reason="only root changes its identity")
def test_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that the user cannot read, below /root say, is a sentence at the start and no traceback after it."""
    folder = tmp_path / "lib"
    folder.mkdir(mode=0o700)
    (folder / "os.py").touch()
    monkeypatch.setattr(os, "__file__", str(folder / "os.py"))
    assert out_of_reach("nobody")[0] == (
        f"{folder}: the user nobody cannot read this; install Python and backupmx where he can"
    )


def test_nothing_is_out_of_our_own_reach() -> None:
    """Who stays who he is reads what he has read."""
    assert out_of_reach("") == []


def test_no_state_directory_yet(tmp_path: Path) -> None:
    """Before the first start a command says who makes the state directory."""
    with pytest.raises(ConfigTrouble, match="No such file or directory; `backupmx serve` makes it"):
        become_owner_of(tmp_path / "spool")


@pytest.mark.skipif(not ROOT, reason="only root changes its identity")
def test_a_folder_one_may_not_look_into(tmp_path: Path) -> None:
    """A command of somebody else's says whose it would have to be, not that there is no appliance."""
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    reachable = [path for path in tmp_path.parents if path.stat().st_mode & 0o001 == 0]
    for path in (tmp_path, *reachable):
        path.chmod(path.stat().st_mode | 0o001)
    pid = os.fork()
    if not pid:
        try:
            become("nobody")
            require_access(folder)
        except ConfigTrouble as trouble:
            os._exit(
                0 if trouble.errors == (f"{folder}: Permission denied; run this as root or as the user root",) else 1
            )
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
