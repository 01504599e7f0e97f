"""dmarc: does the author's domain stand by this message?

    dmarc=pass policy.dmarc=reject header.from=sender.example

It passes when SPF or a DKIM signature passed for a domain aligned with that
of From:.  What the author's domain asks for when it fails (`policy`) is told
in the result and enforced by nobody here: a rule may do that.

    none       the domain has no policy
    permerror  From: names no domain, or several
    temperror  the DNS did not answer, for the policy or for a check that
               might have passed

The author's own record is asked for while SPF and DKIM look up theirs: a DNS
that says nothing costs one wait for all of them, not one each.

Standards: RFC 9989; RFC 8601 2.7, policy.dmarc as registered with IANA.
"""

import asyncio
import time
from collections.abc import Iterable

from backupmx.check.author import author_domains
from backupmx.check.dmarc_record import Record, governing, organization, record_of, targets
from backupmx.check.field import plain, resinfo
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.net.dns import DNSTrouble, Resolver


class Dmarc:
    """The DMARC check."""

    name = "dmarc"

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self.seconds = resolver.timeout

    async def prefetch(self, mail: Mail) -> None:
        """Asks for the author's record, so that it is known when SPF and DKIM are done."""
        domains = author_domains(mail.message.values(b"From"))
        if len(domains) == 1:
            await self._resolver.lookups([(f"_dmarc.{domains[0]}", "TXT")])

    async def look(self, mail: Mail, authentication: Findings, seconds: float = 20.0) -> Finding:
        """`seconds`: what is left for look-ups."""
        started = time.monotonic()
        domains = author_domains(mail.message.values(b"From"))
        if len(domains) != 1:
            reason = "several author domains" if domains else "no author domain"
            return finding("permerror", reason, seconds=time.monotonic() - started)
        try:
            async with asyncio.timeout(seconds):
                result, policy, organized = await self._judge(domains[0], authentication)
        except (DNSTrouble, TimeoutError):
            result, policy, organized = "temperror", "", ""
        return finding(result, "", domains[0], policy, organized, time.monotonic() - started)

    async def _judge(self, author: str, authentication: Findings) -> tuple[str, str, str]:
        """-> result, policy, and the organizational domain ("": not asked for).  Raises DNSTrouble."""
        passed = frozenset(_passed_spf(authentication)) | frozenset(_passed_dkim(authentication))
        own = await self._record(author)
        if own and author in passed:  # most honest mail ends here, without a walk
            return "pass", own.policy_for(own=True, exists=True), ""
        records = await self._walk(author)
        governor = governing(author, records)
        if not governor:
            return "none", "", ""
        record = records[governor]
        exists = not record.np or governor == author or (await self._resolver.lookup(author, "A")).exists
        policy = record.policy_for(own=governor == author, exists=exists)
        organized = organization(author, records)
        if await self._aligned(author, organized, record, authentication):
            return "pass", policy, organized
        unsure = {"spf=temperror", "dkim=temperror"} & authentication.results()
        return ("temperror" if unsure else "fail"), policy, organized

    async def _record(self, domain: str) -> Record | None:
        return record_of((await self._resolver.lookup(f"_dmarc.{domain}", "TXT")).strings)

    async def _walk(self, domain: str) -> dict[str, Record]:
        """The records of a tree walk.  Its names are asked all at once: they are few and mostly known."""
        names = targets(domain)
        found = await asyncio.gather(*(self._record(name) for name in names))
        records: dict[str, Record] = {}
        for name, record in zip(names, found, strict=True):
            if record:
                records[name] = record
                if record.psd != "u":
                    break
        return records

    async def _aligned(self, author: str, organized: str, record: Record, authentication: Findings) -> bool:
        """Whether SPF or DKIM passed for the author's domain, or (unless strict) for its organization."""
        passed = [(domain, record.strict_spf) for domain in _passed_spf(authentication)]
        passed += [(domain, record.strict_dkim) for domain in _passed_dkim(authentication)]
        if any(domain == author for domain, _ in passed):
            return True
        for domain, strict in passed:
            # What is no part of the organization's tree cannot be of it: no walk is needed.
            inside = domain == organized or domain.endswith("." + organized)
            if not strict and inside and organization(domain, await self._walk(domain)) == organized:
                return True
        return False


def _passed_spf(authentication: Findings) -> Iterable[str]:
    spf = authentication.of("spf")
    if spf and spf.facts.get("result") == "pass" and isinstance(domain := spf.facts.get("domain"), str):
        yield domain


def _passed_dkim(authentication: Findings) -> Iterable[str]:
    dkim = authentication.of("dkim")
    passed = dkim.facts.get("passed") if dkim else ()
    return passed if isinstance(passed, tuple) else ()


def finding(
    result: str, reason: str = "", author: str = "", policy: str = "", organized: str = "", seconds: float = 0.0
) -> Finding:
    """Pure."""
    told = resinfo("dmarc", result, reason, policy_dmarc=policy, header_from=author)
    facts = {"result": result, "domain": author, "policy": policy, "organization": organized}
    facts = {name: fact for name, fact in facts.items() if fact or name in ("result", "domain")}
    detail = plain(f"{result} ({author or reason})" + (f", policy {policy}" if policy else ""))
    return Finding("dmarc", "backupmx", Seen.NEUTRAL, detail, results=(told,), facts=facts, seconds=seconds)
