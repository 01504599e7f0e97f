"""ourselves: do our name, addresses, reverse names and greeting agree?

Primaries and their filters look at whoever connects: an address without a name, or
a greeting that leads elsewhere, costs a secondary its good standing (RFC 1912 2.1,
RFC 5321 4.1.4 lets nobody refuse for it, and many do).
"""

import ipaddress
from collections.abc import Callable, Sequence

from backupmx.net.dns import DNSTrouble, Resolver
from backupmx.operate.inspect.finding import Finding, good, note, unknown, wrong
from backupmx.route.hosts import bindable


async def addresses(resolver: Resolver, hostname: str) -> tuple[frozenset[str], list[Finding]]:
    """What DNS says we are."""
    try:
        found = frozenset(_plain(each) for each in await resolver.addresses(hostname))
        alias = await resolver.lookup(hostname, "CNAME")
    except DNSTrouble as trouble:
        return frozenset(), [unknown(hostname, "address", str(trouble))]
    if not found:
        remedy = f"write {hostname}. A THE-ADDRESS., or mend hostname in backupmx.toml"
        return found, [wrong(hostname, "address", "our own name has no address: no sender finds us", remedy)]
    findings = [good(hostname, "address", ", ".join(sorted(found)))]
    if alias.records:
        text = (
            f"is an alias of {alias.records[0].rstrip('.')}: the name in an MX record must not be one (RFC 2181 10.3)"
        )
        findings.append(wrong(hostname, "address", text, "give it its own A and AAAA records"))
    return found, findings


async def names(
    resolver: Resolver,
    hostname: str,
    helo: str,
    bound: Sequence[str],
    ours: frozenset[str],
    own: Callable[[str], bool] = bindable,
) -> list[Finding]:
    """Reverse names of what we are and of what we connect from (`bound`), and the greeting."""
    findings: list[Finding] = []
    for address in sorted({*ours, *bound}):
        findings += await _reverse(resolver, address, helo)
    if not any(own(address) for address in ours) and ours:
        text = (
            f"none of {', '.join(sorted(ours))} is on this machine: behind NAT that is so, else hostname is another's"
        )
        findings.append(note(hostname, "address", text))
    if helo != hostname:
        findings += await _greeting(resolver, helo, frozenset(bound) or ours)
    return findings


async def _reverse(resolver: Resolver, address: str, helo: str) -> list[Finding]:
    try:
        pointers = await resolver.lookup(ipaddress.ip_address(address).reverse_pointer, "PTR")
    except DNSTrouble as trouble:
        return [unknown(address, "ptr", str(trouble))]
    if not pointers.records:
        remedy = f"have whoever gave you the address write its PTR: {helo}."
        return [wrong(address, "ptr", "has no name: many servers refuse or mark mail from such an address", remedy)]
    name = await resolver.reverse(address)
    written = pointers.records[0].rstrip(".")
    if name == "unknown":
        remedy = f"let {written} have this address, or have the PTR say {helo}."
        return [wrong(address, "ptr", f"its name {written} does not lead back to it", remedy)]
    if name.lower() != helo.lower():
        remedy = f'have the PTR say {helo}., or write relay.helo_name = "{name}"'
        return [note(address, "ptr", f"is {name}, and we greet as {helo}: they should be one", remedy)]
    return [good(address, "ptr", f"{name}, which leads back and is what we greet with")]


async def _greeting(resolver: Resolver, helo: str, from_where: frozenset[str]) -> list[Finding]:
    try:
        found = frozenset(_plain(each) for each in await resolver.addresses(helo))
    except DNSTrouble as trouble:
        return [unknown(helo, "helo", str(trouble))]
    if not found & from_where:
        what = f"leads to {', '.join(sorted(found))}" if found else "has no address"
        remedy = "mend relay.helo_name, or its A record"
        return [wrong(helo, "helo", f"we greet as {helo}, which {what}: not to where we connect from", remedy)]
    return [good(helo, "helo", "our greeting leads back to us")]


def _plain(address: str) -> str:
    return str(ipaddress.ip_address(address))
