"""names: our whole place in the DNS, and what hangs on it: `check dns`.

Everything is asked at once, twenty domains at a time; findings come in the order of
the configuration.  DNS trouble is a finding of its own, unknown, and stops nothing.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from backupmx.config import Config
from backupmx.net.dns import Answer, DNSTrouble, Resolver
from backupmx.net.tls import read_sni_map
from backupmx.operate.inspect import certificates, mta_sts, ourselves, outward, place
from backupmx.operate.inspect.finding import Finding, note, unknown, wrong
from backupmx.operate.serve.courier import relay_settings
from backupmx.operate.serve.policy import Files
from backupmx.route.routes import Routes

_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Web:
    """Where policies are fetched; another port and CA for tests."""

    port: int = 443
    context: ssl.SSLContext | None = None


async def look(config: Config, files: Files, domains: Sequence[str], web: Web | None = None) -> AsyncIterator[Finding]:
    """Findings as they are known, in order.  `domains` empty: all of ours."""
    relay = relay_settings(config, files.relay_tls)
    resolver = Resolver(config.dns.servers)
    try:
        ours, findings = await ourselves.addresses(resolver, config.hostname)
        findings += await ourselves.names(resolver, config.hostname, relay.helo, relay.bind_addresses, ours)
        for finding in findings:
            yield finding
        called = {config.hostname}
        wanted = [domain for domain in domains or files.routes.relay_domains if not domain.startswith(".")]
        async for found, names in _domains(resolver, config, wanted, ours, web or Web()):
            called.update(names)
            for finding in found:
                yield finding
        for domain in files.routes.relay_domains:
            if domain.startswith(".") and not domains:
                yield note(domain, "mx", "its subdomains are ours; name one to have it looked at")
        for finding in await _certificates(resolver, config, files, sorted(called)):
            yield finding
        for hop, whose in hops(files.routes, wanted).items():
            for finding in await outward.check(resolver, hop, relay.bind, whose):
                yield finding
    finally:
        await resolver.close()


def hops(routes: Routes, domains: Sequence[str]) -> dict[str, list[str]]:
    """Pure.  Next hop -> the domains it serves."""
    found: dict[str, list[str]] = {}
    for domain in domains:
        found.setdefault(routes.next_hop(f"postmaster@{domain}"), []).append(domain)
    return found


async def _domains(
    resolver: Resolver, config: Config, domains: Sequence[str], ours: frozenset[str], web: Web
) -> AsyncIterator[tuple[list[Finding], list[str]]]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(domain: str) -> tuple[list[Finding], list[str]]:
        async with turns:
            return await _domain(resolver, config.hostname, domain, ours, web)

    async with asyncio.TaskGroup() as group:
        for task in [group.create_task(one(domain)) for domain in domains]:
            yield await task


async def _domain(
    resolver: Resolver, hostname: str, domain: str, ours: frozenset[str], web: Web
) -> tuple[list[Finding], list[str]]:
    try:
        listed = place.exchanges((await resolver.lookup(domain, "MX")).records)
    except DNSTrouble as trouble:
        return [unknown(domain, "mx", str(trouble))], []
    questions = [(each.name, kind) for each in listed[:20] if each.name for kind in ("A", "AAAA")]
    answers = await resolver.lookups(questions)
    addresses: dict[str, list[str]] = {}
    for (name, _), answer in answers.items():
        # Nobody can tell now is not "it has none": something stands there.
        addresses.setdefault(name, []).extend(answer.records if isinstance(answer, Answer) else ["?"])
    names = place.names_of_ours(listed, addresses, hostname, ours)
    findings = list(place.judge(domain, listed, addresses, hostname, ours))
    findings += await mta_sts.check(resolver, domain, names or [hostname], port=web.port, context=web.context)
    return findings, names


async def _certificates(resolver: Resolver, config: Config, files: Files, names: Sequence[str]) -> list[Finding]:
    if files.tls is None:
        remedy = "name a key and a chain in smtp.tls_chain_files"
        return [wrong(config.hostname, "certificate", "we offer no STARTTLS: mail comes in clear", remedy)]
    context = files.tls.context()
    chain = [config.policy_path(file) for file in config.smtp.tls_chain_files]
    if config.smtp.tls_sni_map:
        entries = read_sni_map(config.policy_path(config.smtp.tls_sni_map), [])
        chain += [file for each in entries.values() for file in each]
    findings: list[Finding] = []
    for name in names:
        try:
            seen = certificates.shown(context, name, chain)
        except (ssl.SSLError, ValueError) as error:
            findings.append(wrong(name, "certificate", f"no handshake: {error}", "backupmx check config"))
            continue
        findings += certificates.judge(seen, time.time())
        findings += await certificates.tlsa(resolver, seen)
    return findings
