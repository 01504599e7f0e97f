"""probe: one question to a primary by SMTP: would you take mail for this address?

    MAIL FROM:<>          the null sender: what is asked for is no mail, and nobody can answer it
    RCPT TO:<address>     the question
    RSET, MAIL, RCPT TO:<some-random-name@domain>    taken too: the domain takes any name (a catch-all)
    QUIT                  never DATA

TLS is done as for the relay: each place at its level, and in clear within the same try
where level `may` meets a STARTTLS that is broken.  The hosts of a next hop are tried in
order, two at most: a client waits.

Trouble
    ProbeTrouble   no answer: nobody there, or something other than RCPT was refused.
                   It says nothing about the address.

Standards: RFC 5321 3.3, 4.5.5 (null reverse-path); Postfix ADDRESS_VERIFICATION_README.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from backupmx.mail.address import domain_of
from backupmx.mail.reply import Reply
from backupmx.net import smtp, smtp_replies
from backupmx.net.smtp import Connection, SmtpTrouble, Timeouts
from backupmx.net.tls_client import Level
from backupmx.route import hosts
from backupmx.route.hosts import Host, NoHosts, Resolver
from backupmx.route.next_hop import NextHop
from backupmx.route.tls_policy import TlsPolicies

_MOST_HOSTS = 2
_SLOWEST = Timeouts(connect=10.0, greeting=30.0, tls=10.0, hello=30.0, mail=30.0, rcpt=60.0)
# A postscreen lets strangers wait six seconds, an address that is verified takes longer.
# A client is put off long before; the answer is for its next try.


class ProbeTrouble(Exception):
    """The primary gave no answer."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """As the relay has them."""

    helo: str
    bind: Callable[[str], str] = lambda address: ""
    """Our address on a connection to that one; "": the system's choice."""
    tls: TlsPolicies = field(default_factory=TlsPolicies)
    timeouts: Timeouts = _SLOWEST


@dataclass(frozen=True, slots=True)
class Heard:
    """What a primary said."""

    host: str
    """primary1.example.net[192.0.2.1]"""
    reply: Reply
    """To RCPT."""
    stranger: Reply | None = None
    """To RCPT with a random name; None: not asked."""


async def probe(
    address: str, next_hop: NextHop, resolver: Resolver, settings: ProbeSettings, *, stranger: bool
) -> Heard:
    """`stranger`: also a random name of the domain, when the address is taken.  Raises ProbeTrouble."""
    try:
        found = await hosts.find(next_hop.destinations, resolver)
    except NoHosts as none:
        raise ProbeTrouble(str(none)) from None
    why = ""
    for host in found[:_MOST_HOSTS]:
        try:
            connection = await dial(host, next_hop.transport == "lmtp", settings)
        except SmtpTrouble as trouble:
            why = str(trouble)
            continue
        return await _talk(connection, address, stranger)
    raise ProbeTrouble(why)


async def dial(host: Host, lmtp: bool, settings: ProbeSettings) -> Connection:
    """A connection as the relay makes it; in clear where level `may` meets a broken STARTTLS.  Raises SmtpTrouble."""
    place = host.destination.text if host.destination else host.name
    policy = settings.tls.lookup(place) if host.address else None
    if policy is not None and policy.level is Level.NONE:
        policy = None

    async def attempt(secured: bool) -> Connection:
        return await smtp.connect(
            host.name, host.address, host.port, helo=settings.helo, lmtp=lmtp, tls=policy if secured else None,
            nexthop=host.destination.host if host.destination else "", bind=settings.bind(host.address),
            forward="off", timeouts=settings.timeouts,
        )  # fmt: skip

    try:
        return await attempt(True)
    except smtp.TlsTrouble:
        return await attempt(False)


async def _talk(connection: Connection, address: str, stranger: bool) -> Heard:
    try:
        reply = await _would_take(connection, address)
        other = None
        if stranger and reply.code < 300:
            await reset(connection)
            other = await _would_take(connection, f"{secrets.token_hex(8)}@{domain_of(address)}")
        return Heard(connection.peer, reply, other)
    except SmtpTrouble as trouble:
        raise ProbeTrouble(str(trouble)) from None
    finally:
        await connection.quit()


async def _would_take(connection: Connection, address: str) -> Reply:
    if not address.isascii() and "SMTPUTF8" not in connection.extensions:
        raise ProbeTrouble(f"SMTPUTF8 is needed, but was not offered by host {connection.peer}")
    mail, rcpt = await mail_and_rcpt(connection, "", address)
    if rcpt is None:
        raise ProbeTrouble(f"host {connection.peer} said: {mail} (in reply to MAIL FROM)")
    return rcpt


async def mail_and_rcpt(connection: Connection, sender: str, recipient: str) -> tuple[Reply, Reply | None]:
    """The replies to both; None: MAIL was refused, and RCPT not said.  Raises SmtpTrouble."""
    patience, plain = connection.timeouts, f"{sender}{recipient}".isascii()
    command = f"MAIL FROM:<{sender}>{'' if plain else ' SMTPUTF8'}"
    mail = await _said(connection, command, patience.mail, "sending MAIL FROM")
    if mail.code >= 300:
        return mail, None
    return mail, await _said(connection, f"RCPT TO:<{recipient}>", patience.rcpt, "sending RCPT TO")


async def reset(connection: Connection) -> None:
    """Before another question.  Raises SmtpTrouble."""
    await _said(connection, "RSET", connection.timeouts.mail, "sending RSET")


async def _said(connection: Connection, command: str, patience: float, phase: str) -> Reply:
    return smtp_replies.reply(*await connection.ask(f"{command}\r\n".encode(), patience, phase))
