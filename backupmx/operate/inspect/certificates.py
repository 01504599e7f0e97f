"""certificates: what a client sees when it says STARTTLS to us, asked as a client asks.

For each of our names a TLS handshake is done in memory with the very context that
`serve` uses, so that the certificate is the one smtp.tls_sni_map chooses.

    names   does it cover the name that was asked for
    dates   expired, not yet, or soon
    trust   by a CA that this system knows: what MTA-STS demands, nobody else does
    TLSA    _25._tcp.NAME: does it match (DANE, RFC 7672)

Trouble
    A TLSA record that does not match keeps away every sender that does DANE; one in
    a zone without DNSSEC says nothing to anybody.
"""

import hashlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backupmx.net.dns import DNSTrouble, Resolver
from backupmx.net.tls_client import certified, fits, public_key
from backupmx.operate.inspect.finding import Finding, good, note, unknown, wrong

SOON = 14 * 86400.0
"""Let's Encrypt's clients renew 30 days before the end: after half of these somebody should look."""
_DIGESTS = {"1": hashlib.sha256, "2": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client sees for one name."""

    name: str
    der: bytes
    names: tuple[str, ...] = ()
    """Whom it is for; () when it could not be read."""
    until: float = 0.0
    """Seconds since the epoch; 0: not known."""
    flaw: str = ""
    """Why even somebody who trusts it does not take it: "certificate has expired"."""
    trusted: bool = False
    """By the system's CAs."""
    issuers: tuple[bytes, ...] = field(default=(), repr=False)
    """The rest of the chain, DER."""


def shown(server: ssl.SSLContext, name: str, chain: Sequence[Path]) -> Shown:
    """`chain`: the files that stand behind it, for the issuers.  Raises ssl.SSLError."""
    bare = _client()
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    der = _handshake(server, bare, name).getpeercert(True) or b""
    own = _client()
    own.check_hostname = False
    own.load_verify_locations(cadata=der)
    own.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    issuers = tuple(each for file in chain for each in _certificates(file) if each != der)
    try:
        certificate = _handshake(server, own, name).getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Shown(name, der, flaw=error.verify_message, issuers=issuers)
    until = certificate.get("notAfter", "")
    return Shown(
        name,
        der,
        tuple(certified(certificate)),
        ssl.cert_time_to_seconds(str(until)),
        "",
        _trusted(server, name),
        issuers,
    )


def judge(seen: Shown, now: float) -> list[Finding]:
    """Pure.  Names and dates."""
    if seen.flaw:
        return [wrong(seen.name, "certificate", f"what we show: {seen.flaw}", "renew it; it is read again at once")]
    findings = []
    until = time.strftime("%Y-%m-%d", time.gmtime(seen.until))
    if seen.until - now < SOON:
        days = max(0, int((seen.until - now) // 86400))
        findings.append(wrong(seen.name, "certificate", f"ends in {days} days, {until}", "does its renewal run?"))
    if not any(fits(name, seen.name) for name in seen.names):
        remedy = "add the name to the certificate, or a line for it to smtp.tls_sni_map"
        findings.append(wrong(seen.name, "certificate", f"is for {', '.join(seen.names[:5]) or 'nobody'}", remedy))
    if not findings:
        findings.append(good(seen.name, "certificate", f"for {', '.join(seen.names[:5])}, until {until}"))
    if not seen.trusted:
        text = "by no CA that this system knows: enough for opportunistic TLS, not for MTA-STS"
        findings.append(note(seen.name, "certificate", text))
    return findings


async def tlsa(resolver: Resolver, seen: Shown) -> list[Finding]:
    """The TLSA records of one name against the certificate; [] when there are none."""
    owner = f"_25._tcp.{seen.name}"
    try:
        answer = await resolver.lookup(owner, "TLSA")
    except DNSTrouble as trouble:
        text = f"{trouble}: senders that do DANE put our mail off while it is so"
        return [unknown(seen.name, "tlsa", text)]
    if not answer.records:
        return []
    remedy = f"write {owner}. TLSA 3 1 1 {hashlib.sha256(public_key(seen.der)).hexdigest()}"
    if not any(matches(record, seen) for record in answer.records):
        text = f"none of {len(answer.records)} TLSA records matches what we show: senders that do DANE stay away"
        return [wrong(seen.name, "tlsa", text, remedy)]
    if not answer.secure:
        return [note(seen.name, "tlsa", "matches, but our resolver does not say that the zone is signed (DNSSEC)")]
    return [good(seen.name, "tlsa", "matches what we show")]


def matches(record: str, seen: Shown) -> bool:
    """Pure.  "3 1 1 HEX"; usages 0 and 1 mean nothing in SMTP (RFC 7672 3.1.3)."""
    usage, selector, kind, *rest = record.split()
    certificates = {"3": (seen.der,), "2": seen.issuers}.get(usage, ())
    data = "".join(rest).lower()
    for certificate in certificates:
        part = certificate if selector == "0" else public_key(certificate)
        if (_DIGESTS[kind](part).hexdigest() if kind in _DIGESTS else part.hex()) == data:
            return True
    return False


def _client() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _trusted(server: ssl.SSLContext, name: str) -> bool:
    client = ssl.create_default_context()
    client.check_hostname = False
    try:
        _handshake(server, client, name)
    except ssl.SSLCertVerificationError:
        return False
    return True


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Both ends here.  -> The client's end."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    done = False
    for _ in range(10):  # TLS 1.3 takes two turns, 1.2 three
        if done:
            return near
        done = _turn(near)
        _turn(far)
    raise ssl.SSLError("the handshake does not end")


def _turn(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _certificates(file: Path) -> list[bytes]:
    try:
        text = file.read_text("ascii", "replace")
    except OSError:
        return []
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = [part.partition(end)[0] for part in text.split(begin)[1:]]
    return [ssl.PEM_cert_to_DER_cert(f"{begin}{part}{end}\n") for part in parts]
