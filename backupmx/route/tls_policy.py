"""tls_policy: which level of TLS a next hop wants; smtp_tls_policy_maps' file.

    [primary1.example.net]:25   verify
    example.jp                  secure match=.example.net:mail.example.jp
    .example.jp                 encrypt protocols=>=TLSv1.2
    [192.0.2.1]                 fingerprint
                                match=95:A4:...:3B match=...
    old.example                 none

The key is the next hop as transport.map writes it, brackets and port included;
where no next hop is written, the recipient's domain.  A plain name is looked
for in lines of its parents too, `.example.jp`.  What no line names has
`relay.tls_level`.

    match=       verify, secure: names, between colons (net/tls_client); at
                 fingerprint: digests, between bars; it may stand several times
    protocols=   ">=TLSv1.2", "!TLSv1:!TLSv1.1", "TLSv1.2:TLSv1.3"
    ciphers=     high or medium;  exclude=  OpenSSL's names, colons between them
    servername=  the name asked for in the handshake (SNI)
    tafile=      the CA that counts for this next hop, and no other

Trouble
    PolicyTrouble   the file cannot be used: every error at once, each with its
                    line.  Postfix defers the mail of a bad line when it comes
                    to it; here nothing starts, and a reload keeps the old file.
"""

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backupmx.net import tls_client
from backupmx.net.tls_client import DIGESTS, VERSIONS, Level, TlsPolicy
from backupmx.route.transport_map import logical_lines

_NAME = re.compile(r"\.?[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_PLAIN = re.compile(r"[^\[\]:/]+")
_CIPHERS = {"high": "HIGH:!aNULL", "medium": "DEFAULT"}
_MATCH = {Level.VERIFY: ("hostname",), Level.SECURE: ("nexthop", "dot-nexthop")}
# Postfix: smtp_tls_verify_cert_match, smtp_tls_secure_cert_match.
_NO_DANE = ("dane", "dane-only", "half-dane")


class PolicyTrouble(Exception):
    """The policy cannot be used.  `errors` are sentences: "tls_policy:3: what, and what to write"."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class TlsPolicies:
    """Asked once for each new connection."""

    default: TlsPolicy = field(default_factory=tls_client.opportunistic)
    entries: dict[str, TlsPolicy] = field(default_factory=dict)
    """Next hop in lower case -> its policy."""
    warnings: tuple[str, ...] = ()

    def lookup(self, nexthop: str) -> TlsPolicy:
        """`nexthop` as written: "[primary1.example.net]:25", "example.jp"."""
        if not self.entries:
            return self.default
        for key in _keys(nexthop.lower()):
            if found := self.entries.get(key):
                return found
        return self.default


def level(name: str, ca_file: Path | None = None) -> TlsPolicies:
    """One level for everybody.  Raises PolicyTrouble when the CA file cannot be used."""
    chosen = Level(name)
    return TlsPolicies(TlsPolicy(chosen, _context(chosen, {}, ca_file, "tls_ca_file", Path()), _MATCH.get(chosen, ())))


def parse(text: str, name: str, default: TlsPolicies, *, ca_file: Path | None = None, folder: Path) -> TlsPolicies:
    """The file's policies beside the default.  `folder`: where tafile= begins.  Raises PolicyTrouble."""
    entries: dict[str, TlsPolicy] = {}
    errors: list[str] = []
    told: list[str] = []
    for number, line in logical_lines(text):
        where = f"{name}:{number}"
        key, *rest = line.split(None, 1)
        if key.lower() in entries:
            told.append(f'{where}: "{key}" again; the first line counts, take this one out')
            continue
        try:
            entries[key.lower()] = _policy(line, key, "".join(rest), ca_file, folder)
        except ValueError as trouble:
            errors.append(f"{where}: {trouble}")
        except PolicyTrouble as trouble:
            errors += [f"{where}: {error}" for error in trouble.errors]
    if errors:
        raise PolicyTrouble(errors)
    return TlsPolicies(default.default, entries, tuple(told))


def _policy(line: str, key: str, rest: str, ca_file: Path | None, folder: Path) -> TlsPolicy:
    """Raises ValueError with what is wrong and what to write."""
    if line[0] in " \t":
        raise ValueError("begins with a blank but continues nothing; take the blank away")
    word, *attributes = rest.replace(",", " ").split() or [""]
    if not word:
        raise ValueError(f'"{key}" has no level; write: {key} encrypt')
    if word in _NO_DANE:
        raise ValueError(f"{word} is not in this version; write fingerprint or secure")
    if word not in list(Level):
        raise ValueError(f'unknown level "{word}"; write one of {", ".join(Level)}')
    chosen = Level(word)
    if chosen is Level.NONE and attributes:
        raise ValueError(f'"{attributes[0]}" means nothing at level none; take it out')
    said, match = _attributes(attributes, chosen)
    if chosen is Level.FINGERPRINT and not match:
        raise ValueError("fingerprint needs match=, the SHA-256 digest of the certificate or of its public key")
    context = _context(chosen, said, ca_file, "tafile", folder)
    return TlsPolicy(chosen, context, match or _MATCH.get(chosen, ()), said.get("servername", ""))


def _attributes(attributes: Sequence[str], chosen: Level) -> tuple[dict[str, str], tuple[str, ...]]:
    """-> (name -> value, what match= says)"""
    said: dict[str, str] = {}
    match: list[str] = []
    for attribute in attributes:
        name, equals, value = attribute.partition("=")
        name = name.lower()
        if not equals or not value:
            raise ValueError(f'"{attribute}": write NAME=VALUE without blanks')
        if name == "match":
            match += _match(value, chosen)
        elif name not in _ATTRIBUTES:
            raise ValueError(f'unknown attribute "{name}"; known are match, {", ".join(_ATTRIBUTES)}')
        elif name in said:
            raise ValueError(f"{name}= stands twice; take one out")
        elif name == "tafile" and not chosen.by_chain:
            raise ValueError(f"tafile= means nothing at level {chosen}; take it out")
        else:
            _ATTRIBUTES[name](value)
            said[name] = value
    return said, tuple(match)


def _match(value: str, chosen: Level) -> Iterator[str]:
    if chosen is Level.FINGERPRINT:
        for digest in value.split("|"):
            hexadecimal = digest.replace(":", "").lower()
            if not re.fullmatch("(?:[0-9a-f]{2})+", hexadecimal) or len(hexadecimal) // 2 not in DIGESTS:
                raise ValueError(f'"{digest}" is no digest; write SHA-256 in hexadecimal, 64 digits')
            yield hexadecimal
    elif chosen.by_chain:
        for name in value.split(":"):
            if not _NAME.fullmatch(name):
                raise ValueError(f'match={value}: "{name}" is no name; write hostname, nexthop, dot-nexthop or a name')
            yield name
    else:
        raise ValueError(f"match= means nothing at level {chosen}; write verify, secure or fingerprint")


def _protocols(value: str) -> tuple[str, ...]:
    """Postfix's words -> the versions that are left."""
    order = ("SSLv2", "SSLv3", *VERSIONS)
    chosen, only, never = list(order), set[str](), set[str]()
    for word in value.split(":"):
        name = word.lstrip("!<>=")
        mark = word[: len(word) - len(name)]
        if name not in order or mark not in ("", "!", ">=", "<="):
            raise ValueError(
                f'protocols={value}: "{word}" is none; write >=TLSv1.2 or !TLSv1, of {", ".join(VERSIONS)}'
            )
        if mark == ">=":
            chosen = [version for version in chosen if order.index(version) >= order.index(name)]
        elif mark == "<=":
            chosen = [version for version in chosen if order.index(version) <= order.index(name)]
        else:
            (never if mark else only).add(name)
    left = tuple(v for v in chosen if v in VERSIONS and v not in never and (not only or v in only))
    if not left:
        raise ValueError(f"protocols={value}: no version of TLS is left")
    return left


def _grade(value: str) -> str:
    if value not in _CIPHERS:
        raise ValueError(f"ciphers={value}: write high or medium")
    return _CIPHERS[value]


def _servername(value: str) -> str:
    if not _NAME.fullmatch(value) or value.startswith("."):
        raise ValueError(f"servername={value}: write a host name")
    return value


_ATTRIBUTES: dict[str, Callable[[str], object]] = {
    "protocols": _protocols, "ciphers": _grade, "exclude": str, "servername": _servername, "tafile": str,
}  # fmt: skip


def _context(chosen: Level, said: dict[str, str], ca_file: Path | None, named: str, folder: Path) -> ssl.SSLContext:
    """Raises PolicyTrouble."""
    anchors = [folder / said["tafile"]] if "tafile" in said else []
    exclude = "".join(f":!{name}" for name in said.get("exclude", "").split(":") if name)
    protocols = _protocols(said["protocols"]) if "protocols" in said else ()
    try:
        return tls_client.context(
            chosen, ca_file=ca_file, anchors=anchors, protocols=protocols,
            ciphers=_CIPHERS[said.get("ciphers", "medium")] + exclude,
        )  # fmt: skip
    except ssl.SSLError as error:
        if exclude and not chosen.by_chain:
            raise PolicyTrouble([f"exclude={said['exclude']}: no cipher is left"]) from None
        file = anchors[0] if anchors else ca_file
        raise PolicyTrouble([f"{named} {file}: no certificates in PEM ({error.reason or error})"]) from None
    except OSError as error:
        raise PolicyTrouble([f"{named} {anchors[0] if anchors else ca_file}: {error.strerror}"]) from None


def _keys(nexthop: str) -> Iterator[str]:
    yield nexthop
    if _PLAIN.fullmatch(nexthop):
        while nexthop := nexthop.partition(".")[2]:
            yield f".{nexthop}"
