"""Whose notice of non-delivery would go to somebody who wrote."""

import pytest

from backupmx.check.finding import Finding, Findings, Seen
from backupmx.check.vouched import vouched


def saw(*, spf: str = "", dkim: tuple[str, ...] = (), organization: str = "") -> Findings:
    """SPF passed for this domain, DKIM for these; DMARC found this organization."""
    facts = (
        ("spf", "pyspf", {"result": "pass" if spf else "fail", "domain": spf or "example.com"}),
        ("dkim", "dkimpy", {"result": "pass" if dkim else "none", "passed": dkim}),
        ("dmarc", "backupmx", {"result": "fail", "organization": organization}),
    )
    return Findings(tuple(Finding(check, engine, Seen.NEUTRAL, "", facts=said) for check, engine, said in facts))


@pytest.mark.parametrize(
    ("sender", "findings"),
    [
        ("s@example.com", saw(spf="example.com")),
        ("s@EXAMPLE.com", saw(spf="example.com")),
        ("s@example.com", saw(dkim=("other.example", "example.com"))),
        ("b@bounce.example.com", saw(dkim=("example.com",))),
        ("s@example.com", saw(dkim=("mail.example.com",), organization="example.com")),
        ("b@bounce.example.com", saw(dkim=("mail.example.com",), organization="example.com")),
    ],
)
def test_vouched(sender: str, findings: Findings) -> None:
    """SPF for the domain itself; DKIM for it, for a domain above it, or for one of the same organization."""
    assert vouched(sender, findings)


@pytest.mark.parametrize(
    ("sender", "findings"),
    [
        ("", saw(spf="mx.example.com", dkim=("example.com",))),
        ("postmaster", saw(spf="example.com")),
        ("s@example.com", saw()),
        ("s@example.com", saw(spf="other.example")),
        ("s@sub.example.com", saw(spf="example.com")),
        ("s@example.com", saw(dkim=("mail.example.com",))),
        ("s@badexample.com", saw(dkim=("example.com",))),
        ("s@example.com", saw(dkim=("com",))),
        ("s@other.example", saw(dkim=("mail.example.com",), organization="example.com")),
        ("s@example.com", Findings()),
    ],
)
def test_not_vouched(sender: str, findings: Findings) -> None:
    """The null sender, a pass for somebody else, a signature from below without an organization, no check at all."""
    assert not vouched(sender, findings)
