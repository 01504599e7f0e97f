"""smtp: our side of an SMTP or LMTP conversation, and its beginning.

`connect` gives a connection that has greeted, said EHLO and, as the policy
wants it, STARTTLS; `Connection.deliver` (smtp_connection) sends one message
over it, as often as one likes, also before the last one is answered.

    relay.connections --connect--> Connection <--deliver-- relay.deliver

TLS is done as its level says (net/tls_client).  Where it is mandatory, a server
that does not offer it, refuses it or shows the wrong certificate gets no mail:
Unreachable, with Postfix's codes, 4.7.4 (no TLS) and 4.7.5 (bad TLS).  At level
`may` a server that refuses STARTTLS gets the mail in clear over this same
connection; one that breaks it is TlsTrouble: connect again without.

Trouble
    SmtpTrouble and its kinds: smtp_trouble.  A greeting of 5xx is Unreachable:
    another host may take the mail, or this one later (Postfix:
    smtp_skip_5xx_greeting).

Standards: RFC 5321 3.1, 3.2, 4.2; 3207 (STARTTLS); 2033 (LMTP).
"""

import asyncio
import errno
import os
import ssl
from typing import NoReturn

from backupmx.mail.envelope import Tls
from backupmx.net import smtp_replies
from backupmx.net.smtp_connection import Connection
from backupmx.net.smtp_trouble import Lost, SmtpTrouble, Timeouts, TlsTrouble, Unreachable
from backupmx.net.tls_client import TlsPolicy, Untrusted, opportunistic

__all__ = [
    "Connection", "Lost", "SmtpTrouble", "Timeouts", "TlsTrouble", "Unreachable", "connect", "opportunistic",
]  # fmt: skip


async def connect(
    name: str,
    address: str,
    port: int,
    *,
    helo: str,
    lmtp: bool = False,
    tls: TlsPolicy | None = None,
    nexthop: str = "",
    bind: str = "",
    forward: str = "auto",
    timeouts: Timeouts | None = None,
) -> Connection:
    """A connection ready for `deliver`.  `address` "": `name` is a socket file.  Raises Unreachable, TlsTrouble.

    `tls` None: in clear.  `nexthop`: the name in the next hop, for level `secure`.
    """
    timeouts = timeouts or Timeouts()
    peer = f"{name}[{address}]" if address else name
    connection = Connection(peer, helo=helo, lmtp=lmtp, forward=forward, timeouts=timeouts)
    await _dial(connection, name, address, port, bind, timeouts)
    try:
        await _greet(connection)
        if tls is not None:
            await _secure(connection, tls, name if address else "", nexthop or name)
        connection.usable = True
    except BaseException:
        connection.abort()
        raise
    return connection


async def _dial(connection: Connection, name: str, address: str, port: int, bind: str, timeouts: Timeouts) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeouts.connect):
            if address:
                local = (bind, 0) if bind and (":" in bind) == (":" in address) else None
                await loop.create_connection(lambda: connection, address, port, local_addr=local)
            else:
                await loop.create_unix_connection(lambda: connection, name)
    except OSError as error:  # TimeoutError is one
        why = os.strerror(error.errno or errno.ETIMEDOUT)
        place = f"{connection.peer}:{port}" if address else connection.peer
        raise Unreachable(f"connect to {place}: {why}", "4.4.1") from None


async def _greet(connection: Connection) -> None:
    code, lines = await connection.ask(b"", connection.timeouts.greeting, connection.phase)
    if code != 220:
        raise Unreachable(connection.refused(code, lines), _status(code, lines, "4.3.0"))
    connection.banner = " ".join(line.decode("ascii", "replace") for line in lines)
    await _hello(connection)


async def _hello(connection: Connection) -> None:
    verb, helo, patience = "LHLO" if connection.lmtp else "EHLO", connection.helo, connection.timeouts.hello
    phase = f"performing the {verb} handshake"
    code, lines = await connection.ask(f"{verb} {helo}\r\n".encode(), patience, phase)
    if code >= 500 and not connection.lmtp:
        code, lines = await connection.ask(f"HELO {helo}\r\n".encode(), patience, phase)
        lines = lines[:1]
    if code != 250:
        raise Unreachable(connection.refused(code, lines), _status(code, lines, "4.3.0"))
    connection.heard_hello(lines)


async def _secure(connection: Connection, policy: TlsPolicy, host: str, nexthop: str) -> None:
    """STARTTLS and EHLO again, or nothing, as the policy has it."""
    peer, mandatory = connection.peer, policy.level.mandatory
    if "STARTTLS" not in connection.extensions:
        if mandatory:
            raise Unreachable(f"TLS is required, but was not offered by host {peer}", "4.7.4")
        return
    try:
        code, lines = await connection.ask(b"STARTTLS\r\n", connection.timeouts.tls, "sending STARTTLS")
    except Unreachable as error:
        _broken(str(error), error.status, mandatory)
    if code != 220:
        if mandatory:
            reply = smtp_replies.reply(code, lines)
            raise Unreachable(f"TLS is required, but host {peer} refused to start TLS: {reply}", "4.7.4")
        if code == 421:
            raise TlsTrouble(connection.refused(code, lines), "4.7.4")
        return  # It changed its mind: in clear, over this same connection.
    if connection.has_more:
        # Octets behind the 220 would pass for the inside of the TLS session (CVE-2011-0411 from this side).
        _broken(f"{peer} sent text behind its reply to STARTTLS", "4.7.0", mandatory)
    await _shake_hands(connection, policy, host, nexthop)
    try:
        await _hello(connection)
    except Unreachable as error:
        _broken(f"{error} (under TLS)", error.status, mandatory)


async def _shake_hands(connection: Connection, policy: TlsPolicy, host: str, nexthop: str) -> None:
    peer, mandatory = connection.peer, policy.level.mandatory
    try:
        secured = await connection.start_tls(policy.context, policy.servername or host)
    except ssl.SSLCertVerificationError as error:
        _broken(f"Server certificate of {peer} not trusted: {error.verify_message}", "4.7.5", mandatory)
    except (OSError, ValueError) as error:  # ssl.SSLError and a lost connection are OSErrors
        why = getattr(error, "reason", "") or str(error) or type(error).__name__
        _broken(f"Cannot start TLS with {peer}: handshake failure: {why}", "4.7.5", mandatory)
    try:
        connection.trust = policy.check(secured, host, nexthop)
    except Untrusted as error:
        _broken(f"{error} ({peer})", "4.7.5", mandatory)
    cipher, _, bits = secured.cipher() or ("none", "", 0)
    connection.tls = Tls(secured.version() or "TLS", cipher, bits)


def _broken(why: str, status: str, mandatory: bool) -> NoReturn:
    """No TLS: then no mail, or the same in clear."""
    raise (Unreachable if mandatory else TlsTrouble)(why, status)


def _status(code: int, lines: list[bytes], default: str) -> str:
    """A peer's refusal of us is temporary for the mail, whatever its class."""
    status = smtp_replies.reply(code, lines).status
    return f"4{status[1:]}" if status else default
