"""Pure.  xclient: what follows XCLIENT: the client for whom a trusted one speaks (Postfix XCLIENT_README).

    XCLIENT NAME=mail.example ADDR=192.0.2.1 PORT=4711 HELO=mail.example PROTO=ESMTP

A value is xtext (RFC 3461 section 4); as in Postfix, one that is no xtext is
taken as it is.  [UNAVAILABLE] and [TEMPUNAVAIL] say that the speaker does not
know.  DESTADDR, DESTPORT, REVERSE_NAME and LOGIN are checked and decide
nothing here.

Why does ADDR=[UNAVAILABLE] leave the address as it is, where Postfix writes
"unknown"?  Limits, SPF and the log go by an address: the speaker's own is one.
"""

import ipaddress
import re
from dataclasses import dataclass, replace

from backupmx.mail.reply import Reply

ATTRIBUTES = "NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
"""As EHLO offers them."""

_LONGEST = 255
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})*")
_CODED = re.compile(r"\+([0-9A-Fa-f]{2})")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?![0-9.]+$){_LABEL}(?:\.{_LABEL})*\.?")
_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")

_SYNTAX = Reply(501, "5.5.4", "Syntax: XCLIENT attribute=value...")
_EXPECTED = Reply(501, "5.5.4", "Error: attribute=value expected")
_TOO_LONG = Reply(501, "5.5.4", "Error: attribute value too long")


class _Bad(ValueError):
    """This value cannot be the attribute's."""


@dataclass(frozen=True, slots=True)
class Other:
    """The client, as far as it was told.  None: not told."""

    address: str | None = None
    port: int | None = None
    name: str | None = None
    """"unknown" when the speaker does not know it either."""
    helo: str | None = None
    protocol: str | None = None


def parse(argument: bytes) -> Other | Reply:
    """What follows XCLIENT, or what is wrong with it, in Postfix's words (smtpd.c)."""
    words = argument.decode("ascii", "replace").split()
    if not words:
        return _SYNTAX
    other = Other()
    for word in words:
        attribute, _, raw = word.partition("=")
        if not raw:
            return _EXPECTED
        if len(raw) > _LONGEST:
            return _TOO_LONG
        value = _decoded(raw)
        try:
            changed = _with(other, attribute.upper(), value)
        except _Bad:
            return Reply(501, "5.5.4", f"Bad {attribute.upper()} syntax: {value}")
        if changed is None:
            return Reply(501, "5.5.4", f"Bad XCLIENT attribute name: {attribute[:100]}")
        other = changed
    return other


def _decoded(raw: str) -> str:
    if not _XTEXT.fullmatch(raw):
        return raw
    text = _CODED.sub(lambda match: chr(int(match[1], 16)), raw)
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _with(other: Other, attribute: str, value: str) -> Other | None:
    """None: there is no such attribute."""
    known = value.upper() not in _UNKNOWN
    match attribute:
        case "NAME":
            return replace(other, name=_host_name(value) if known else "unknown")
        case "ADDR":
            return replace(other, address=_address(value)) if known else other
        case "PORT":
            return replace(other, port=_port(value) if known else 0)
        case "HELO":
            return replace(other, helo=value if known else None)
        case "PROTO":
            if value.upper() not in ("SMTP", "ESMTP"):
                raise _Bad
            return replace(other, protocol=value.upper())
        case "REVERSE_NAME" if known:
            _host_name(value)
        case "DESTADDR" if known:
            _address(value)
        case "DESTPORT" if known:
            _port(value)
        case "REVERSE_NAME" | "DESTADDR" | "DESTPORT" | "LOGIN":
            pass
        case _:
            return None
    return other


def _host_name(value: str) -> str:
    if not _HOST_NAME.fullmatch(value):
        raise _Bad
    return value


def _address(value: str) -> str:
    """ "192.0.2.1", "IPv6:2001:db8::1", as a socket would write it."""
    if value[:5].upper() == "IPV6:":
        return _normal(value[5:], 6)
    return _normal(value, 4)


def _normal(value: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise _Bad from None
    if address.version != version or "%" in value:
        raise _Bad
    return str(getattr(address, "ipv4_mapped", None) or address)


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535):
        raise _Bad
    return int(value)
