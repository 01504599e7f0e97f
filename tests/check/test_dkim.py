"""DKIM signatures, with keys from a real resolver."""

import base64
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.dkim import MOST, Dkim, finding, signatures_of, verify_all
from backupmx.check.finding import Finding, Mail
from backupmx.check.signature import Refused, vetted_key
from backupmx.net.dns import Resolver
from tests.check.conftest import Key
from tests.check.messages import mail
from tests.check.signing import signed, with_body, with_headers

R, S = b"relaxed", b"simple"


async def look(resolver: Resolver, sample: Mail) -> Finding:
    return await Dkim(resolver).look(sample)


def altered(sample: Mail, pattern: bytes, replacement: bytes) -> Mail:
    """The same with its signature field rewritten."""
    changed, count = re.subn(pattern, replacement, sample.message.headers[0])
    assert count
    return with_headers(mail(b"Hello  world \r\n\r\n"), changed)


@pytest.mark.neighbours
class TestVerify:
    @pytest.mark.parametrize("canonicalize", [(R, R), (S, S), (R, S), (S, R)])
    async def test_good(self, resolver: Resolver, key: Key, canonicalize: tuple[bytes, bytes]) -> None:
        """A good signature in each canonical form."""
        found = await look(resolver, signed(mail(), key.private, canonicalize=canonicalize))
        assert (found.facts["result"], found.facts["passed"]) == ("pass", ("sender.test",))
        assert re.fullmatch(
            r"dkim=pass header\.d=sender\.test header\.s=s1 header\.a=rsa-sha256 header\.b=.{8,10}", found.results[0]
        )

    async def test_ed25519(self, resolver: Resolver, edwards_key: Key) -> None:
        """RFC 8463: the other algorithm."""
        sample = signed(
            mail(), edwards_key.private, selector=b"ed", signature_algorithm=b"ed25519-sha256", canonicalize=(R, R)
        )
        found = await look(resolver, sample)
        assert found.results[0].startswith("dkim=pass header.d=sender.test header.s=ed header.a=ed25519-sha256")
        assert (await look(resolver, with_body(sample, b"x\r\n"))).facts["result"] == "fail"
        assert (await look(resolver, with_headers(sample, b"From: x@y.test"))).facts["result"] == "fail"

    async def test_body_changed(self, resolver: Resolver, key: Key) -> None:
        """One octet more in the body."""
        found = await look(resolver, with_body(signed(mail(), key.private), b"Hello!\r\n"))
        assert found.results[0].startswith("dkim=fail (body hash mismatch) header.d=sender.test")

    async def test_header_changed(self, resolver: Resolver, key: Key) -> None:
        """A second From: breaks a signature, as every signed header does."""
        found = await look(resolver, with_headers(signed(mail(), key.private), b"From: x@evil.test"))
        assert found.results[0].startswith("dkim=fail (signature mismatch)")

    async def test_unsigned_header_added(self, resolver: Resolver, key: Key) -> None:
        """What nobody signed may come on top."""
        found = await look(resolver, with_headers(signed(mail(), key.private), b"Received: from x"))
        assert found.facts["result"] == "pass"

    async def test_a_large_body(self, resolver: Resolver, key: Key) -> None:
        """A spooled body in slices is hashed as one, off the loop."""
        whole = b"line of text  \r\n" * 60_000
        sample = signed(mail(whole), key.private, canonicalize=(R, R))
        found = await look(resolver, with_body(sample, whole[:100_001], b"", whole[100_001:]))
        assert found.facts["result"] == "pass"

    async def test_length(self, resolver: Resolver, key: Key) -> None:
        """l= covers the beginning only, and the result says so."""
        sample = signed(mail(b"Hello\r\n"), key.private, length=True)
        found = await look(resolver, with_body(sample, b"Hello\r\n", b"and more\r\n"))
        assert found.results[0].startswith("dkim=pass (l=7)")

    @pytest.mark.parametrize(
        ("selector", "result"),
        [
            (b"nokey", "permerror (no key for signature)"),
            (b"text", "permerror (no key for signature)"),
            (b"revoked", "permerror (key revoked)"),
            (b"nonsense", "permerror (unreadable key)"),
            (b"tls", "permerror (unusable key)"),
        ],
    )
    async def test_keys(self, resolver: Resolver, key: Key, selector: bytes, result: str) -> None:
        """A key that is missing, revoked or no key is the signer's fault."""
        found = await look(resolver, signed(mail(), key.private, selector=selector))
        assert found.results[0].startswith(f"dkim={result} header.d=sender.test")

    async def test_short_key(self, resolver: Resolver, small_key: Key) -> None:
        """A key under 1,024 bits does not count (RFC 8301)."""
        found = await look(resolver, signed(mail(), small_key.private, selector=b"small"))
        assert found.results[0].startswith("dkim=policy (key under 1024 bits)")

    async def test_key_for_its_own_domain_only(self, resolver: Resolver, key: Key) -> None:
        """t=s: the key may not sign for subdomains."""
        for identity, result in ((b"@sender.test", "pass"), (b"@sub.sender.test", "permerror")):
            found = await look(resolver, signed(mail(), key.private, selector=b"strict", identity=identity))
            assert found.facts["result"] == result

    async def test_dns_trouble(self, resolver: Resolver, key: Key) -> None:
        """A key that cannot be looked up now is temporary."""
        found = await look(resolver, signed(mail(), key.private, domain=b"host.refused.test"))
        assert found.results[0].startswith("dkim=temperror (key look-up failed) header.d=host.refused.test")

    async def test_none(self, resolver: Resolver) -> None:
        """No signature."""
        assert (await look(resolver, mail())).results == ("dkim=none",)

    async def test_several(self, resolver: Resolver, key: Key) -> None:
        """Each signature has its result; the best is that of the message."""
        sample = signed(signed(mail(), key.private, domain=b"elsewhere.test"), key.private, selector=b"nokey")
        found = await look(resolver, sample)
        assert [r.partition(" ")[0] for r in found.results] == ["dkim=permerror", "dkim=pass"]
        assert (found.facts["result"], found.facts["passed"]) == ("pass", ("elsewhere.test",))

    async def test_a_thousand(self, resolver: Resolver, key: Key) -> None:
        """Of a thousand signatures eight are verified."""
        one = signed(mail(), key.private)
        found = await look(resolver, with_headers(one, *[one.message.headers[0]] * 999))
        assert len(found.results) == MOST
        assert "the first 8 of 1000" in finding((), 1000).detail


SAMPLE = mail(b"Hello  world \r\n\r\n")


@pytest.mark.parametrize(
    ("pattern", "replacement", "result"),
    [
        (rb"\bd=sender\.test", b"d=other.test", "permerror"),
        (rb"v=1;", b"", "permerror"),
        (rb"v=1;", b"v=2;", "permerror"),
        (rb"a=rsa-sha256", b"a=rsa-sha1", "permerror"),
        (rb"a=rsa-sha256", b"a=rsa-md5", "permerror"),
        (rb"t=\d+", b"t=99999999999", "permerror"),
        (rb"t=\d+", b"t=1; x=2", "fail"),
        (rb"t=\d+", b"t=" + b"9" * 9000, "permerror"),
        (rb"v=1;", b"v=1; l=" + b"9" * 70 + b";", "pass"),
        (rb"v=1;", b"v=1; v=1;", "permerror"),
        (rb"s=s1", b"s=\xff", "permerror"),
        (rb"c=\S+;", b"c=odd/simple;", "permerror"),
        (rb"bh=[^;]+", b"bh=!", "permerror"),
        (rb"v=1;", b"v=1;" + b" " * 70, "permerror"),
        (rb"v=1;", b"v=1; z=" + b"z" * 20_000 + b";", "permerror"),
        (rb"\bh=", b"h=" + b"x:" * 600, "permerror"),
    ],
)
def test_odd_signatures(key: Key, pattern: bytes, replacement: bytes, result: str) -> None:
    """Odd tags have a result; none raises.  (An l= beyond the body is not in the tags that were signed.)"""
    sample = altered(signed(SAMPLE, key.private), pattern, replacement)
    keys = {"s1._domainkey.sender.test": key.record}
    [verified] = verify_all(sample.message, signatures_of(sample.message), keys, {})
    expected = "fail" if result == "pass" else result
    assert verified.result == expected


def hostile(blanks: bytes) -> bytes:
    return b" z=" + (b" b" + blanks + b"x") * (15_000 // (len(blanks) + 3)) + b";"


@pytest.mark.parametrize("blanks", [b" " * 60, b"\n " * 20, b"\n" + b" " * 60, b" \n" * 10 + b" "])
def test_hostile_blanks(key: Key, blanks: bytes) -> None:
    """dkimpy's expressions backtrack over blanks: what nobody writes is refused before they see it."""
    sample = altered(signed(SAMPLE, key.private), rb"v=1;", b"v=1;" + hostile(blanks).replace(b"\\", b"\\\\"))
    keys = {"s1._domainkey.sender.test": key.record}
    started = time.process_time()
    verify_all(sample.message, signatures_of(sample.message) * MOST, keys, {})
    assert time.process_time() - started < 3


def test_hostile_header_count(key: Key) -> None:
    """Five hundred names in h= over twenty thousand headers are no burden."""
    names = b":".join(b"x%d" % n for n in range(480))
    sample = altered(signed(SAMPLE, key.private), rb"\bh=", b"h=" + names + b":")
    sample = with_headers(sample, *(b"x%d: y" % (n % 500) for n in range(20_000)))
    started = time.process_time()
    verify_all(sample.message, signatures_of(sample.message), {"s1._domainkey.sender.test": key.record}, {})
    assert time.process_time() - started < 3


def _integer(number: int) -> bytes:
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02\x82" + len(octets).to_bytes(2, "big") + octets


@pytest.mark.parametrize(("bits", "exponent_bits"), [(8200, 17), (2048, 2000), (40_000, 17)])
def test_hostile_keys(bits: int, exponent_bits: int) -> None:
    """A key so large that one verification would hold up all mail is refused unused."""
    content = _integer((1 << bits) - 1) + _integer((1 << exponent_bits) - 1)
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    with pytest.raises(Refused, match="key too long"):
        vetted_key(b"p=" + base64.b64encode(der))


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_any_bytes(value: bytes, record: bytes) -> None:
    """Any bytes as a signature and as its key give a result."""
    signature = b"DKIM-Signature: " + value.replace(b"\r", b"").replace(b"\n", b"")
    sample = with_headers(mail(), signature, b"DKIM-Signature: v=1; d=a.test; s=s; " + value)
    for one in verify_all(sample.message, signatures_of(sample.message), {"s._domainkey.a.test": record}, {}):
        assert one.result in ("fail", "permerror")
