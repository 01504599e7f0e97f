"""The resolver against a real unbound, whose zones stand below."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import dns.dnssec
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from backupmx.net.dns import DNSTrouble, Resolver
from tests.neighbours.unbound import SOA, unbound

ZONE = [
    "example.test. 300 IN MX 10 mx1.example.test.",
    "example.test. 300 IN MX 20 mx2.example.test.",
    'example.test. 300 IN TXT "v=spf1 " "-all"',
    r'latin.test. 300 IN TXT "caf\233"',
    "mx1.example.test. 120 IN A 192.0.2.1",
    "mx1.example.test. 120 IN AAAA 2001:db8::1",
    "alias.test. 30 IN CNAME mx1.example.test.",
    "1.2.0.192.in-addr.arpa. 60 IN PTR mx1.example.test.",
    "2.2.0.192.in-addr.arpa. 60 IN PTR liar.example.test.",
    "liar.example.test. 60 IN A 192.0.2.99",
    r"3.2.0.192.in-addr.arpa. 60 IN PTR bad\010name.test.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR mx1.example.test.",
    "4.2.0.192.in-addr.arpa. 60 IN PTR host.broken.test.",
    *(f'big.test. 60 IN TXT "{n:03d}{"x" * 200}"' for n in range(40)),
    "zero.test. 0 IN A 192.0.2.7",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("unbound")
    with unbound(folder, ZONE, servfail=["broken.test."], silent=["silent.test."]) as address:
        yield address


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.neighbours
class TestLookup:
    async def test_mx(self, server: str) -> None:
        """Records come in presentation form."""
        answer = await Resolver([server]).lookup("Example.TEST.", "mx")
        assert sorted(answer.records) == ["10 mx1.example.test.", "20 mx2.example.test."]
        assert (answer.exists, answer.secure, 60 < answer.ttl <= 300) == (True, False, True)

    async def test_txt_strings_are_joined(self, server: str) -> None:
        """A TXT record's strings are one text, as SPF and DKIM read them."""
        answer = await Resolver([server]).lookup("example.test", "TXT")
        assert (answer.records, answer.strings) == (("v=spf1 -all",), (b"v=spf1 -all",))

    async def test_txt_that_is_not_utf8(self, server: str) -> None:
        """Bytes that are no UTF-8 survive."""
        answer = await Resolver([server]).lookup("latin.test", "TXT")
        assert (answer.records, answer.strings) == (("caf\udce9",), (b"caf\xe9",))

    async def test_no_such_name(self, server: str) -> None:
        """A name that does not exist is an answer, kept for the zone's negative TTL."""
        answer = await Resolver([server]).lookup("nowhere.test", "A")
        assert (answer.records, answer.exists, 0 < answer.ttl <= 60) == ((), False, True)

    async def test_no_such_type(self, server: str) -> None:
        """A name that exists with other types exists."""
        answer = await Resolver([server]).lookup("example.test", "AAAA")
        assert (answer.records, answer.exists) == ((), True)

    async def test_alias(self, server: str) -> None:
        """CNAMEs are followed and the shortest TTL of the chain counts."""
        answer = await Resolver([server]).lookup("alias.test", "A")
        assert (answer.records, 0 < answer.ttl <= 30) == (("192.0.2.1",), True)

    async def test_truncated_answers_come_over_tcp(self, server: str) -> None:
        """An answer too large for a datagram arrives whole."""
        assert len((await Resolver([server]).lookup("big.test", "TXT")).records) == 40

    async def test_servfail_is_trouble(self, server: str) -> None:
        """A broken zone is temporary trouble, never "does not exist"."""
        with pytest.raises(DNSTrouble):
            await Resolver([server], timeout=4).lookup("host.broken.test", "A")

    async def test_silence_is_trouble(self, server: str) -> None:
        """No answer in time is temporary trouble."""
        with pytest.raises(DNSTrouble):
            await Resolver([server], timeout=0.6).lookup("host.silent.test", "A")

    async def test_nobody_listens(self) -> None:
        """No resolver at all is temporary trouble."""
        with pytest.raises(DNSTrouble):
            await Resolver(["127.0.0.1:1"], timeout=0.6).lookup("example.test", "A")

    @pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", "a." * 130 + "test", "\\999.test", "\ud800.test", ""])
    async def test_names_that_cannot_be_asked(self, server: str, name: str) -> None:
        """Names a message made up never raise: they do not exist, or are the root."""
        assert (await Resolver([server]).lookup(name, "A")).records == ()

    async def test_localhost_is_never_asked(self) -> None:
        """localhost is answered here."""
        assert (await Resolver(["127.0.0.1:1"]).lookup("localhost", "A")).records == ("127.0.0.1",)

    async def test_both_families(self, server: str) -> None:
        """A and AAAA of a host in one call."""
        assert await Resolver([server]).addresses("mx1.example.test") == ("192.0.2.1", "2001:db8::1")


@pytest.mark.neighbours
class TestCache:
    async def test_kept_for_its_ttl(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """An answer is asked again only after its TTL."""
        clock = Clock()
        resolver = Resolver([server], clock=clock)
        asked = _count_queries(resolver, monkeypatch)
        for now in (1000.0, 1001.0, 1121.0):
            clock.now = now
            await resolver.lookup("mx1.example.test", "A")
        assert len(asked) == 2

    async def test_ttl_zero_is_not_kept(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """TTL 0 means: now only."""
        resolver = Resolver([server])
        asked = _count_queries(resolver, monkeypatch)
        for _ in range(2):
            await resolver.lookup("zero.test", "A")
        assert len(asked) == 2

    async def test_trouble_is_kept_for_seconds(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A zone whose servers say nothing costs each name one wait in five seconds."""
        clock = Clock()
        resolver = Resolver([server], timeout=0.3, clock=clock)
        asked = _count_queries(resolver, monkeypatch)
        for now in (1000.0, 1004.0, 1006.0):
            clock.now = now
            with pytest.raises(DNSTrouble):
                await resolver.lookup("host.silent.test", "A")
        assert len(asked) == 2

    async def test_one_query_for_all_who_ask(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twenty messages that ask the same at once share one query."""
        resolver = Resolver([server])
        asked = _count_queries(resolver, monkeypatch)
        await asyncio.gather(*(resolver.lookup("mx1.example.test", "A") for _ in range(20)))
        assert len(asked) == 1

    async def test_one_who_gives_up_spoils_nothing(self, server: str) -> None:
        """A caller who is cancelled does not cancel the query of the others."""
        resolver = Resolver([server])
        first = asyncio.create_task(resolver.lookup("mx1.example.test", "A"))
        second = asyncio.create_task(resolver.lookup("mx1.example.test", "A"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).records == ("192.0.2.1",)

    async def test_bounded(self, server: str) -> None:
        """A flood of names does not grow the cache past its size; the oldest go first."""
        resolver = Resolver([server], cache_size=3)
        for n in range(6):
            await resolver.lookup(f"n{n}.nowhere.test", "A")
        assert list(resolver._cache) == [("n3.nowhere.test", "A"), ("n4.nowhere.test", "A"), ("n5.nowhere.test", "A")]

    async def test_bounded_in_octets_too(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Large answers count for what they weigh."""
        monkeypatch.setattr("backupmx.net.dns._MOST_OCTETS", 9000)
        resolver = Resolver([server])
        for name, rdtype in (("example.test", "MX"), ("big.test", "TXT"), ("latin.test", "TXT")):
            await resolver.lookup(name, rdtype)
        assert list(resolver._cache) == [("latin.test", "TXT")]

    async def test_close_gives_up_what_is_on_its_way(self, server: str) -> None:
        """Shutting down does not wait for a silent server."""
        resolver = Resolver([server], timeout=60)
        asking = asyncio.create_task(resolver.lookup("host.silent.test", "A"))
        await asyncio.sleep(0.05)
        await resolver.close()
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.neighbours
class TestReverse:
    @pytest.mark.parametrize(
        ("ip", "name"),
        [
            ("192.0.2.1", "mx1.example.test"),
            ("2001:db8::1", "mx1.example.test"),
            ("192.0.2.2", "unknown"),  # its name leads elsewhere
            ("192.0.2.3", "unknown"),  # its name holds a line feed
            ("192.0.2.4", "unknown"),  # its name's zone is broken
            ("192.0.2.50", "unknown"),  # it has none
            ("not an address", "unknown"),
            ("127.0.0.1", "localhost"),
        ],
    )
    async def test_reverse(self, server: str, ip: str, name: str) -> None:
        """A client has a name only when that name leads back to it."""
        assert name == await Resolver([server], timeout=4).reverse(ip)


@pytest.mark.neighbours
async def test_secure(tmp_path: Path) -> None:
    """What the server validated with DNSSEC is said to be so, also that there is nothing."""
    zone = dns.zone.from_text(SOA + "signed.test. 300 IN A 192.0.2.1\n", origin=".", relativize=False)
    key = ec.generate_private_key(ec.SECP256R1())
    record = dns.dnssec.make_dnskey(key.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    dns.dnssec.sign_zone(zone, keys=[(key, record)], dnskey_ttl=300, lifetime=86400)
    anchor = f". IN DNSKEY {record.to_text()}"
    with unbound(tmp_path, zone.to_text(relativize=False).splitlines(), anchor=anchor) as server:
        resolver = Resolver([server])
        answers = [await resolver.lookup(name, "A") for name in ("signed.test", "nowhere.test")]
    assert [(a.records, a.exists, a.secure) for a in answers] == [(("192.0.2.1",), True, True), ((), False, True)]


def _count_queries(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    query = resolver._query

    async def counted(name: str, rdtype: str) -> object:
        asked.append(name)
        return await query(name, rdtype)

    monkeypatch.setattr(resolver, "_query", counted)
    return asked
