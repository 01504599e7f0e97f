"""route/primaries.py: up or down, and at which addresses."""

from backupmx.route.primaries import Primaries, Primary, Standing

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
