"""Pure.  envelope: who sends what to whom (RFC 5321 2.3.1), and who is talking to us.

Addresses are `str` without angle brackets; "" is the null reverse-path.  The
domain is kept as the client wrote it; compare with `address.domain_of`, which
folds case.  Bytes that are not UTF-8 never get this far.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipient:
    address: str
    """user@example.jp"""
    notify: str = ""
    """RFC 3461 NOTIFY as sent: "", "NEVER" or a comma list of SUCCESS, FAILURE, DELAY."""
    orcpt: str = ""
    """RFC 3461 ORCPT as sent: "rfc822;user@example.jp" (still xtext), or ""."""


@dataclass(frozen=True, slots=True)
class Envelope:
    sender: str
    recipients: tuple[Recipient, ...]
    body: str = ""
    """"", "7BIT" or "8BITMIME" (RFC 6152)."""
    smtputf8: bool = False
    ret: str = ""
    """RFC 3461 RET: "", "FULL" or "HDRS"."""
    envid: str = ""
    """RFC 3461 ENVID, still xtext, or ""."""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(r.address for r in self.recipients)


@dataclass(frozen=True, slots=True)
class Tls:
    version: str
    """TLSv1.3"""
    cipher: str
    """TLS_AES_256_GCM_SHA384"""
    bits: int
    """256"""
    resumed: bool = False
    """A ticket of an earlier session shortened the handshake."""


@dataclass(frozen=True, slots=True)
class Client:
    """The peer of one connection, as Postfix names it: NAME[ADDRESS]."""

    address: str
    """192.0.2.1 or 2001:db8::1, without IPv6: prefix."""
    port: int
    name: str = "unknown"
    """Host name whose forward look-up leads back to `address`; else "unknown"."""
    helo: str = ""
    protocol: str = "SMTP"
    """SMTP or ESMTP; `with_protocol` adds what TLS makes of it."""
    tls: Tls | None = None
    daemon: tuple[str, int] = ("", 0)
    """Address and port of ours that it is connected to."""
    marks: tuple[str, ...] = ()
    """What the door saw of it: PREGREET, PIPELINING."""
    dnsbl: int = 0
    """What lists in the DNS say of it: the sum of their weights."""

    def __str__(self) -> str:
        return f"{self.name}[{self.address}]"

    @property
    def with_protocol(self) -> str:
        """The word after `with` in Received: (RFC 3848): ESMTPS under TLS."""
        return self.protocol + ("S" if self.tls and self.protocol == "ESMTP" else "")
