"""Pure.  next_hop: "smtp:[primary1.example.net]:2525" and what it means.

A next hop is text because the queue stores, counts and pauses by it.  `parse`
reads it as transport(5) and smtp(8) do:

    smtp:example.jp              the MX hosts of example.jp
    smtp:[primary1.example.net]  that host's own addresses, no MX
    smtp:[192.0.2.1]:2525        port by number or service name
    smtp:[2001:db8::1], [b.jp]   several, tried in this order
    relay:...                    another name for smtp
    lmtp:inet:host:24            LMTP over TCP; inet: may be left out; never MX
    lmtp:unix:/path              LMTP over a socket file
    error:5.1.1 words            bounced with these words
    retry:4.2.1 words            deferred with these words
    discard:words                called delivered, thrown away

Trouble
    HopTrouble   this is no next hop; the text says what to write instead.
                 transport_map reports it with its line.

Why refuse an unknown service name here?  Postfix finds out at delivery: the
delivery agent dies and the mail waits for somebody to read the log.

BUGS
    SRV records are not looked up; submissions (TLS from the first octet) is not spoken.
"""

import ipaddress
import re
from dataclasses import dataclass, field, replace

_SERVICES = {"smtp": 25, "lmtp": 24, "submission": 587}
_HOST = re.compile(r"[\w\x80-\U0010ffff](?:[\w.\x80-\U0010ffff-]{0,252}[\w\x80-\U0010ffff])?\.?", re.ASCII)
_STATUS = re.compile(r"[245](\.\d{1,3}\.\d{1,3})(?:\s+|$)")

TRANSPORTS = ("smtp", "relay", "lmtp", "error", "retry", "discard")


class HopTrouble(ValueError):
    """This text is no next hop.  It says what is wrong and what to write."""


@dataclass(frozen=True, slots=True)
class Destination:
    """One of the places a next hop names."""

    host: str
    """Name or IP address, without brackets; "" for a socket file."""
    port: int
    mx: bool = False
    """Ask for MX hosts first."""
    path: str = ""
    """Of the socket file (lmtp:unix:)."""
    text: str = field(default="", compare=False)
    """As it is written: "[primary1.example.net]:25"."""


@dataclass(frozen=True, slots=True)
class NextHop:
    text: str
    transport: str
    """smtp, lmtp, error, retry or discard; relay is smtp."""
    destinations: tuple[Destination, ...] = ()
    status: str = ""
    """RFC 3463 code of error and retry."""
    words: str = ""
    """What error, retry and discard say."""

    @property
    def connects(self) -> bool:
        return self.transport in ("smtp", "lmtp")


def parse(text: str) -> NextHop:
    """Raises HopTrouble."""
    transport, _, rest = text.partition(":")
    if transport not in TRANSPORTS:
        raise HopTrouble(f'unknown transport "{transport}"; write one of {", ".join(TRANSPORTS)}')
    if transport in ("error", "retry", "discard"):
        return _worded(text, transport, rest.strip())
    transport = "lmtp" if transport == "lmtp" else "smtp"
    places = tuple(replace(_destination(place, transport), text=place) for place in re.split(r"[,\s]+", rest) if place)
    if not places:
        raise HopTrouble(f'no host after "{transport}:"; write {transport}:[host.example.net]')
    return NextHop(text, transport, places)


def _worded(text: str, transport: str, words: str) -> NextHop:
    """The code's class is the transport's, whatever the words begin with."""
    digit = {"error": "5", "retry": "4", "discard": "2"}[transport]
    match = _STATUS.match(words)
    status = digit + (match[1] if match else ".0.0")
    words = words[match.end() :] if match else words
    return NextHop(text, transport, (), status, words or ("silently" if digit == "2" else "Address is undeliverable"))


def _destination(place: str, transport: str) -> Destination:
    if transport == "lmtp":
        if place.startswith("unix:"):
            path = place.removeprefix("unix:")
            if not path.startswith("/"):
                raise HopTrouble(f'"{place}": write the whole path, lmtp:unix:/var/run/lmtp')
            return Destination("", 0, path=path)
        place = place.removeprefix("inet:")
    if place.partition(":")[0] in TRANSPORTS:
        raise HopTrouble(f'"{place}": the transport stands once, before the list: {transport}:[a.example], [b.example]')
    return _host_port(place, transport)


def _host_port(place: str, transport: str) -> Destination:
    default = _SERVICES[transport]
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise HopTrouble(f'"{place}": write [host] or [host]:port')
        return Destination(_bracketed(host, place), _port(rest[1:], place) if rest else default)
    host, colon, service = place.rpartition(":")
    if not colon:
        host = service
    if ":" in host:
        raise HopTrouble(f'"{place}": an IPv6 address stands in brackets: [{place}]')
    if not _HOST.fullmatch(host) or ".." in host:
        raise HopTrouble(f'"{place}" is no host name; write [host.example.net]')
    port = _port(service, place) if colon else default
    return Destination(host.rstrip(".").lower(), port, mx=transport == "smtp" and not _is_address(host))


def _bracketed(host: str, place: str) -> str:
    host = host[5:] if host.lower().startswith("ipv6:") else host
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host.partition("%")[0])) + "".join(host.partition("%")[1:])
        except ValueError:
            raise HopTrouble(f'"{place}": not an IPv6 address') from None
    if not _HOST.fullmatch(host) or ".." in host:
        raise HopTrouble(f'"{place}" holds no host name; write [host.example.net]')
    return host.rstrip(".").lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _port(service: str, place: str) -> int:
    if service.isascii() and service.isdigit() and 0 < int(service) < 65536:
        return int(service)
    if service in _SERVICES:
        return _SERVICES[service]
    raise HopTrouble(f'"{place}": unknown service "{service}"; write the port as a number')
