"""relay/schedule.py: when to try again, and when to give up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.relay import schedule

DEFAULTS = {"retry_min": 300.0, "retry_max": 3600.0, "lifetime": 5 * 86400.0}


def test_like_postfix() -> None:
    """0, 5, 10, 20, 40, 80 minutes, then every hour: the wait is the age, within bounds."""
    now, tries = 0.0, []
    for attempt in range(8):
        now = schedule.next_attempt(0.0, now, attempt, chance=0.5, **DEFAULTS)
        tries.append(now / 60)
    assert tries == [5, 10, 20, 40, 80, 140, 200, 260]


@given(
    st.floats(0, 6 * 86400), st.integers(0, 200), st.floats(0, 1), st.floats(1, 1e5), st.floats(1, 1e5),
    st.floats(60, 40 * 86400),
)  # fmt: skip
def test_bounds(age: float, attempts: int, chance: float, low: float, high: float, lifetime: float) -> None:
    """The next try is in the future, and no later than expiry; a first try is followed by one in the first hour."""
    due = schedule.next_attempt(
        0.0, age, attempts, retry_min=low, retry_max=high, lifetime=lifetime, chance=chance
    )  # fmt: skip
    assert age < due <= max(age + 1, lifetime)
    if attempts == 0 and age < schedule.HOUR:
        assert due <= max(age + 1, schedule.HOUR)


def test_spread() -> None:
    """What came together does not come again together."""
    early, late = (schedule.next_attempt(0.0, 600.0, 1, chance=c, **DEFAULTS) for c in (0.0, 1.0))
    assert (early, late) == (600 + 540, pytest.approx(600 + 660))


def test_expired() -> None:
    """Five days by default, and not a second earlier."""
    assert [schedule.expired(0.0, now, 432000.0) for now in (431999.9, 432000.0)] == [False, True]


def test_probes() -> None:
    """A next hop that is down is looked at after 30 s, 1, 2, 4, then every 5 minutes."""
    waits = [schedule.probe_wait(n, probe_min=30, probe_max=300, chance=0.5) for n in (1, 2, 3, 4, 5, 500)]
    assert waits == [30, 60, 120, 240, 300, 300]
