"""Tokens in their file."""

import errno
import os
from pathlib import Path

import pytest

from backupmx.operate.page.tokens import FILE, OPERATOR, Tokens


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new token that cannot be written leaves the old one in force, and no half file behind."""
    tokens = Tokens(tmp_path / FILE)
    old = tokens.issue(OPERATOR)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        tokens.issue(OPERATOR, new=True)
    assert sorted(tmp_path.iterdir()) == before
    assert tokens.read() == {OPERATOR: old}
