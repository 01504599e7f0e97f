"""Where work on a message is done, and in which pieces."""

import threading

import pytest

from backupmx.check.aside import LARGE, PIECE, aside, pieces, whole


async def test_small_here_large_elsewhere() -> None:
    """The loop does small work itself; a large message is a thread's."""
    here = threading.get_ident()
    assert await aside(LARGE, threading.get_ident) == here
    assert await aside(LARGE + 1, threading.get_ident) != here


async def test_what_it_raises_comes_back() -> None:
    """Trouble of a large message is the same trouble."""
    for size in (1, LARGE + 1):
        with pytest.raises(ValueError, match="invalid literal"):
            await aside(size, int, "x")


def test_pieces_are_bounded_and_whole() -> None:
    """However a body lies in memory, no call gets more than a piece of it, and nothing is lost."""
    body = [b"x" * (PIECE * 2 + 7), b"", memoryview(b"y" * 5)]
    cut = list(pieces(body))
    assert max(map(len, cut)) == PIECE
    assert whole(body) == b"".join(bytes(chunk) for chunk in body) == b"".join(cut)
