"""route/routes.py: what is ours, and where it goes."""

import pytest

from backupmx.route import transport_map
from backupmx.route.routes import Routes

MAP = transport_map.parse("example.jp smtp:[p1]\n.example.net smtp:[p2]\n* smtp:[hub]\n")


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("a@example.jp", True),
        ("a@EXAMPLE.jp", True),
        ("a@sub.example.jp", False),
        ("a@example.net", False),
        ("a@x.y.example.net", True),
        ("a@stranger.example", False),
        ("postmaster", False),
        ("", False),
    ],
)
def test_is_ours(address: str, ours: bool) -> None:
    """A key is its domain, a key with a dot its subdomains; `*` routes strangers but makes nobody ours."""
    assert ours is Routes(MAP).is_ours(address)


def test_named_domains() -> None:
    """relay_domains of the configuration takes the place of the map's."""
    routes = Routes(MAP, ["Only.example", "日本.jp"])
    wanted = [("a@only.example", True), ("a@xn--wgv71a.jp", True), ("a@example.jp", False)]
    assert wanted == [(address, routes.is_ours(address)) for address, _ in wanted]


@pytest.mark.parametrize("local", ["a%other.example", "other.example!a", '"a@other.example"', "-option"])
def test_routing_characters(local: str) -> None:
    """An address that names another place is flagged: a backup MX must not relay through its primary."""
    assert Routes.is_routed(f"{local}@example.jp")


def test_ordinary_addresses() -> None:
    """Ordinary addresses are not."""
    assert [a for a in ("a.b+c-d@example.jp", '"x y"@example.jp', "postmaster") if Routes.is_routed(a)] == []


def test_next_hop() -> None:
    """The next hop is text, as the queue stores it; the map's own are known as primaries."""
    routes = Routes(MAP)
    assert (routes.next_hop("a@example.jp"), routes.next_hop("a@b.example")) == ("smtp:[p1]", "smtp:[hub]")
    assert {"smtp:[p1]", "smtp:[p2]", "smtp:[hub]"} == routes.next_hops


def test_postmaster() -> None:
    """RCPT TO:<postmaster> is read by the first relay domain's postmaster."""
    assert (Routes(MAP).postmaster, Routes(MAP, [".a.jp"]).postmaster) == ("postmaster@example.jp", "")


def test_signature() -> None:
    """The signature changes with the map and the domains, and with nothing else."""
    again = Routes(transport_map.parse(MAP.text))
    other = Routes(transport_map.parse(MAP.text + "\nb.jp smtp:[x]\n"))
    assert Routes(MAP).signature == again.signature
    assert len({Routes(MAP).signature, other.signature, Routes(MAP, ["a.jp"]).signature}) == 3
