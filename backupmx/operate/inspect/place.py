"""Pure.  place: where we stand in a domain's MX set (RFC 5321 5.1).

A secondary is in the set, behind somebody better.  Equal to the best it gets half
of the mail while the primary is up; alone it is the primary.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from backupmx.operate.inspect.finding import Finding, good, note, wrong


@dataclass(frozen=True, slots=True)
class Exchange:
    preference: int
    name: str
    """In lower case, without the last dot; "" is the null MX."""


def exchanges(records: Sequence[str]) -> list[Exchange]:
    """ "10 mx.example." -> Exchange, best first."""
    found = []
    for record in records:
        preference, _, name = record.partition(" ")
        found.append(Exchange(int(preference), name.strip().rstrip(".").lower()))
    return sorted(found, key=lambda each: (each.preference, each.name))


def judge(
    domain: str, listed: Sequence[Exchange], addresses: Mapping[str, Sequence[str]], hostname: str, ours: frozenset[str]
) -> Iterator[Finding]:
    """`addresses`: of each name in the set; `ours`: of our hostname."""
    if not listed:
        remedy = f"write {domain}. MX 10 THE-PRIMARY. and {domain}. MX 20 {hostname}."
        yield wrong(domain, "mx", "has no MX record: senders try its A record and never us", remedy)
        return
    if [each.name for each in listed] == [""]:
        yield wrong(
            domain,
            "mx",
            "says that it takes no mail (null MX, RFC 7505)",
            "take it out of transport.map, or mend its MX",
        )
        return
    names = names_of_ours(listed, addresses, hostname, ours)
    us = [each for each in listed if each.name in names]
    others = [each for each in listed if each.name not in names]
    for each in listed:
        if not addresses.get(each.name):
            yield wrong(domain, "mx", f"its MX {each.name} has no address", "give it one, or take it out of the MX set")
    if not us:
        yield _missing(domain, listed, hostname)
        return
    yield from _rank(domain, us, others, hostname)


def names_of_ours(
    listed: Sequence[Exchange], addresses: Mapping[str, Sequence[str]], hostname: str, ours: frozenset[str]
) -> list[str]:
    """What the MX set calls us."""
    return [each.name for each in listed if each.name == hostname or ours & set(addresses.get(each.name, ()))]


def _missing(domain: str, listed: Sequence[Exchange], hostname: str) -> Finding:
    behind = min(max(each.preference for each in listed) + 10, 65535)
    names = ", ".join(f"{each.preference} {each.name}" for each in listed[:5])
    return wrong(
        domain,
        "mx",
        f"we are not in its MX set ({names}): no mail comes here",
        f"add {domain}. MX {behind} {hostname}.",
    )


def _rank(domain: str, us: Sequence[Exchange], others: Sequence[Exchange], hostname: str) -> Iterator[Finding]:
    mine = us[0]
    if not others:
        yield wrong(
            domain, "mx", "we are its only MX: nobody but us knows its primary", f"add {domain}. MX 10 THE-PRIMARY."
        )
        return
    best = others[0]
    if mine.preference < best.preference:
        text = f"we are better ({mine.preference}) than {best.name} ({best.preference}): all its mail comes here first"
        yield wrong(domain, "mx", text, f"make ours worse: {domain}. MX {_behind(best)} {mine.name}.")
    elif mine.preference == best.preference:
        text = f"we are as good ({mine.preference}) as {best.name}: half of its mail comes here though it is up"
        yield wrong(domain, "mx", text, f"make ours worse: {domain}. MX {_behind(best)} {mine.name}.")
    else:
        yield good(domain, "mx", f"{best.preference} {best.name} first, {mine.preference} {mine.name} is us")
    for each in us:
        if each.name != hostname:
            text = f"calls us {each.name}: a certificate for this name is shown if smtp.tls_sni_map has one"
            yield note(domain, "mx", text)


def _behind(best: Exchange) -> int:
    return min(best.preference + 10, 65535)
