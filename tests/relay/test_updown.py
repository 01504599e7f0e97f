"""relay/updown.py: what an answer, or none, makes of a next hop's state."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.queue.entry import HopState
from backupmx.relay import updown
from backupmx.relay.settings import RelaySettings

SETTINGS = RelaySettings("mx2.example.net")
HOP = updown.unknown("smtp:[primary1.example.net]")


def went(steps: str, *, gap: float = 6.0, settings: RelaySettings = SETTINGS, start: HopState = HOP) -> list[str]:
    """How the state reads after each step, `+` an answer and `-` a failure, `gap` seconds apart."""
    state, read = start, []
    for n, step in enumerate(steps):
        now = n * gap
        state = (
            updown.answered(state, now, settings) if step == "+" else updown.failed(state, "gone", now, settings, 0.5)
        )
        read.append("up" if state.up else f"{state.successes}")
    return read


def test_up_at_once_when_nothing_is_known() -> None:
    """A primary nobody has asked yet is up at its first answer."""
    assert went("+") == ["up"]


def test_up_after_three() -> None:
    """One that was down is up at its third answer in a row, and answers from the first on."""
    assert went("-+++") == ["0", "1", "2", "up"]
    state = updown.failed(HOP, "gone", 0.0, SETTINGS, 0.5)
    assert not updown.answers(state)
    assert updown.answers(updown.answered(state, 40.0, SETTINGS))


def test_answers_of_one_moment_count_once() -> None:
    """A thousand messages in three seconds prove no more than one: answers count when they are five seconds apart."""
    assert went("-" + "+" * 30, gap=0.1)[-1] == "1"


def test_a_failure_begins_the_count_anew() -> None:
    """Two answers, a failure, two answers: still down."""
    assert went("-++-++") == ["0", "1", "2", "0", "1", "2"]


def test_down_at_the_first_failure() -> None:
    """Mail is taken again from the first failure on: no client is sent to a primary that is away."""
    assert went("+-") == ["up", "0"]


def test_probes_grow_through_a_flapping_time() -> None:
    """Answers in between do not bring the short intervals back; being up does."""
    state = HOP
    waits = []
    for now, step in enumerate("--+-+-+++-"):
        now *= 10
        if step == "+":
            state = updown.answered(state, now, SETTINGS)
        else:
            state = updown.failed(state, "gone", now, SETTINGS, 0.5)
            waits.append(state.probe_at - now)
    assert waits == [30, 60, 120, 240, 30]


def test_since() -> None:
    """`since` is when it went down, not the last probe; then when it became up."""
    state = updown.failed(HOP, "gone", 100.0, SETTINGS, 0.5)
    again = updown.failed(state, "still gone", 200.0, SETTINGS, 0.5)
    assert (again.since, again.error, again.failures) == (100.0, "still gone", 2)
    for now in (300.0, 306.0, 312.0):
        again = updown.answered(again, now, SETTINGS)
    assert (again.up, again.since, again.error, again.failures) == (True, 312.0, "", 0)


@pytest.mark.parametrize(("after", "read"), [(1, ["0", "up"]), (2, ["0", "1"])])
def test_up_after_is_settable(after: int, read: list[str]) -> None:
    """up_after = 1 believes the first answer."""
    assert went("-+", settings=replace(SETTINGS, up_after=after)) == read


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 400)), max_size=60), st.integers(1, 5))
def test_up_has_been_earned(steps: list[tuple[bool, float]], after: int) -> None:
    """Whatever happens: who became up after a failure has answered for at least 5 s times (up_after - 1) since it."""
    settings, state, now, last_failure = replace(SETTINGS, up_after=after), HOP, 0.0, None
    for good, gap in steps:
        now += gap
        was = state
        if good:
            state = updown.answered(state, now, settings)
        else:
            state, last_failure = updown.failed(state, "gone", now, settings, 0.5), now
        assert not updown.rests(state, now) or not good
        if state.up and not was.up and last_failure is not None:
            assert now - last_failure >= updown.APART * (after - 1)
