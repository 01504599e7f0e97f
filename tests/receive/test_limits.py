"""Who is spared the limits."""

import pytest

from backupmx.receive.limits import Networks


def test_networks() -> None:
    """limit_exceptions names networks as mynetworks does; host bits do not matter."""
    spared = Networks(("127.0.0.0/8", "::1", "192.0.2.77/24"))
    actual = [address in spared for address in ("127.0.0.9", "::1", "192.0.2.1", "::2", "198.51.100.1", "unknown", "")]
    assert actual == [True, True, True, False, False, False, False]


def test_scoped_address() -> None:
    """A link-local client is compared without its interface."""
    assert "fe80::1%eth0" in Networks(("fe80::/10",))


def test_nonsense_is_an_error() -> None:
    """What is no network is not silently ignored."""
    with pytest.raises(ValueError, match="example"):
        Networks(("example.jp",))


def test_memory_is_bounded() -> None:
    """Ten thousand clients do not make it grow."""
    spared = Networks(("127.0.0.0/8",))
    for n in range(10_000):
        assert f"10.0.{n // 250}.{n % 250}" not in spared
    assert len(spared._known) <= 4096
