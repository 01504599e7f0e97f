"""Pure.  command: the arguments of MAIL, RCPT and BDAT, and the replies that are always the same.

`mail`, `rcpt` and `bdat` take what stands after the verb and give a value, or the
Reply that says what is wrong with it, in Postfix's words (smtpd.c) with its
codes.  Parameters are those that EHLO offers: SIZE (RFC 1870), BODY (6152),
SMTPUTF8 (6531), RET, ENVID, NOTIFY, ORCPT (3461).  As Postfix does, we take
them after HELO too.

Trouble
    An argument that is no path     501 5.1.7 (MAIL), 501 5.1.3 (RCPT)
    A parameter we do not offer     555 5.5.4
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backupmx.mail.address import Malformed, parse_path
from backupmx.mail.envelope import Recipient
from backupmx.mail.reply import Reply

_DIGITS = re.compile(r"[0-9]{1,20}")  # RFC 1870 section 4: up to 20 digits
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+")  # RFC 3461 section 4; Postfix takes small letters too
_CHUNK = re.compile(rb"([0-9]{1,18})(?:[ \t]+(LAST))?", re.IGNORECASE)  # more octets than 18 digits say do not come
_DOMAIN = re.compile(rb"[@#]?([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.IPv]{3,50}\])")
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE)
_ORCPT = re.compile(r"([A-Za-z0-9-]+);(.+)", re.DOTALL)
# RFC 6533 section 3: utf-8-addr-xtext, and what an address in UTF-8 may hold unencoded.
_UTF8_XTEXT = re.compile("(?:[!-*,-<>-\\[\\]-~\x80-\U0010ffff]|\\\\x\\{[0-9A-F]{2,6}\\}|\\+[0-9A-F]{2})+")

QUEUING = b"250 2.0.0 Queuing started\r\n"
OK = b"250 2.0.0 Ok\r\n"
MAIL_OK = b"250 2.1.0 Ok\r\n"
RCPT_OK = b"250 2.1.5 Ok\r\n"
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
BYE = b"221 2.0.0 Bye\r\n"
NOT_SMTP = b"221 2.7.0 Error: I can break rules, too. Goodbye.\r\n"

BAD_SYNTAX = Reply(500, "5.5.2", "Error: bad syntax")
TOO_LONG = Reply(500, "5.5.2", "Error: line too long")
UNKNOWN = Reply(500, "5.5.2", "Error: command not recognized")
NOT_DONE = Reply(502, "5.5.1", "Error: command not implemented")
NO_AUTH = Reply(503, "5.5.1", "Error: authentication not enabled")
HELO_FIRST = Reply(503, "5.5.1", "Error: send HELO/EHLO first")
NESTED_MAIL = Reply(503, "5.5.1", "Error: nested MAIL command")
NEED_MAIL = Reply(503, "5.5.1", "Error: need MAIL command")
NEED_RCPT = Reply(503, "5.5.1", "Error: need RCPT command")
NO_RECIPIENTS = Reply(554, "5.5.1", "Error: no valid recipients")
TOO_MANY = Reply(452, "4.5.3", "Error: too many recipients")
TOO_BIG = Reply(552, "5.3.4", "Error: message file too big")
RCPT_AFTER_BDAT = Reply(503, "5.5.1", "Error: RCPT after BDAT")
DATA_AFTER_BDAT = Reply(503, "5.5.1", "Error: DATA after BDAT")
IN_TRANSACTION = Reply(503, "5.5.1", "Error: MAIL transaction in progress")
NOT_AUTHORIZED = Reply(550, "5.7.0", "Error: insufficient authorization")
NO_FLUSH = Reply(458, "4.3.0", "Unable to queue messages")
NULL_BDAT = Reply(551, "5.7.1", "Null BDAT request")
CHUNK_TOO_BIG = Reply(552, "5.3.4", "Chunk exceeds message size limit")
TLS_ACTIVE = Reply(554, "5.5.1", "Error: TLS already active")
TLS_UNASKED = Reply(500, "5.5.2", "Error: this port speaks SMTP, TLS begins with STARTTLS")
BUG = Reply(451, "4.3.0", "Error: internal trouble, try again later")

HELO_SYNTAX = Reply(501, "5.5.4", "Syntax: HELO hostname")
EHLO_SYNTAX = Reply(501, "5.5.4", "Syntax: EHLO hostname")
QUIT_SYNTAX = Reply(501, "5.5.4", "Syntax: QUIT")
RSET_SYNTAX = Reply(501, "5.5.4", "Syntax: RSET")
DATA_SYNTAX = Reply(501, "5.5.4", "Syntax: DATA")
BDAT_SYNTAX = Reply(521, "5.5.4", "Syntax: BDAT count [LAST]")
VRFY_SYNTAX = Reply(501, "5.5.4", "Syntax: VRFY address [SMTPUTF8]")
ETRN_SYNTAX = Reply(500, "5.5.4", "Syntax: ETRN domain")
BAD_ETRN = Reply(501, "5.5.4", "Error: invalid parameter syntax")
STARTTLS_SYNTAX = Reply(501, "5.5.4", "Syntax: STARTTLS")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_SENDER = Reply(501, "5.1.7", "Bad sender address syntax")
BAD_RECIPIENT = Reply(501, "5.1.3", "Bad recipient address syntax")
NOT_DECLARED = Reply(553, "5.6.7", "Must declare SMTPUTF8 to send unicode address")
TOO_LARGE = Reply(552, "5.3.4", "Message size exceeds fixed limit")
BAD_SIZE = Reply(501, "5.5.4", "Bad message size syntax")
BAD_RET = Reply(501, "5.5.4", "Bad RET parameter syntax")
BAD_ENVID = Reply(501, "5.5.4", "Bad ENVID parameter syntax")
BAD_NOTIFY = Reply(501, "5.5.4", "Error: Bad NOTIFY parameter syntax")
BAD_ORCPT = Reply(501, "5.5.4", "Error: Bad ORCPT parameter syntax")


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM and its parameters."""

    sender: str
    size: int = 0
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


def mail(argument: bytes, size_limit: int) -> Mail | Reply:
    """What follows MAIL.  `size_limit` 0: none."""
    if argument[:5].upper() != b"FROM:" or len(argument) == 5:
        return MAIL_SYNTAX
    try:
        sender, parameters = parse_path(argument[5:], utf8=True)
    except Malformed:
        return BAD_SENDER
    asked = Mail(sender)
    for parameter in parameters:
        result = _mail_parameter(asked, parameter, size_limit)
        if isinstance(result, Reply):
            return result
        asked = result
    return asked if asked.smtputf8 or sender.isascii() else NOT_DECLARED


def rcpt(argument: bytes, smtputf8: bool) -> Recipient | Reply:
    """What follows RCPT.  `smtputf8`: this transaction declared it."""
    if argument[:3].upper() != b"TO:" or len(argument) == 3:
        return RCPT_SYNTAX
    try:
        address, parameters = parse_path(argument[3:], utf8=True, allow="postmaster")
    except Malformed:
        return BAD_RECIPIENT
    if not smtputf8 and not address.isascii():
        return NOT_DECLARED
    asked = Recipient(address)
    for parameter in parameters:
        result = _rcpt_parameter(asked, parameter)
        if isinstance(result, Reply):
            return result
        asked = result
    return asked


def bdat(argument: bytes) -> tuple[int, bool] | Reply:
    """What follows BDAT -> (octets of the chunk, whether it is the last) (RFC 3030 section 2)."""
    match = _CHUNK.fullmatch(argument)
    return (int(match[1]), match[2] is not None) if match else BDAT_SYNTAX


def etrn(argument: bytes) -> str | Reply:
    """What follows ETRN -> the domain; @ and # before it mean no more than it does (RFC 1985 section 5, Postfix)."""
    if len(argument.split()) != 1:
        return ETRN_SYNTAX
    match = _DOMAIN.fullmatch(argument)
    return match[1].decode().removesuffix(".").lower() if match and len(argument) < 256 else BAD_ETRN


def _mail_parameter(asked: Mail, parameter: str, size_limit: int) -> Mail | Reply:
    name, _, value = parameter.partition("=")
    match name.upper():
        case "SIZE":
            return _size(asked, value, size_limit)
        case "BODY" if value.upper() in ("7BIT", "8BITMIME"):
            return replace(asked, body=value.upper())
        case "SMTPUTF8" if parameter.upper() == "SMTPUTF8":
            return replace(asked, smtputf8=True)
        case "RET":
            good = value.upper() in ("FULL", "HDRS") and not asked.ret
            return replace(asked, ret=value.upper()) if good else BAD_RET
        case "ENVID":
            good = len(value) <= 100 and _XTEXT.fullmatch(value) is not None and not asked.envid
            return replace(asked, envid=value) if good else BAD_ENVID
        case "AUTH" if value:
            return asked  # RFC 4954 section 5: who does not trust the client may forget it
    return _unsupported(parameter)


def _size(asked: Mail, value: str, limit: int) -> Mail | Reply:
    if not _DIGITS.fullmatch(value):
        return BAD_SIZE
    size = int(value)
    return TOO_LARGE if limit and size > limit else replace(asked, size=size)


def _rcpt_parameter(asked: Recipient, parameter: str) -> Recipient | Reply:
    name, _, value = parameter.partition("=")
    match name.upper():
        case "NOTIFY":
            good = _NOTIFY.fullmatch(value) is not None and not asked.notify
            return replace(asked, notify=value.upper()) if good else BAD_NOTIFY
        case "ORCPT":
            return replace(asked, orcpt=value) if _good_orcpt(value) and not asked.orcpt else BAD_ORCPT
    return _unsupported(parameter)


def _good_orcpt(value: str) -> bool:
    match = _ORCPT.fullmatch(value)
    if not match or len(value) > 500:  # RFC 3461 4.2: at most 500 characters
        return False
    encoded = _UTF8_XTEXT if match[1].lower() == "utf-8" else _XTEXT
    return encoded.fullmatch(match[2]) is not None


def _unsupported(parameter: str) -> Reply:
    return Reply(555, "5.5.4", f"Unsupported option: {parameter[:100]}")


def account(said: Mapping[str, int], refused: Mapping[str, int]) -> str:
    """Verbs and how often they were said, and refused, as Postfix counts: "ehlo=1 rcpt=1/2 quit=1 commands=3/4"."""
    if not refused:
        return " ".join([f"{verb.lower()}={n}" for verb, n in said.items()] + [f"commands={sum(said.values())}"])
    parts = [(verb.lower(), n, refused.get(verb, 0)) for verb, n in said.items()]
    parts.append(("commands", sum(said.values()), sum(refused.values())))
    return " ".join(f"{verb}={n - bad}/{n}" if bad else f"{verb}={n}" for verb, n, bad in parts)
