"""How many clients the file descriptors allow."""

import resource

import pytest

from backupmx.config import Smtp
from backupmx.journal import Journal
from backupmx.operate.serve.descriptors import most_clients


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """This process's limit as a value."""
    now = {"now": (1024, 1 << 20)}

    def change(which: int, to: tuple[int, int]) -> None:
        now["now"] = to

    monkeypatch.setattr(resource, "getrlimit", lambda which: now["now"])
    monkeypatch.setattr(resource, "setrlimit", change)
    return now


@pytest.mark.parametrize(
    ("soft", "hard", "most", "then", "warned"),
    [
        (1024, 1 << 20, 4000, 8256, False),
        (1 << 16, 1 << 16, 4000, 1 << 16, False),
        (1024, 4096, 1920, 4096, True),
        (256, 256, 1, 256, True),
        (1024, -1, 4000, 8256, False),
        (-1, -1, 4000, -1, False),
    ],
)
def test_as_many_as_are_needed(
    limits: dict[str, tuple[int, int]], soft: int, hard: int, most: int, then: int, warned: bool
) -> None:
    """The soft limit is raised for twice the clients that are served; a hard one that is too low is told."""
    lines: list[bytes] = []
    limits["now"] = (soft, hard)
    assert most_clients(Smtp(), Journal(sink=lines.append, stamped=False)) == most
    assert limits["now"] == (then, hard)
    assert bool(lines) == warned
    assert all(b"less than smtp.connection_limit (2000); raise the limit (LimitNOFILE=" in line for line in lines)
