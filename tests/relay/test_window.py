"""relay/window.py: how many connections one next hop gets."""

from backupmx.relay.window import Window


def test_grows_while_used() -> None:
    """From 5 up to 20, one for each delivery, as long as all are in use."""
    window, sizes = Window(5, 20), []
    for _ in range(30):
        window.succeeded(window.size)
        sizes.append(window.size)
    assert (sizes[0], sizes[-1]) == (6, 20)


def test_does_not_grow_unused() -> None:
    """Deliveries over one connection do not ask for more of them."""
    window = Window(5, 20)
    for _ in range(30):
        window.succeeded(1)
    assert window.size == 6


def test_a_whole_cohort() -> None:
    """As many broken connections in a row as it is wide: dead.  One success in between: not."""
    window, other = Window(5, 20), Window(5, 20)
    broken = [window.failed() for _ in range(4)]
    assert broken == [False, False, False, True]
    for _ in range(20):
        assert not other.failed()
        other.succeeded(1)
    assert other.size >= 1
