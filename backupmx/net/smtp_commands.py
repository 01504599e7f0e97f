"""Pure.  smtp_commands: what we say to a peer, fitted to what it offers.

    EHLO        offered(): keyword -> parameter
    MAIL        SIZE, BODY=8BITMIME, SMTPUTF8, RET and ENVID where offered
    RCPT        NOTIFY and ORCPT where DSN is offered

A message with 8-bit content for a peer without 8BITMIME is sent as it is:
turning it into quoted-printable (as Postfix does) would break its signatures,
and no server of this century strips the bit.  One with addresses or headers
in UTF-8 for a peer without SMTPUTF8 cannot be sent (RFC 6531 3.2): `unfit`.
"""

import re
from collections.abc import Mapping, Sequence

from backupmx.mail.envelope import Envelope
from backupmx.mail.message import Message
from backupmx.mail.reply import Reply

_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")


def offered(lines: Sequence[bytes]) -> dict[str, str]:
    """The extensions of an EHLO reply.  "AUTH=LOGIN" of old servers is AUTH too."""
    found = {}
    for line in lines[1:]:
        keyword, _, parameter = line.decode("ascii", "replace").replace("=", " ", 1).strip().partition(" ")
        found[keyword.upper()] = parameter.strip()
    return found


def unfit(envelope: Envelope, message: Message, size: int, extensions: Mapping[str, str]) -> Reply | None:
    """Why this peer cannot be sent this message at all, in our own words; None: it can."""
    limit = extensions.get("SIZE", "")
    if limit.isdigit() and 0 < int(limit) < size:
        return Reply(552, "5.3.4", f"message size {size} exceeds size limit {limit}")
    if envelope.smtputf8 and "SMTPUTF8" not in extensions and not _ascii(envelope, message):
        return Reply(553, "5.6.7", "SMTPUTF8 is required, but was not offered")
    return None


def group(envelope: Envelope, size: int, extensions: Mapping[str, str]) -> list[bytes]:
    """MAIL, RCPT for each recipient: one line each with CRLF."""
    dsn = "DSN" in extensions
    commands = [f"MAIL FROM:<{envelope.sender}>{_mail_parameters(envelope, size, extensions, dsn)}"]
    for recipient in envelope.recipients:
        notify = f" NOTIFY={recipient.notify}" if dsn and recipient.notify else ""
        orcpt = f" ORCPT={recipient.orcpt}" if dsn and recipient.orcpt else ""
        commands.append(f"RCPT TO:<{recipient.address}>{notify}{orcpt}")
    if _UNSENDABLE.search("".join(commands)):
        raise ValueError("a control byte in the envelope")  # admission lets none in: a bug
    return [f"{command}\r\n".encode() for command in commands]


def _mail_parameters(envelope: Envelope, size: int, extensions: Mapping[str, str], dsn: bool) -> str:
    words = f" SIZE={size}" if "SIZE" in extensions else ""
    if envelope.body == "8BITMIME" and "8BITMIME" in extensions:
        words += " BODY=8BITMIME"
    if envelope.smtputf8 and "SMTPUTF8" in extensions:
        words += " SMTPUTF8"
    if dsn and envelope.ret:
        words += f" RET={envelope.ret}"
    if dsn and envelope.envid:
        words += f" ENVID={envelope.envid}"
    return words


def _ascii(envelope: Envelope, message: Message) -> bool:
    """The client asked for SMTPUTF8, but nothing needs it."""
    return all(a.isascii() for a in (envelope.sender, *envelope.addresses)) and message.head.isascii()
