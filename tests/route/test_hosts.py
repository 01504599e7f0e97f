"""route/hosts.py: the hosts of a next hop, with zones as data, and once with Debian's unbound."""

from pathlib import Path

import pytest

from backupmx.net.dns import Answer, DNSTrouble, Resolver
from backupmx.route import hosts
from backupmx.route.hosts import Host, NoHosts
from backupmx.route.next_hop import parse
from tests.neighbours.unbound import unbound


class Zones:
    """DNS as data: {"name": {"MX": (...), "A": (...)}}; names in `fail` have no answer at all."""

    def __init__(self, zones: dict[str, dict[str, tuple[str, ...]]], fail: tuple[str, ...] = ()) -> None:
        self.zones = zones
        self.fail = fail

    async def lookup(self, name: str, rdtype: str) -> Answer:
        if name in self.fail:
            raise DNSTrouble(f"{name} {rdtype}: SERVFAIL")
        return Answer(self.zones.get(name, {}).get(rdtype, ()), exists=name in self.zones)


ZONES = Zones(
    {
        "example.jp": {"MX": ("20 backup.example.net.", "10 mx.example.jp."), "A": ("192.0.2.99",)},
        "mx.example.jp": {"A": ("192.0.2.1", "192.0.2.2"), "AAAA": ("2001:db8::1",)},
        "backup.example.net": {"A": ("198.51.100.7",)},
        "worse.example.net": {"A": ("198.51.100.8",)},
        "a.example": {"A": ("192.0.2.50",)},
        "null.example": {"MX": ("0 .",)},
        "empty.example": {"MX": ("10 nowhere.example.",)},
        "nowhere.example": {},
        "bare.example": {"TXT": ("hello",)},
        "partly.example": {"MX": ("10 nowhere.example.", "20 a.example.")},
        "equal.example": {"MX": ("10 a.example.", "10 worse.example.net.")},
        "ours.example": {"MX": ("10 mx.example.jp.", "20 backup.example.net.", "30 worse.example.net.")},
        "first.example": {"MX": ("10 backup.example.net.", "20 a.example.")},
        "waits.example": {"MX": ("10 nowhere.example.", "20 backup.example.net.")},
        "xn--wgv71a.jp": {"A": ("192.0.2.60",)},
    },
    fail=("broken.example",),
)


async def found(text: str, *, own: tuple[str, ...] = ()) -> list[str]:
    destinations = parse(text).destinations
    return [str(host) for host in await hosts.find(destinations, ZONES, own=own.__contains__, shuffle=lambda _: None)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("smtp:[mx.example.jp]", "192.0.2.1]:25 2001:db8::1]:25 192.0.2.2]:25"),
        ("smtp:example.jp", "192.0.2.1]:25 2001:db8::1]:25 192.0.2.2]:25 198.51.100.7]:25"),
        ("smtp:[example.jp]:26", "192.0.2.99]:26"),
        ("smtp:a.example:26", "192.0.2.50]:26"),
        ("smtp:192.0.2.77", "192.0.2.77]:25"),
        ("smtp:[2001:db8::7]", "2001:db8::7]:25"),
        ("smtp:partly.example", "192.0.2.50]:25"),
        ("smtp:[a.example], [backup.example.net], [a.example]", "192.0.2.50]:25 198.51.100.7]:25"),
        ("smtp:[nosuch.invalid], [a.example]", "192.0.2.50]:25"),
        ("smtp:日本.jp", "192.0.2.60]:25"),
        ("lmtp:a.example", "192.0.2.50]:24"),
    ],
)
async def test_order(text: str, wanted: str) -> None:
    """[host] has no MX, a domain has its MX by preference, families take turns, a list is tried in order."""
    assert wanted.split() == [host.partition("[")[2] for host in await found(text)]


async def test_socket_file() -> None:
    """lmtp:unix: is its own host."""
    assert await hosts.find(parse("lmtp:unix:/run/x").destinations, ZONES) == [Host("/run/x", "", 0)]


async def test_equal_preferences_are_shuffled() -> None:
    """MX hosts of one preference share the mail."""
    destinations = parse("smtp:equal.example").destinations
    both = await hosts.find(destinations, ZONES, own=lambda _: False, shuffle=lambda equal: equal.reverse())
    assert [host.name for host in both] == ["worse.example.net", "a.example"]


async def test_system_tables() -> None:
    """A [host] that DNS does not know is looked for in /etc/hosts too."""
    destinations = parse("smtp:[localhost.localdomain]:26, [ip6-localhost]:26, [localhost]:26").destinations
    found = await hosts.find(destinations, Zones({}))
    assert {"127.0.0.1", "::1"} & {host.address for host in found}


@pytest.mark.parametrize(
    ("text", "status", "permanent", "loops"),
    [
        ("smtp:nosuch.invalid", "5.4.4", True, False),
        ("smtp:bare.example", "5.4.4", True, False),
        ("smtp:null.example", "5.1.10", True, False),
        ("smtp:broken.example", "4.4.3", False, False),
        ("smtp:[broken.example]", "4.4.4", False, False),
        ("smtp:[nosuch.invalid]", "4.4.4", False, False),
        ("smtp:empty.example", "4.4.4", False, False),
        ("smtp:nosuch.invalid, broken.example", "4.4.3", False, False),
        ("smtp:first.example", "4.4.6", False, True),
        ("smtp:[backup.example.net]", "4.4.6", False, True),
        ("smtp:waits.example", "4.4.4", False, False),
    ],
)
async def test_nowhere(text: str, status: str, permanent: bool, loops: bool) -> None:
    """Null MX and no such domain are for good; everything else waits, ourselves in the MX list with an alarm."""
    with pytest.raises(NoHosts) as none:
        await found(text, own=("198.51.100.7",))
    assert (none.value.reply.status, none.value.permanent, none.value.loops) == (status, permanent, loops)


async def test_ourselves_and_worse_are_dropped() -> None:
    """RFC 5321 5.1: our own preference and everything after it is no way; better ones remain."""
    names = {host.partition("[")[0] for host in await found("smtp:ours.example", own=("198.51.100.7",))}
    assert names == {"mx.example.jp"}


async def test_another_port_is_not_ourselves() -> None:
    """Only port 25 counts: a filter on our own machine is a fine next hop."""
    assert await found("smtp:[backup.example.net]:10025", own=("198.51.100.7",))


def test_bindable() -> None:
    """Our own addresses are those a socket can be bound to."""
    assert [hosts.bindable(address) for address in ("127.0.0.1", "192.0.2.1", "nonsense")] == [True, False, False]


@pytest.mark.neighbours
async def test_with_unbound(tmp_path: Path) -> None:
    """The same with a real resolver and a real DNS server."""
    zone = [
        "example.test. 300 IN MX 10 mx1.example.test.",
        "example.test. 300 IN MX 20 mx2.example.test.",
        "mx1.example.test. 300 IN A 192.0.2.1",
        "mx2.example.test. 300 IN AAAA 2001:db8::2",
        "null.test. 300 IN MX 0 .",
    ]
    with unbound(tmp_path, zone) as server:
        resolver = Resolver([server])
        try:
            found = await hosts.find(parse("smtp:example.test").destinations, resolver)
            assert [str(h) for h in found] == ["mx1.example.test[192.0.2.1]:25", "mx2.example.test[2001:db8::2]:25"]
            with pytest.raises(NoHosts) as none:
                await hosts.find(parse("smtp:null.test").destinations, resolver)
            assert none.value.reply.status == "5.1.10"
        finally:
            await resolver.close()


async def test_limits_of_each_place() -> None:
    """Five addresses of each place in a list, both families among them; no place is lost behind another's."""
    many = Zones(
        {
            "big.example": {"A": tuple(f"192.0.2.{n}" for n in range(1, 10))},
            "six.example": {"MX": ("10 six-a.example.", "20 six-b.example.")},
            "six-a.example": {"AAAA": tuple(f"2001:db8::{n}" for n in range(1, 8))},
            "six-b.example": {"A": ("192.0.2.99", "192.0.2.98", "192.0.2.97")},
        }
    )
    text = "smtp:[big.example], six.example, " + ", ".join(f"[192.0.2.{n}]" for n in range(101, 107))
    found = await hosts.find(parse(text).destinations, many, own=lambda _: False, shuffle=lambda _: None)
    addresses = [host.address for host in found]
    assert addresses[:5] == [f"192.0.2.{n}" for n in range(1, 6)]
    assert addresses[5:10] == ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.99", "192.0.2.98"]
    assert addresses[10:] == [f"192.0.2.{n}" for n in range(101, 107)]
