"""What must be so after a crash follows from what was said before it."""

from backupmx.queue.entry import State
from tests.crash.told import Told


def allowed(text: str) -> set[State | None]:
    told = Told()
    told.hear(text)
    (fate,) = told.fates.values()
    return {state for state in (None, *State) if fate.allows(state)}


def test_asked_and_not_answered() -> None:
    """A message whose sender has read nothing yet may be there or not."""
    assert allowed("begin A a queued") == {None, State.QUEUED}


def test_promised() -> None:
    """A message that read 250 must be there."""
    assert allowed("begin A a queued\nend A a queued") == {State.QUEUED}


def test_refused() -> None:
    """A message that read 451 must not."""
    assert allowed("begin A a queued\nfailed A a queued") == {None}


def test_settling() -> None:
    """In the moment of its settlement it waits still, or is gone; then it is gone."""
    settling = "end A a queued\nbegin A a delivered"
    assert allowed(settling) == {None, State.QUEUED, State.DELIVERED}
    assert allowed(f"{settling}\nend A a delivered") == {None, State.DELIVERED}


def test_a_relay_faster_than_the_250() -> None:
    """A relay may have deferred a message before its sender's 250 is on the wire."""
    assert allowed("begin A a queued\nbegin A a deferred\nend A a queued") == {State.QUEUED, State.DEFERRED}
    assert allowed("begin A a queued\nbegin A a deferred\nend A a deferred\nend A a queued") == {State.DEFERRED}


def test_nobody_put_it() -> None:
    """What nobody put must not be there."""
    assert len(Told().wrongs({("A", "a"): State.QUEUED}, set())) == 1
