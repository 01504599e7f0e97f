"""How a client greets: what Postfix 3.7 says of the same words, asked of it once."""

import pytest

from backupmx.receive.policy import helo

INVALID = "501 5.5.2 <{}>: Helo command rejected: Invalid name"
NO_ADDRESS = "501 5.5.2 <{}>: Helo command rejected: invalid ip address"
NOT_WHOLE = "504 5.5.2 <{}>: Helo command rejected: need fully-qualified hostname"
LONG = "x" * 64 + ".b"


@pytest.mark.parametrize(
    ("name", "invalid", "non_fqdn"),
    [
        *((name, None, None) for name in ("a.b", "a_b.c", "a.b.", "a.1", "[1.2.3.4]", "[IPv6:::1]", "[ipv6:::1]")),
        *((name, None, NOT_WHOLE) for name in ("a", "1.2.3.4", "::1")),
        *((name, INVALID, NOT_WHOLE) for name in ("a..b", "-a.b", "a.b-", "a.b..", ".", "1.2", "a?b", "123", "*.b")),
        (LONG, INVALID, NOT_WHOLE),
        ("a." * 126 + "abcd", INVALID, NOT_WHOLE),
        *((name, NO_ADDRESS, NO_ADDRESS) for name in ("[1.2.3]", "[::1]", "[foo]", "[1.2.3.4", "[IPv6:1.2.3.4]", "[]")),
    ],
)
def test_names_of_hosts(name: str, invalid: str | None, non_fqdn: str | None) -> None:
    """A greeting is a host's whole name or its address in brackets; each switch refuses what it is named for."""
    for expected, actual in ((invalid, helo.invalid(name)), (non_fqdn, helo.non_fqdn(name))):
        assert (expected and expected.format(name)) == (actual and str(actual))


@pytest.mark.parametrize("name", ["mx2.example.net", "MX2.Example.Net.", "[192.0.2.9]", "192.0.2.9"])
def test_our_own_name(name: str) -> None:
    """Whoever greets as us, by name or by address, is nobody who may."""
    reply = helo.as_us(name, "mx2.example.net", "192.0.2.9")
    assert str(reply) == f"554 5.7.1 <{name}>: Helo command rejected: that is who we are"


@pytest.mark.parametrize("name", ["mx.example.net", "[192.0.2.8]", "x.mx2.example.net", "[]", "", "?"])
def test_names_of_others(name: str) -> None:
    """A name that only looks like ours is somebody else's."""
    assert helo.as_us(name, "mx2.example.net", "192.0.2.9") is None
    assert helo.as_us(name, "mx2.example.net", "") is None


@pytest.mark.parametrize("address", ["2001:db8::9"])
def test_our_own_ipv6_address(address: str) -> None:
    """An IPv6 address is the same however it is written."""
    assert helo.as_us("[IPv6:2001:0DB8:0::9]", "mx2.example.net", address) is not None


@pytest.mark.parametrize(
    ("sender", "refused"),
    [
        ("", False), ("a", True), ("a@b", True), ("a@b.c", False), ("a@[1.2.3.4]", False), ("a@b.", True),
        ("a@mü.example", False), ("a@mü", True), ("a@1.2", True),
    ],
)  # fmt: skip
def test_senders(sender: str, refused: bool) -> None:
    """A sender whose domain is no whole name cannot be answered; a bounce has no sender and is taken."""
    reply = helo.sender_non_fqdn(sender)
    assert (reply is not None) == refused
    if reply:
        assert str(reply) == f"504 5.5.2 <{sender}>: Sender address rejected: need fully-qualified address"
