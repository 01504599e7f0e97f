"""relay/ramp.py: a primary that comes back is not run over, and one in trouble is left alone."""

import heapq
from collections.abc import Callable

import pytest

from backupmx.mail.reply import Reply
from backupmx.relay.judge import Answer
from backupmx.relay.ramp import Mood, Ramp, mood


def primary(takes: Callable[[int, float], tuple[float, Mood]], *, seconds: float, most: int = 320) -> list[float]:
    """When messages begin in a flush of that many seconds.

    `takes`: (messages under way, now) -> seconds that this one takes, and how it finds the primary.
    """
    ramp, now, begun = Ramp(most), 0.0, []
    ends: list[tuple[float, int, Mood]] = []
    ramp.revive()
    while now < seconds:
        while len(ends) < ramp.size and not ramp.rest(now):
            begun.append(now)
            lasts, said = takes(len(ends) + 1, now)
            heapq.heappush(ends, (now + lasts, len(begun), said))
        if not ends:
            now += ramp.rest(now)
            continue
        now, _, said = heapq.heappop(ends)
        ramp.heard(said, now)
    return begun


def test_doubles_every_round_trip() -> None:
    """2, 4, 8, 16 messages in the first four seconds of a primary that takes a second for each."""
    begun = primary(lambda under_way, now: (1.0, Mood.EASY), seconds=3.5)
    assert [sum(n <= at < n + 1 for at in begun) for n in range(4)] == [2, 4, 8, 16]


def test_quick_primary() -> None:
    """A primary that answers in a millisecond has everything it can take within ten."""
    ramp, rounds = Ramp(320), 0
    ramp.revive()
    while ramp.slow:
        rounds += 1
        for _ in range(ramp.size):
            ramp.heard(Mood.EASY, 0.0)
    assert rounds == 8


def test_finds_what_it_can_take() -> None:
    """A primary that is busy beyond 20 messages at once is kept near that, not at one and not at three hundred."""
    seen = []

    def takes(under_way: int, now: float) -> tuple[float, Mood]:
        seen.append(under_way)
        return 0.1, Mood.BUSY if under_way > 20 else Mood.EASY

    primary(takes, seconds=60)
    later = seen[len(seen) // 2 :]
    assert 10 <= sum(later) / len(later) <= 30
    assert max(later) <= 45


def test_full_disk() -> None:
    """A primary that says 452 to everything is asked twice a minute; its backlog is not spent on it."""
    begun = primary(lambda under_way, now: (0.01, Mood.TROUBLED), seconds=3600)
    assert 100 < len(begun) < 135


def test_trouble_that_ends() -> None:
    """After ten minutes of trouble the first message that goes well brings the others at once."""

    def takes(under_way: int, now: float) -> tuple[float, Mood]:
        return 0.01, Mood.TROUBLED if now < 600 else Mood.EASY

    begun = primary(takes, seconds=640)
    assert sum(at < 600 for at in begun) < 35
    assert len(begun) > 100_000


def test_greylist() -> None:
    """A primary that says 4.7.1 to every first try is asked about each message: one after another, without a pause."""
    begun = primary(lambda under_way, now: (0.01, Mood.BUSY), seconds=10)
    assert len(begun) > 900


def test_one_bad_one() -> None:
    """One message in twenty that meets trouble changes little."""
    ramp = Ramp(320)
    for n in range(2000):
        ramp.heard(Mood.TROUBLED if n % 20 == 0 else Mood.EASY, 0.0)
    assert ramp.size == 320


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (250, "2.0.0", Mood.EASY), (550, "5.1.1", Mood.EASY), (554, "5.7.1", Mood.EASY),
        (450, "4.2.0", Mood.EASY), (452, "4.2.2", Mood.EASY), (450, "4.1.1", Mood.EASY), (450, "", Mood.EASY),
        (450, "4.7.1", Mood.BUSY), (451, "", Mood.BUSY), (452, "4.5.3", Mood.BUSY),
        (451, "4.3.0", Mood.TROUBLED), (452, "", Mood.TROUBLED), (452, "4.3.1", Mood.TROUBLED),
        (421, "4.7.0", Mood.TROUBLED), (421, "", Mood.TROUBLED), (451, "4.4.1", Mood.TROUBLED),
    ],
)  # fmt: skip
def test_moods(code: int, status: str, expected: Mood) -> None:
    """About the recipient: easy.  About us: busy.  About the system: troubled."""
    assert mood([Answer(Reply(code, status, "words"))]) is expected


def test_the_worst_counts() -> None:
    """Of a message to several the worst answer tells; an answer that was lost is trouble."""
    good, full = Answer(Reply(250, "2.0.0", "ok")), Answer(Reply(452, "4.3.1", "full"))
    assert mood([good, full]) is Mood.TROUBLED
    assert mood([good, Answer(Reply(421, "4.4.2", "lost"), uncertain=True)]) is Mood.TROUBLED
