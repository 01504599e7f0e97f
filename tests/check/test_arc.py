"""ARC chains, with keys from a real resolver."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.arc import Arc, arc_headers, key_names, verify
from backupmx.check.finding import Mail
from backupmx.check.signature import Refused
from backupmx.net.dns import Resolver
from tests.check.conftest import Key
from tests.check.messages import mail
from tests.check.signing import sealed, with_body, with_headers


async def result(resolver: Resolver, sample: Mail) -> str:
    found = await Arc(resolver).look(sample)
    assert found is not None
    return found.results[0]


@pytest.mark.neighbours
class TestLook:
    async def test_no_chain(self, resolver: Resolver) -> None:
        """A message without ARC headers is not mentioned."""
        assert await Arc(resolver).look(mail()) is None

    async def test_good(self, resolver: Resolver, key: Key) -> None:
        """One set, and two."""
        one = sealed(mail(), key.private)
        assert await result(resolver, one) == "arc=pass"
        assert await result(resolver, sealed(one, key.private, b"arc=pass")) == "arc=pass"

    async def test_a_large_body(self, resolver: Resolver, key: Key) -> None:
        """A large body is hashed off the loop."""
        assert await result(resolver, sealed(mail(b"line  \r\n" * 60_000), key.private)) == "arc=pass"

    async def test_body_changed(self, resolver: Resolver, key: Key) -> None:
        """The last set's signature must hold."""
        changed = with_body(sealed(mail(), key.private), b"other\r\n")
        assert (await result(resolver, changed)).startswith("arc=fail (Most recent ARC-Message-Signature")

    async def test_set_removed(self, resolver: Resolver, key: Key) -> None:
        """A set taken out of the middle, a field doubled: no look-up is made."""
        two = sealed(sealed(mail(), key.private), key.private, b"arc=pass")
        kept = [h for h in two.message.headers if b"i=1;" not in h]
        torn = with_headers(mail(), *(h for h in kept if h.lower().startswith(b"arc-")))
        assert await result(resolver, torn) == "arc=fail (incomplete or doubled set)"
        doubled = with_headers(two, two.message.headers[0])
        assert await result(resolver, doubled) == "arc=fail (incomplete or doubled set)"

    async def test_no_key(self, resolver: Resolver, key: Key) -> None:
        """A sealer without a key."""
        assert (await result(resolver, sealed(mail(), key.private, domain=b"example.test"))).startswith("arc=fail")

    async def test_dns_trouble(self, resolver: Resolver, key: Key) -> None:
        """A key that cannot be looked up now is temporary."""
        sample = sealed(mail(), key.private, domain=b"host.refused.test")
        assert await result(resolver, sample) == "arc=temperror (key look-up failed)"


def test_fifty_sets_at_most() -> None:
    """A chain longer than RFC 8617 allows is not even looked at."""
    fields = [f"{name}: i={n}; d=a.test; s=s".encode() for n in range(1, 52) for name in ("ARC-Seal",) * 3]
    with pytest.raises(Refused, match="more than 50"):
        key_names(fields)


@given(st.binary(max_size=120), st.binary(max_size=60))
def test_any_bytes(value: bytes, record: bytes) -> None:
    """Any bytes in the three fields and as their key give a result."""
    value = re.sub(rb"[\r\n]", b"", value)
    names = (b"ARC-Seal: ", b"ARC-Message-Signature: ", b"ARC-Authentication-Results: ")
    sample = with_headers(mail(), *(name + b"i=1; d=a.test; s=s; " + value for name in names))
    headers = arc_headers(sample.message)
    try:
        keys = key_names(headers)
    except Refused:
        return
    assert verify(sample.message, headers, dict.fromkeys(keys, record))[0] == "fail"
