"""What clients do, counted over all workers."""

import multiprocessing
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.receive.anvil import Anvil, Rate

KEY = b"any key will do."


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_all_workers_count_together() -> None:
    """A client that goes to one worker after the other is one client."""
    anvil = Anvil(3)
    cells = anvil.cells("192.0.2.1")
    assert [anvil.hand(n).enter(cells) for n in range(3)] == [1, 2, 3]
    anvil.hand(0).leave(cells)
    assert anvil.hand(1).enter(cells) == 3
    assert [anvil.hand(n).count(Rate.MESSAGES, cells) for n in (0, 1, 2, 0)] == [1, 2, 3, 4]
    assert [anvil.hand(1).counted(rate, cells) for rate in Rate] == [0, 4, 0, 0]


def test_a_minute_later() -> None:
    """Rates are by the minute, whoever counts first in the next one; connections stay."""
    clock = Clock(1000.0)
    anvil = Anvil(2, clock=clock)
    one, two, cells = anvil.hand(0), anvil.hand(1), anvil.cells("192.0.2.1")
    one.enter(cells)
    assert [one.count(Rate.RECIPIENTS, cells), two.count(Rate.RECIPIENTS, cells)] == [1, 2]
    clock.now = 1059.9
    assert two.count(Rate.RECIPIENTS, cells) == 3
    clock.now = 1060.0
    assert (one.counted(Rate.RECIPIENTS, cells), two.count(Rate.RECIPIENTS, cells)) == (0, 1)
    assert one.count(Rate.RECIPIENTS, cells) == 2
    assert two.enter(cells) == 2
    clock.now = 1e9
    assert one.counted(Rate.RECIPIENTS, cells) == 0


def test_a_worker_that_died() -> None:
    """Its connections are gone, what it counted this minute and what others count is not."""
    anvil = Anvil(2, clock=Clock())
    dead, alive, cells = anvil.hand(0), anvil.hand(1), anvil.cells("2001:db8::1")
    for hand in (dead, dead, alive):
        hand.enter(cells)
        hand.count(Rate.CONNECTIONS, cells)
    anvil.died(0)
    assert alive.enter(cells) == 2
    assert alive.counted(Rate.CONNECTIONS, cells) == 3
    assert anvil.hand(0).enter(cells) == 3


def test_who_is_one_client() -> None:
    """An IPv4 address; an IPv6 network of the length that is asked for; an unknown peer by its name."""
    anvil = Anvil(key=KEY)
    home = anvil.cells("2001:db8:1:2::1")
    assert home == anvil.cells("2001:db8:1:2:ffff:ffff:ffff:ffff") == anvil.cells("2001:DB8:1:2::1%eth0")
    others = ("2001:db8:1:3::1", "192.0.2.1", "192.0.2.2", "unknown", "", "192.0.2.999", "fe80::\ud800")
    assert len({home, *(anvil.cells(each) for each in others)}) == 8
    exact = Anvil(ipv6_prefix=128, key=KEY)
    assert exact.cells("2001:db8::1") != exact.cells("2001:db8::2")


def test_places_are_secret() -> None:
    """Another appliance puts the same client elsewhere: nobody can look for an address that shares a friend's place."""
    assert Anvil(key=KEY).cells("192.0.2.1") != Anvil(key=b"another key.....").cells("192.0.2.1")


def test_a_flood_makes_it_strict_and_no_larger() -> None:
    """A hundred thousand strangers take no memory; who does nothing seems to do n/8192 at most in the mean."""
    anvil = Anvil(key=KEY, clock=Clock())
    hand, size = anvil.hand(), len(anvil.memory)
    for n in range(100_000):
        hand.count(Rate.MESSAGES, anvil.cells(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"))
    quiet = [hand.counted(Rate.MESSAGES, anvil.cells(f"192.0.2.{n}")) for n in range(256)]
    assert sum(quiet) / 256 <= 100_000 / 8192
    assert len(anvil.memory) == size


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "count", "wait"]), st.integers(0, 2), st.integers(0, 30)), max_size=300
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_as_a_dictionary_would(steps: list[tuple[str, int, int]]) -> None:
    """Whatever three workers do with thirty clients: what is told is what one dictionary would tell."""
    clock = Clock()
    anvil = Anvil(3, key=KEY, clock=clock)
    hands = [anvil.hand(n) for n in range(3)]
    here: Counter[tuple[int, int]] = Counter()
    rate: Counter[int] = Counter()
    for what, worker, client in steps:
        hand, cells = hands[worker], anvil.cells(f"192.0.2.{client}")
        if what == "enter":
            here[worker, client] += 1
            assert hand.enter(cells) == sum(here[each, client] for each in range(3))
        elif what == "leave" and here[worker, client]:
            here[worker, client] -= 1
            hand.leave(cells)
        elif what == "count":
            rate[client] += 1
            assert hand.count(Rate.MESSAGES, cells) == rate[client]
        elif what == "wait":
            clock.now += client
            if int((clock.now - client) / 60) != int(clock.now / 60):
                rate.clear()


def test_processes_share_it() -> None:
    """Four processes that were forked count a thousand times each: nothing is lost, and all see all of it."""
    anvil = Anvil(4, clock=Clock())
    cells = anvil.cells("192.0.2.1")
    fork = multiprocessing.get_context("fork")

    def work(n: int) -> None:
        hand = anvil.hand(n)
        for _ in range(1000):
            hand.enter(cells)
            hand.count(Rate.MESSAGES, cells)
            hand.leave(cells)

    workers = [fork.Process(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert anvil.hand(0).counted(Rate.MESSAGES, cells) == 4000
    assert anvil.hand(0).enter(cells) == 1
