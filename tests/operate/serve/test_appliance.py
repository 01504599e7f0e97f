"""The supervisor's decisions; what it does to processes is in tests/journeys."""

import errno
import os
import socket
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble, parse
from backupmx.operate.serve.appliance import Appliance, Child, obstacles
from backupmx.operate.serve.lock import lock

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
PATH = Path("/etc/backupmx/backupmx.toml")


def test_obstacles(tmp_path: Path) -> None:
    """A running appliance and a taken port are told together, with the file they belong to."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = parse(f'{TEXT}[smtp]\nlisten = ["127.0.0.1:{port}"]\n', tmp_path / "backupmx.toml")
        mine = lock(config)
        assert obstacles(config) == [
            f"{tmp_path}/lock: another backupmx works on this queue; stop it first",
            f"{tmp_path}/backupmx.toml: smtp.listen: 127.0.0.1:{port}: Address already in use;"
            " stop the program that has it (ss -ltnp, sockstat -l), or name another port",
        ]
    os.close(mine)


def test_all_that_is_in_the_way(tmp_path: Path) -> None:
    """A wrong key, a missing file and a taken port stop a start in one list."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        path = tmp_path / "backupmx.toml"
        path.write_text(f'{TEXT}[smtp]\nlisten = ["127.0.0.1:{port}"]\nworkrs = 1\n')
        with pytest.raises(ConfigTrouble) as caught:
            Appliance(path)
    assert [error.removeprefix(f"{tmp_path}/").partition(": ")[2][:12] for error in caught.value.errors] == [
        "smtp.workrs:", "No such file", "smtp.listen:",
    ]  # fmt: skip


def test_no_process_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fork that fails is told, and tried again later and later; when it succeeds there is a process again."""
    path = tmp_path / "backupmx.toml"
    path.write_text(f'{TEXT}[smtp]\nlisten = ["127.0.0.1:0"]\n')
    (tmp_path / "transport.map").write_text("example.jp smtp:[127.0.0.1]\n")
    appliance = Appliance(path)
    child = Child("worker 1", lambda: 0)
    forks: list[int | OSError] = [*([OSError(errno.EAGAIN, "Resource temporarily unavailable")] * 9), 4711]

    def fork() -> int:
        if isinstance(answer := forks.pop(0), OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "fork", fork)
    waits = []
    for _ in range(9):
        appliance._start(child)
        assert child.pid == 0
        assert child.again_at > child.started
        waits.append(child.wait)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    appliance._start(child)
    assert child.pid == 4711
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].endswith("error: worker 1 died: Resource temporarily unavailable; again in 1.0s")
    assert lines[-1].endswith("started: worker 1, pid 4711")
