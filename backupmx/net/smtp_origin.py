"""Pure.  smtp_origin: the client that brought the mail, told to the primary that gets it.

    XCLIENT NAME=mail.client.example ADDR=192.0.2.7 PORT=40000     and EHLO again
    XFORWARD NAME=... ADDR=... PORT=...
    XFORWARD PROTO=ESMTP HELO=... IDENT=QUEUEID SOURCE=REMOTE

XFORWARD is for the primary's log: client= and orig_client= are the real one,
orig_queue_id= our queue id.  It holds for one transaction, rides in front of
MAIL and costs no round trip.  XCLIENT makes the primary treat the connection
as the client's own, so that its restrictions, SPF and greylisting see who it
was.  It begins the dialogue anew, and it holds for the connection: the new
client is not trusted with XCLIENT, so that each client needs a connection.

A primary offers either only to those it was told to trust
(smtpd_authorized_xclient_hosts, smtpd_authorized_xforward_hosts), so what it
offers is what its postmaster wants: XCLIENT where offered, else XFORWARD
(`relay.forward_client = "auto"`).  Who is allowed both and wants no second
opinion on mail that was accepted here writes "xforward".

Only what the server lists is sent, xtext-encoded; what we do not know is
[UNAVAILABLE].  Mail of our own (notices) forwards nothing.

Standards: Postfix XCLIENT_README, XFORWARD_README; RFC 3461 section 4 (xtext).
"""

import re
from collections.abc import Iterator

from backupmx.mail.envelope import Client

UNAVAILABLE = "[UNAVAILABLE]"
_LONGEST = 510
# RFC 5321 4.5.3.1.4, without CRLF.  The rest goes in another command.
_HOST_NAME = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HELO = re.compile(r"[A-Za-z0-9_\[\]:.-]{1,255}")
_PLAIN = re.compile(rb"[!-*,-<>-~]*")


def xforward(client: Client, ident: str, offered: str) -> list[bytes]:
    """The commands before MAIL.  `offered`: the parameters of XFORWARD in the EHLO reply.  None: [].

    Two, as Postfix sends them: a server without IPv6 refuses an IPv6 address, and all that stands beside it.
    """
    what = (
        ("PROTO", client.protocol),
        ("HELO", client.helo[:255] or UNAVAILABLE),
        ("IDENT", ident),
        ("SOURCE", "REMOTE"),
    )
    return [command for known in (_who(client), what) for command in _commands(b"XFORWARD", _listed(known, offered))]


def xclient(client: Client, offered: str) -> bytes:
    """One command; b"" when the server takes no address.  HELO and PROTO are those of the EHLO that follows."""
    if "ADDR" not in offered.upper().split():
        return b""
    return next(_commands(b"XCLIENT", _listed(_who(client), offered)))


def hello(client: Client, ours: str) -> str:
    """What to say in EHLO after XCLIENT: what the client said, if it can stand there."""
    return client.helo if _HELO.fullmatch(client.helo) else ours


def _who(client: Client) -> tuple[tuple[str, str], ...]:
    address = f"IPV6:{client.address}" if ":" in client.address else client.address
    name = client.name if client.name != "unknown" and _HOST_NAME.fullmatch(client.name) else UNAVAILABLE
    return ("NAME", name), ("ADDR", address), ("PORT", str(client.port) if client.port else UNAVAILABLE)


def _listed(known: tuple[tuple[str, str], ...], offered: str) -> Iterator[bytes]:
    names = offered.upper().split()
    for name, value in known:
        if name in names:
            yield name.encode() + b"=" + xtext(value)


def _commands(verb: bytes, attributes: Iterator[bytes]) -> Iterator[bytes]:
    """As few commands as hold them all."""
    command = verb
    for attribute in attributes:
        if len(command) + 1 + len(attribute) > _LONGEST and command != verb:
            yield command + b"\r\n"
            command = verb
        command += b" " + attribute
    if command != verb:
        yield command + b"\r\n"


def xtext(value: str) -> bytes:
    """RFC 3461 section 4: printable ASCII but + and = as it is, else +HH."""
    data = value.encode("utf-8", "surrogateescape")
    if _PLAIN.fullmatch(data):
        return data
    return b"".join(bytes([o]) if 33 <= o <= 126 and o not in b"+=" else b"+%02X" % o for o in data)
