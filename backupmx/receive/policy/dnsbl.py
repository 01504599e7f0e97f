"""Pure.  dnsbl: block and welcome lists in the DNS, each with a weight; the syntax of postscreen_dnsbl_sites.

    zen.spamhaus.org=127.0.0.[2..11]*3      three points when it answers with one of these
    bl.example.net*2                        two for any answer
    list.dnswl.org=127.[0..255].[0..255].[1;3]*-2      two less
    bl.example.org                          one

A client's score is the sum over all sites; no answer, or none in time, is no
opinion.  Nor has a zone that lists 127.0.0.1, which no list may: it lists
everybody, as lists do that are given up.  Without a pattern, what says "you may
not ask" (127.255.255.x of several, 127.0.0.1 of others) is no listing.  A site
counts once, however many records it answers with; the same zone may stand there
several times, with other patterns.

Some lists give each customer a zone of his own, with a key in it.  `reply_map`
has the name that clients and the log may read instead (postscreen_dnsbl_reply_map).

Standards: RFC 5782 (2.1 reversed octets, 2.4 nibbles, 2.3 only 127/8 is an answer, 5 the
test entries).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

_SITE = re.compile(r"([A-Za-z0-9_.-]+?)\.?(?:=([0-9.;\[\]]+))?(?:\*([+-]?\d{1,4}))?")
_PART = re.compile(r"\d{1,3}|\[\d{1,3}(?:\.\.\d{1,3})?(?:;\d{1,3}(?:\.\.\d{1,3})?)*\]")
_ANY = (frozenset((127,)), *[frozenset(range(256))] * 3)


class SiteTrouble(ValueError):
    """Sites that cannot be used; `errors` has all of them."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Site:
    zone: str
    weight: int = 1
    answers: tuple[frozenset[int], ...] = _ANY
    """Which numbers each of an answer's four may be."""
    name: str = ""
    """What may be told of it."""

    def lists(self, records: Sequence[str]) -> bool:
        """One of its A records says so."""
        for record in records:
            if self.answers is _ANY and (record == "127.0.0.1" or record.startswith("127.255.255.")):
                continue
            numbers = record.split(".")
            if len(numbers) == 4 and all(int(n) in some for n, some in zip(numbers, self.answers, strict=True)):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Listing:
    """What all sites say of one client."""

    score: int = 0
    hits: tuple[Site, ...] = ()

    @property
    def worst(self) -> Site | None:
        """The site that weighs most, for the reply."""
        return max(self.hits, key=lambda site: site.weight, default=None)

    def __str__(self) -> str:
        return ", ".join(f"{site.name}*{site.weight}" for site in self.hits)


NOT_LISTED = Listing()


def parse(sites: Sequence[str], reply_map: Mapping[str, str] | None = None) -> tuple[Site, ...]:
    """smtp.dnsbl_sites.  Raises SiteTrouble."""
    names = {zone.lower().rstrip("."): name for zone, name in (reply_map or {}).items()}
    found: list[Site] = []
    errors: list[str] = []
    for text in sites:
        try:
            found.append(_site(text, names))
        except ValueError as error:
            errors.append(f"smtp.dnsbl_sites: {text!r}: {error}")
    strangers = sorted(names.keys() - {site.zone for site in found})
    errors += [f"smtp.dnsbl_reply_map: {zone!r} is no zone of smtp.dnsbl_sites" for zone in strangers if not errors]
    if errors:
        raise SiteTrouble(errors)
    return tuple(found)


def reversed_address(address: str) -> str:
    """ "192.0.2.1" -> "1.2.0.192"; an IPv6 address by nibbles; "" for what is no address."""
    try:
        if ":" in address:
            return ".".join(inet_pton(AF_INET6, address.partition("%")[0]).hex()[::-1])
        inet_pton(AF_INET, address)
    except (OSError, ValueError):
        return ""
    return ".".join(address.split(".")[::-1])


def lists_all(zone: str) -> tuple[str, str]:
    """What has to be asked of a zone, and the name of the answer for `weigh`: does it list who never may be listed?"""
    return f"1.0.0.127.{zone}", f"!{zone}"


def weigh(sites: Sequence[Site], answers: Mapping[str, Sequence[str]]) -> Listing:
    """`answers`: a zone's A records for the client; a zone that is not there has no opinion.

    "!zone": its records for 127.0.0.1; with any it has none either.
    """
    hits = tuple(
        site
        for site in sites
        if (records := answers.get(site.zone)) and site.lists(records) and not answers.get(f"!{site.zone}")
    )
    return Listing(sum(site.weight for site in hits), hits) if hits else NOT_LISTED


def _site(text: str, names: Mapping[str, str]) -> Site:
    if not (match := _SITE.fullmatch(text.strip())):
        raise ValueError('write "zone", "zone=127.0.0.[2..11]", "zone*2" or "zone=127.0.0.2*-1"')
    zone = match[1].lower()
    if "." not in zone or ".." in zone or zone.startswith(".") or len(zone) > 180:
        raise ValueError("no name of a zone")
    weight = int(match[3]) if match[3] else 1
    if not weight:
        raise ValueError("a weight of 0 changes nothing")
    return Site(zone, weight, _answers(match[2]) if match[2] else _ANY, names.get(zone, zone))


def _answers(pattern: str) -> tuple[frozenset[int], ...]:
    """ "127.0.[0..255].[1;3..5]"."""
    parts, at = [], 0
    while match := _PART.match(pattern, at):
        parts.append(_numbers(match[0]))
        at = match.end() + 1
        if pattern[match.end() : at] not in (".", ""):
            break
    if at <= len(pattern) or len(parts) != 4:
        raise ValueError(f"{pattern!r} is no pattern of answers; write four numbers or ranges: 127.0.0.[2..11;14]")
    return tuple(parts)


def _numbers(part: str) -> frozenset[int]:
    numbers: set[int] = set()
    for piece in part.strip("[]").split(";"):
        low, _, high = piece.partition("..")
        first, last = int(low), int(high or low)
        if first > last or last > 255:
            raise ValueError(f"{piece} is no range of 0..255")
        numbers.update(range(first, last + 1))
    return frozenset(numbers)
