"""Pure.  helo: is it a host's name at all?  Postfix's restrictions on HELO and the sender, in its words.

    reject_invalid_helo_hostname    501 5.5.2  neither a host's name nor an address
    reject_non_fqdn_helo_hostname   504 5.5.2  a name without a domain, or an address without brackets
    reject_helo_as_us               554 5.7.1  our own name or address, from somebody else
    reject_non_fqdn_sender          504 5.5.2  a sender's domain that is no whole name

What is a name: labels of 1 to 63 letters, digits, - and _ with no - at an end,
255 in all, not digits alone; one dot may follow (Postfix valid_hostname.c).

Standards: RFC 5321 4.1.3 (address literals), 4.1.4 (HELO must be one or the other).
"""

import ipaddress
import re

from backupmx.mail.address import domain_of
from backupmx.mail.reply import Reply

_NAME = re.compile(r"(?=.{1,255}$)(?![0-9.]+$)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")


def invalid(helo: str) -> Reply | None:
    """reject_invalid_helo_hostname."""
    if helo.startswith("["):
        return _invalid_literal(helo)
    name = _without_dot(helo)
    if _NAME.fullmatch(name) or _is_address(name):
        return None
    return Reply(501, "5.5.2", f"<{helo}>: Helo command rejected: Invalid name")


def non_fqdn(helo: str) -> Reply | None:
    """reject_non_fqdn_helo_hostname."""
    if helo.startswith("["):
        return _invalid_literal(helo)
    if _is_whole(_without_dot(helo)):
        return None
    return Reply(504, "5.5.2", f"<{helo}>: Helo command rejected: need fully-qualified hostname")


def as_us(helo: str, hostname: str, address: str) -> Reply | None:
    """reject_helo_as_us: the greeting of somebody at another address than `address`, where we took the connection."""
    name = _without_dot(helo).lower()
    is_literal = name[:1] == "[" or name[-1:].isdigit() or ":" in name
    if name != hostname.lower() and not (is_literal and address and _literal(name) == address):
        return None
    return Reply(554, "5.7.1", f"<{helo}>: Helo command rejected: that is who we are")


def sender_non_fqdn(sender: str) -> Reply | None:
    """reject_non_fqdn_sender; never the null sender."""
    domain = domain_of(sender)
    whole = _is_whole(domain) if domain.isascii() else "." in domain
    if not sender or domain.startswith("[") or whole:
        return None
    return Reply(504, "5.5.2", f"<{sender}>: Sender address rejected: need fully-qualified address")


def _invalid_literal(helo: str) -> Reply | None:
    return None if _literal(helo) else Reply(501, "5.5.2", f"<{helo}>: Helo command rejected: invalid ip address")


def _literal(helo: str) -> str:
    """ "[192.0.2.1]", "[IPv6:2001:db8::1]" or the bare address -> as a socket writes it; "" for anything else."""
    inner = helo[1:-1] if helo[:1] == "[" and helo[-1:] == "]" else helo
    six = inner[:5].lower() == "ipv6:"
    try:
        address = ipaddress.ip_address(inner[5:] if six else inner)
    except ValueError:
        return ""
    return str(address) if helo[:1] != "[" or six == (address.version == 6) else ""


def _is_whole(name: str) -> bool:
    return "." in name and _NAME.fullmatch(name) is not None


def _is_address(name: str) -> bool:
    return name[:1] != "[" and bool(_literal(name))


def _without_dot(name: str) -> str:
    return name[:-1] if name.endswith(".") and not name.endswith("..") else name
