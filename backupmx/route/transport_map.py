"""Pure.  transport_map: transport(5), the file that names each domain's next hop.

    example.jp          smtp:[primary1.example.net]     that domain
    .example.jp         smtp:[primary1.example.net]     its subdomains, all of them
    user@example.jp     lmtp:unix:/var/run/lmtp         one address
    *                   relay:[hub.example.net]         everything else

Asked for an address: user+ext@domain (and user@domain, where a delimiter is
set), domain, .domain's parents from the longest on, `*`.  Case is folded,
quotes that are not needed do not count ("user"@example.jp is user), a domain in
another script is compared in its ASCII form.  The result `:` changes nothing,
`:nexthop` keeps the transport (smtp), `t:` means the recipient's own domain.
Lines beginning with a blank continue the line before; comments and empty lines
may stand between (postmap(1)).  There is no postmap step.

Trouble
    TransportTrouble   the file cannot be used: every error at once, each with
                       its line and a remedy.

The first of two lines with the same key counts, as with postmap(1) and
texthash:, and `warnings` says so.  What postmap only warns of and Postfix
finds out at delivery (no result, an unknown transport, a bad port) is an error.

Why not look keys up in a .db file?  The file is read in milliseconds, and a
forgotten postmap is a classic way to lose an evening.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from backupmx.mail import address as addresses
from backupmx.route import next_hop

_LINE = re.compile(r'((?:"(?:\\.|[^"\\])*"|[^\s"])+)(?:\s+(.*))?', re.DOTALL)


class TransportTrouble(Exception):
    """The map cannot be used.  `errors` are sentences: "transport.map:3: what, and what to write"."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Route:
    """Where one address goes."""

    transport: str
    nexthop: str
    source: str
    """The line that says so, "transport.map:2"; "default" when none does."""

    def __str__(self) -> str:
        """As the queue stores it: "smtp:[primary1.example.net]"."""
        return f"{self.transport}:{self.nexthop}"


@dataclass(frozen=True, slots=True)
class TransportMap:
    entries: dict[str, tuple[str, str]]
    """Folded key -> (result as written, "transport.map:2")."""
    warnings: tuple[str, ...] = ()
    delimiter: str = ""
    """Postfix's recipient_delimiter; its default is none."""
    text: str = field(default="", repr=False)

    def lookup(self, address: str) -> Route:
        """The route of one recipient.  What no line names goes to its domain's MX hosts."""
        domain = addresses.domain_of(address)
        for key in _keys(address, self.delimiter):
            if found := self.entries.get(key):
                return _applied(*found, domain)
        return _applied(":", "default", domain)

    def relay_domains(self) -> tuple[str, ...]:
        """The domains this map makes ours: keys `example.jp` and `.example.jp`, in the file's order."""
        return tuple(key for key in self.entries if "@" not in key and key != "*")

    def next_hops(self) -> frozenset[str]:
        """Every next hop the map leads to, as the queue stores them; `*` with the recipient's domain aside."""
        named = ((key, *found) for key, found in self.entries.items())
        routes = (
            _applied(result, source, addresses.domain_of(key) or key.lstrip(".")) for key, result, source in named
        )
        return frozenset(str(route) for route in routes)


def parse(text: str, name: str = "transport.map", *, delimiter: str = "") -> TransportMap:
    """A map from its text.  Raises TransportTrouble with every error at once."""
    entries: dict[str, tuple[str, str]] = {}
    errors: list[str] = []
    warnings: list[str] = []
    for number, line in logical_lines(text):
        where = f"{name}:{number}"
        if trouble := _trouble(line):
            errors.append(f"{where}: {trouble}")
            continue
        match = _LINE.match(line)
        assert match is not None
        key = fold(match[1])
        if key in entries:
            warnings.append(f'{where}: "{match[1]}" again; {entries[key][1]} counts, take this line out')
        elif key.endswith(":"):
            warnings.append(f'{where}: "{match[1]}" ends in a colon, so it never matches; is this an alias file?')
        entries.setdefault(key, (match[2].strip(), where))
    if errors:
        raise TransportTrouble(errors)
    return TransportMap(entries, tuple(warnings), delimiter, text)


def fold(key: str) -> str:
    """Lower case, and the domain in ASCII: 日本.JP and xn--wgv71a.jp are one."""
    local, at, domain = key.lower().rpartition("@")
    if not domain.isascii():
        try:
            domain = ("." if domain.startswith(".") else "") + domain.lstrip(".").encode("idna").decode()
        except UnicodeError:
            pass  # no name DNS could hold: it stays as it is and matches only itself
    return local + at + domain


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Physical lines joined, each with the number of its first."""
    number, logical = 0, ""
    for count, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and logical:
            logical += line.rstrip()
            continue
        if logical:
            yield number, logical
        number, logical = count, line.rstrip()
    if logical:
        yield number, logical


def _trouble(line: str) -> str:
    """What is wrong with a logical line, "" when nothing is."""
    if line[0] in " \t":
        return "begins with a blank but continues nothing; take the blank away"
    match = _LINE.match(line)
    if not match:
        return "a quoted local part has no end"
    key, result = match[1], match[2]
    if not result:
        return f'"{key}" has no result; write: {key} smtp:[host.example.net]'
    if key.startswith("@"):
        return f'"{key}" is never looked up; write {key[1:]}'
    if key.startswith("*") and key != "*":
        return f'"{key}" is never looked up; for subdomains write {key[1:]}'
    if key.endswith("@"):
        return f'"{key}" has no domain'
    return _result_trouble(result.strip())


def _result_trouble(result: str) -> str:
    transport, _, nexthop = result.partition(":")
    if transport in next_hop.TRANSPORTS and not nexthop.strip():
        return ""
    if result == ":":
        return ""
    try:
        next_hop.parse(f"{transport or 'smtp'}:{nexthop}")
    except next_hop.HopTrouble as trouble:
        return str(trouble)
    return ""


def _keys(address: str, delimiter: str) -> Iterator[str]:
    local, at, domain = fold(address).rpartition("@")
    if at:
        forms = addresses.local_forms(local)
        for form in forms:
            yield f"{form}@{domain}"
        for form in forms if delimiter else ():
            if (base := addresses.without_extension(form, delimiter)) != form:
                yield f"{base}@{domain}"
        yield domain
        while domain := domain.partition(".")[2]:
            yield "." + domain
    yield "*"


def _applied(result: str, source: str, domain: str) -> Route:
    """What a result means for an address of that domain."""
    transport, _, nexthop = result.partition(":")
    nexthop = " ".join(nexthop.split())
    if transport in ("error", "retry", "discard"):
        return Route(transport, nexthop, source)
    return Route(transport or "smtp", nexthop or _own(domain), source)


def _own(domain: str) -> str:
    """A recipient's domain as a next hop; an address literal [IPv6:...] is one already."""
    return domain if domain.startswith("[") else fold(domain)
