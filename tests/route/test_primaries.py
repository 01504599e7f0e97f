"""route/primaries.py: up or down, and at which addresses."""

import pytest

from backupmx.route.primaries import Offer, Primaries, Primary, Standing

ONE, TWO = "smtp:[primary1.example.net]", "smtp:example.jp"
BOTH = Primaries(
    [
        Primary(ONE, Standing.DOWN, 100.0, "Connection refused", ("192.0.2.1", "2001:DB8:0::1")),
        Primary(TWO, Standing.UP, 200.0, "", ("192.0.2.1", "192.0.2.2")),
    ]
)


def test_states() -> None:
    """Each next hop has its own; one that nobody has looked at is unknown."""
    assert [BOTH.state(hop) for hop in (ONE, TWO, "smtp:[new.example]")] == ["down", "up", "unknown"]
    assert BOTH.primary(ONE).error == "Connection refused"
    assert {primary.next_hop for primary in BOTH} == {ONE, TWO}


def test_addresses() -> None:
    """A client is a primary by its address, in the form a socket gives it."""
    asked = ("192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3", "unknown", "")
    assert [BOTH.is_primary_address(address) for address in asked] == [True, True, True, False, False, False]


def test_who_is_back() -> None:
    """Of the next hops at an address, those that are not known to be up."""
    assert (BOTH.down_at("192.0.2.1"), BOTH.down_at("192.0.2.2"), BOTH.down_at("192.0.2.3")) == ((ONE,), (), ())


@pytest.mark.parametrize(("sizes", "limit"), [((), 0), ((100,), 100), ((100, 0), 0), ((100, 300), 300), ((0,), 0)])
def test_size_limit(sizes: tuple[int, ...], limit: int) -> None:
    """What none of a primary's hosts takes is too large for it; one that says nothing of sizes takes everything."""
    assert Primary(ONE, offers=tuple(Offer(f"192.0.2.{n}", size) for n, size in enumerate(sizes))).size_limit == limit


def test_what_all_take() -> None:
    """A message is too large for everybody only when it is for the most generous; one that is unknown takes all."""
    small, large = Primary(ONE, offers=(Offer("192.0.2.1", 100),)), Primary(TWO, offers=(Offer("192.0.2.2", 300),))
    both = Primaries([small, large])
    assert (both.size_limit, both.least_size_limit) == (300, 100)
    unknown = Primaries([small, Primary("smtp:[new.example]")])
    assert (unknown.size_limit, unknown.least_size_limit) == (0, 100)
    assert (Primaries().size_limit, Primaries().least_size_limit) == (0, 0)


def test_smtputf8() -> None:
    """One host that takes addresses in UTF-8 is enough; of a primary we never spoke to nothing is held."""
    no, yes = Offer("192.0.2.1", smtputf8=False), Offer("192.0.2.2")
    assert [Primary(ONE, offers=offers).smtputf8 for offers in ((), (no,), (no, yes))] == [True, False, True]
    assert not Primaries([Primary(ONE, offers=(no,)), Primary(TWO)]).smtputf8
