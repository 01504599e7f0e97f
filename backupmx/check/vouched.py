"""Pure.  vouched: is the sender's address that of somebody who wrote?

A notice of non-delivery goes to the address of MAIL FROM.  Anybody can write any
address there; a notice to somebody who sent nothing is spam of ours (backscatter).
The address counts as its owner's when

    SPF passed for its domain, or
    DKIM passed with d= its domain, a domain above it, or (relaxed alignment) one
         of the same organization, as far as DMARC's tree walk found that out

Why a domain above, without asking the DNS?  Who owns example.com owns what is
delegated below it.  The reverse is not true, and wants the organization.

Standards: RFC 7208 (SPF), RFC 6376 (DKIM), RFC 9989 4.4 (alignment).
"""

from backupmx.check.author import ascii_domain
from backupmx.check.finding import Findings


def vouched(sender: str, findings: Findings) -> bool:
    """Whether SPF or DKIM stands for the domain of MAIL FROM, with what the checks of this message saw.

    Never for the null sender, nor when no check ran.
    """
    domain = ascii_domain(sender.rpartition("@")[2]) if "@" in sender else ""
    if not domain:
        return False
    spf, dkim, dmarc = findings.of("spf"), findings.of("dkim"), findings.of("dmarc")
    if spf and spf.facts.get("result") == "pass" and spf.facts.get("domain") == domain:
        return True
    passed = dkim.facts.get("passed") if dkim else ()
    organization = dmarc.facts.get("organization", "") if dmarc else ""
    return isinstance(passed, tuple) and any(_aligned(signer, domain, str(organization)) for signer in passed)


def _aligned(signer: str, domain: str, organization: str) -> bool:
    if _within(domain, signer):
        return "." in signer  # no top-level domain signs mail
    return bool(organization) and _within(signer, organization) and _within(domain, organization)


def _within(domain: str, above: str) -> bool:
    return domain == above or domain.endswith("." + above)
