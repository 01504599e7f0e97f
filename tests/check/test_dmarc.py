"""DMARC, with records from a real resolver."""

import pytest

from backupmx.check.dmarc import Dmarc
from backupmx.check.finding import Finding, Findings, Seen
from backupmx.net.dns import Resolver
from tests.check.messages import mail


def authentication(spf: str = "", dkim: tuple[str, ...] = (), results: tuple[str, str] = ("", "")) -> Findings:
    """SPF passed for `spf`, DKIM for each of `dkim`; or what `results` says of both."""
    spf_result = results[0] or ("pass" if spf else "none")
    dkim_result = results[1] or ("pass" if dkim else "none")
    return Findings(
        (
            Finding("spf", "pyspf", Seen.NEUTRAL, "", facts={"result": spf_result, "domain": spf}),
            Finding("dkim", "dkimpy", Seen.NEUTRAL, "", facts={"result": dkim_result, "passed": dkim}),
        )
    )


async def told(resolver: Resolver, author: bytes, found: Findings, *more: bytes) -> str:
    sample = mail(b"", b"From: " + author, *more, standard=False)
    return (await Dmarc(resolver).look(sample, found)).results[0]


async def found_organization(resolver: Resolver, author: bytes, found: Findings) -> object:
    sample = mail(b"", b"From: " + author, standard=False)
    return (await Dmarc(resolver).look(sample, found)).facts.get("organization")


REJECT = "policy.dmarc=reject header.from=sender.test"


@pytest.mark.neighbours
class TestLook:
    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            (authentication(spf="sender.test"), f"dmarc=pass {REJECT}"),
            (authentication(dkim=("sender.test",)), f"dmarc=pass {REJECT}"),
            (authentication(spf="shop.sender.test"), f"dmarc=pass {REJECT}"),
            (authentication(dkim=("other.test", "mail.shop.sender.test")), f"dmarc=pass {REJECT}"),
            (authentication(), f"dmarc=fail {REJECT}"),
            (authentication(spf="elsewhere.test", dkim=("elsewhere.test",)), f"dmarc=fail {REJECT}"),
            (authentication(spf="evilsender.test"), f"dmarc=fail {REJECT}"),
            (authentication(spf="sender.test", results=("softfail", "")), f"dmarc=fail {REJECT}"),
            (authentication(spf="department.sender.test"), f"dmarc=fail {REJECT}"),
            (authentication(results=("temperror", "none")), f"dmarc=temperror {REJECT}"),
            (authentication(results=("none", "temperror")), f"dmarc=temperror {REJECT}"),
            (Findings(), f"dmarc=fail {REJECT}"),
        ],
    )
    async def test_alignment(self, resolver: Resolver, found: Findings, expected: str) -> None:
        """SPF or DKIM must have passed for the author's domain or its organization."""
        assert await told(resolver, b"Alice <a@Sender.Test>", found) == expected

    async def test_organization(self, resolver: Resolver) -> None:
        """Where the tree was walked the organization is known to whoever asks later."""
        assert await found_organization(resolver, b"a@shop.sender.test", Findings()) == "sender.test"
        assert await found_organization(resolver, b"a@sender.test", authentication(spf="sender.test")) is None

    @pytest.mark.parametrize(
        ("author", "expected"),
        [
            (b"a@shop.sender.test", "dmarc=fail policy.dmarc=quarantine header.from=shop.sender.test"),
            (b"a@nowhere.sender.test", "dmarc=fail policy.dmarc=none header.from=nowhere.sender.test"),
            (b"a@x.department.sender.test", "dmarc=fail policy.dmarc=none header.from=x.department.sender.test"),
            (b"a@shop.registry.test", "dmarc=fail policy.dmarc=reject header.from=shop.registry.test"),
            (b"a@example.test", "dmarc=none header.from=example.test"),
            (b"a@host.refused.test", "dmarc=temperror header.from=host.refused.test"),
        ],
    )
    async def test_policies(self, resolver: Resolver, author: bytes, expected: str) -> None:
        """Which record governs, and which of its policies."""
        assert await told(resolver, author, authentication()) == expected

    async def test_strict(self, resolver: Resolver) -> None:
        """aspf=s and adkim=s: the very same domain."""
        for domain, result in (("strict.test", "pass"), ("sub.strict.test", "fail")):
            for found in (authentication(spf=domain), authentication(dkim=(domain,))):
                expected = f"dmarc={result} policy.dmarc=reject header.from=strict.test"
                assert await told(resolver, b"a@strict.test", found) == expected

    async def test_subdomain_author_and_organization_signature(self, resolver: Resolver) -> None:
        """A shop below the organization is covered by the organization's signature."""
        found = authentication(dkim=("sender.test",))
        expected = "dmarc=pass policy.dmarc=quarantine header.from=shop.sender.test"
        assert await told(resolver, b"a@shop.sender.test", found) == expected

    @pytest.mark.parametrize(
        ("author", "reason"),
        [(b"", "no author domain"), (b"<>", "no author domain"), (b"a@b.test, c@d.test", "several author domains")],
    )
    async def test_no_single_author(self, resolver: Resolver, author: bytes, reason: str) -> None:
        """Without exactly one author domain there is nothing to ask."""
        assert await told(resolver, author, authentication()) == f"dmarc=permerror ({reason})"

    async def test_no_time_left(self, resolver: Resolver) -> None:
        """Look-ups that would take too long are DNS trouble."""
        sample = mail(b"", b"From: a@nowhere.sender.test", standard=False)
        found = await Dmarc(resolver).look(sample, authentication(), 0.0)
        assert found.results == ("dmarc=temperror header.from=nowhere.sender.test",)

    async def test_two_from_headers(self, resolver: Resolver) -> None:
        """A second From: with another domain does not get the first one's blessing."""
        found = authentication(spf="sender.test")
        assert (
            await told(resolver, b"a@sender.test", found, b"From: b@evil.test")
            == "dmarc=permerror (several author domains)"
        )
