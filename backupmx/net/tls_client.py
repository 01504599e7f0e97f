"""tls_client: how sure we want to be of a server before it gets mail.

The levels are Postfix's (TLS_README, "Client TLS security levels"):

    none          in clear
    may           TLS where it is offered and works, else in clear
    encrypt       TLS or nothing; any certificate
    fingerprint   a certificate, or a public key, with one of these digests
    verify        a certificate by a trusted CA, for one of these names:
                  the host's own (`hostname`), if the policy says no other
    secure        the same, for the next hop's name or a name below it
                  (`nexthop, dot-nexthop`): what DNS says of MX hosts does not count

OpenSSL checks the chain of certificates in the handshake, when the level asks
for that; `check` looks at names and digests after it, and says what Postfix's
log says: Untrusted (nobody asked) or Verified.

Trouble
    Untrusted   this server is not who it should be (4.7.5).

Why not DANE?  It wants DNSSEC and a hook into the handshake; Python's ssl has
no such hook.  The policy file says so to whoever asks for it.

Standards: RFC 3207, 6125 section 6.4 (names; * is one whole label), 7435.
"""

import hashlib
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_VERSIONS = {
    "TLSv1": (ssl.TLSVersion.TLSv1, ssl.OP_NO_TLSv1),
    "TLSv1.1": (ssl.TLSVersion.TLSv1_1, ssl.OP_NO_TLSv1_1),
    "TLSv1.2": (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2),
    "TLSv1.3": (ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3),
}
VERSIONS = tuple(_VERSIONS)
DIGESTS = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
"""By their octets; MD5 is broken and not among them."""


class Untrusted(Exception):
    """This server is not who it should be."""


class Level(StrEnum):
    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    FINGERPRINT = "fingerprint"
    VERIFY = "verify"
    SECURE = "secure"

    @property
    def mandatory(self) -> bool:
        """Never in clear."""
        return self not in (Level.NONE, Level.MAY)

    @property
    def by_chain(self) -> bool:
        """A CA vouches for the certificate."""
        return self in (Level.VERIFY, Level.SECURE)


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What is asked of the servers of one next hop."""

    level: Level
    context: ssl.SSLContext = field(compare=False, repr=False)
    match: tuple[str, ...] = ()
    """Names: hostname, nexthop, dot-nexthop, mail.example.jp, .example.jp; at level fingerprint digests in hex."""
    servername: str = ""
    """Asked for in the handshake (SNI); "": the host's name."""

    def check(self, tls: ssl.SSLObject, host: str, nexthop: str) -> str:
        """After the handshake: "Untrusted" or "Verified".  Raises the exception Untrusted.

        `host` is the server's name, `nexthop` the name in the next hop, without brackets and port.
        """
        if self.level is Level.FINGERPRINT:
            if not set(_fingerprints(tls.getpeercert(True) or b"")) & set(self.match):
                raise Untrusted("Server certificate not verified: it has none of the fingerprints")
            return "Verified"
        if not self.level.by_chain:
            return "Untrusted"
        names = tuple(certified(tls.getpeercert() or {}))
        wanted = tuple(_wanted(self.match, host.lower(), nexthop.lower()))
        if not any(fits(name, pattern) for name in names for pattern in wanted):
            whose = ", ".join(names[:5]) or "nobody"
            raise Untrusted(f"Server certificate not verified: it is for {whose}, not {', '.join(wanted)}")
        return "Verified"


def opportunistic() -> TlsPolicy:
    """Level `may`: against listeners, not against an active attacker."""
    return TlsPolicy(Level.MAY, context(Level.MAY))


def context(
    level: Level,
    *,
    ca_file: Path | None = None,
    anchors: Iterable[Path] = (),
    protocols: Iterable[str] = (),
    ciphers: str = "",
) -> ssl.SSLContext:
    """`ca_file` None: the system's CAs.  `anchors`: instead of them.  `ciphers` in OpenSSL's words.

    Raises OSError (ssl.SSLError is one) when a file cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False  # `check` knows Postfix's patterns
    if level.by_chain:
        anchors = tuple(anchors)
        for file in anchors:
            made.load_verify_locations(file)
            made.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        if ca_file is not None and not anchors:
            made.load_verify_locations(ca_file)
        elif not anchors:
            made.load_default_certs()
    else:
        made.verify_mode = ssl.CERT_NONE
    # An old server with a short key is better encrypted than not, when nobody asks who it is (Postfix: level 0 too).
    made.set_ciphers((ciphers or "DEFAULT") + ("" if level.by_chain else ":@SECLEVEL=0"))
    _limit(made, tuple(protocols))
    return made


def certified(certificate: Mapping[str, object]) -> Iterator[str]:
    """Whom a certificate is for, in lower case: its alternative names; without DNS names its common name."""
    alternative = certificate.get("subjectAltName", ())
    assert isinstance(alternative, tuple)
    dns = [value for kind, value in alternative if kind == "DNS"]
    if not dns:
        subject = certificate.get("subject", ())
        assert isinstance(subject, tuple)
        dns = [value for parts in subject for kind, value in parts if kind == "commonName"]
    for name in dns:
        yield name.lower()
    for kind, value in alternative:
        if kind == "IP Address":
            yield value.lower()


def _wanted(match: Iterable[str], host: str, nexthop: str) -> Iterator[str]:
    named = {"hostname": host, "nexthop": nexthop, "dot-nexthop": f".{nexthop}"}
    for pattern in match:
        yield named.get(pattern, pattern.lower())


def fits(name: str, pattern: str) -> bool:
    """A certificate's name, perhaps *.example.jp, and the name we want, perhaps .example.jp."""
    if pattern.startswith("."):
        return name.endswith(pattern) and len(name) > len(pattern)
    if name.startswith("*."):
        first, dot, rest = pattern.partition(".")
        return bool(first and dot) and rest == name[2:]
    return name == pattern


def _limit(made: ssl.SSLContext, protocols: tuple[str, ...]) -> None:
    """Only these versions; none named: what Python takes for safe, 1.2 and later."""
    if not protocols:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the operator asked for an old one
        made.minimum_version = min((_VERSIONS[name][0] for name in protocols), key=int)
        made.maximum_version = max((_VERSIONS[name][0] for name in protocols), key=int)
        for name, (_, off) in _VERSIONS.items():
            if name not in protocols:
                made.options |= off


def _fingerprints(certificate: bytes) -> Iterator[str]:
    """Of the certificate and of its public key, as Postfix takes either."""
    for part in (certificate, public_key(certificate)):
        for digest in DIGESTS.values():
            yield hashlib.new(digest, part, usedforsecurity=False).hexdigest()


def public_key(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate OpenSSL has parsed (RFC 5280 4.1): the element after the subject."""
    _, begin, _ = _element(certificate, 0)  # Certificate
    _, at, _ = _element(certificate, begin)  # TBSCertificate
    tag, _, end = _element(certificate, at)
    if tag == 0xA0:  # a version is optional
        at = end
    for _ in ("serial number", "signature", "issuer", "validity", "subject"):
        at = _element(certificate, at)[2]
    return certificate[at : _element(certificate, at)[2]]


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """DER at an offset: (tag, where its content begins, where it ends)."""
    length, begin = data[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, begin = int.from_bytes(data[begin : begin + octets], "big"), begin + octets
    return data[at], begin, begin + length
