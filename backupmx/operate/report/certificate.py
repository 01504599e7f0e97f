"""Pure.  certificate: until when is a certificate good?

Python's ssl tells that of a peer's certificate, not of one's own.  Of the DER we read
our way to `validity` and no further: Certificate, TBSCertificate, past version, serial number,
signature and issuer.

Standards: RFC 5280 4.1, X.690 8.1.
"""

import ssl
from datetime import UTC, datetime

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def ends(pem: str) -> float | None:
    """Seconds since the epoch, of the first certificate in a PEM text; None: there is none, or none that is whole."""
    begin = pem.find(_BEGIN)
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        return None
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))
    except (ValueError, IndexError):
        return None


def _not_after(der: bytes) -> float:
    """Raises ValueError, IndexError."""
    certificate = _of(_SEQUENCE, *_read(der, 0)[:2])
    at, fields = 0, _of(_SEQUENCE, *_read(certificate, 0)[:2])
    if fields[0] == _VERSION:
        at = _read(fields, at)[2]
    for _ in range(3):  # serialNumber, signature, issuer
        at = _read(fields, at)[2]
    validity = _of(_SEQUENCE, *_read(fields, at)[:2])
    kind, text, _ = _read(validity, _read(validity, 0)[2])
    written = text.decode("ascii")
    if kind == _UTC_TIME:  # RFC 5280 4.1.2.5.1: YY from 50 on is 19YY
        written = ("19" if int(written[:2]) >= 50 else "20") + written
    elif kind != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _of(kind: int, found: int, content: bytes) -> bytes:
    if found != kind:
        raise ValueError("another type")
    return content


def _read(der: bytes, at: int) -> tuple[int, bytes, int]:
    """-> (tag, content, where the next one begins)"""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, at = int.from_bytes(der[at : at + octets], "big"), at + octets
    if at + length > len(der):
        raise ValueError("cut off")
    return tag, der[at : at + length], at + length
