"""primary: will this host take our mail?  `check primary`.

    connect, EHLO, STARTTLS       as the relay does it, and once more asking for a
                                  certificate that a CA vouches for
    five connections at once      does it refuse us for coming often
    MAIL FROM:<>, RCPT postmaster@DOMAIN        would it take mail, does it greylist
    RCPT of a random name                       does it know who exists
    MAIL FROM a domain with SPF -all, RCPT postmaster     does it hold SPF against us

Nothing is delivered: DATA is never said.  So what a primary decides about the content
(SPF and DMARC in a milter at its end, as rspamd does) is not seen from here, and a
refusal of the SPF probe that does not speak of SPF may have another reason: its words
are told.  Each answer has its time limit; what hangs is a finding.

The relay tells a primary that offers XCLIENT who the client was: then SPF is checked
on the client, and the probe says nothing.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from backupmx.mail.reply import Reply
from backupmx.net.dns import DNSTrouble, Resolver
from backupmx.net.smtp import Connection, SmtpTrouble
from backupmx.net.tls_client import Level, TlsPolicy, context
from backupmx.operate.inspect import stanzas
from backupmx.operate.inspect.finding import Finding, good, note, unknown, wrong
from backupmx.operate.inspect.stanzas import Software
from backupmx.recipients.probe import ProbeSettings, dial, mail_and_rcpt, reset
from backupmx.route import hosts
from backupmx.route.hosts import Host, NoHosts
from backupmx.route.next_hop import HopTrouble, parse
from backupmx.route.tls_policy import TlsPolicies

STRANGER = "check-primary@example.com"
"""example.com publishes "v=spf1 -all": nobody may send for it."""
_AT_ONCE = 5
# The relay's own first_connections.
_MOST_DOMAINS = 20
_SPF = re.compile(
    r"\bspf\b|sender policy|5\.7\.2[34]|openspf|not (?:permitted|authori[sz]ed|allowed) .{0,20}send", re.IGNORECASE
)
_GREY = re.compile(r"gr[ea]y.?list|try again later|4\.2\.0", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each host of one next hop."""

    domains: Sequence[str]
    settings: ProbeSettings
    ours: Sequence[str]
    """Our addresses, for the stanzas."""
    size: int
    """The largest message we take."""
    sender: str = STRANGER
    """Of a domain with SPF -all; "" asks nothing of this."""


async def check(resolver: Resolver, next_hop: str, question: Question) -> AsyncIterator[Finding]:
    """Every host of a next hop, one after the other."""
    try:
        hop = parse(next_hop)
        found = await hosts.find(hop.destinations, resolver) if hop.connects else []
    except (HopTrouble, NoHosts) as trouble:
        yield unknown(next_hop, "connect", str(trouble))
        return
    if question.sender and not await _forbidden(resolver, question.sender):
        question = replace(question, sender="")
        text = "not asked: DNS tells of no SPF record with -all for the probe's sender; another: --spf-sender ADDRESS"
        yield note(next_hop, "spf", text)
    for host in found:
        async for finding in _host(host, hop.transport == "lmtp", question):
            yield finding


async def _forbidden(resolver: Resolver, sender: str) -> bool:
    try:
        records = (await resolver.lookup(sender.rpartition("@")[2], "TXT")).records
    except DNSTrouble:
        return False
    return any(record.startswith("v=spf1") and record.rstrip().endswith("-all") for record in records)


async def _host(host: Host, lmtp: bool, question: Question) -> AsyncIterator[Finding]:
    try:
        connection = await dial(host, lmtp, question.settings)
    except SmtpTrouble as trouble:
        refused = "refused to talk" in str(trouble)
        remedy = stanzas.trust(Software.OTHER, question.ours) if refused else "is it up? see check dns"
        yield wrong(str(host), "connect", str(trouble), remedy)
        return
    which = stanzas.software(connection.banner)
    yield good(str(host), "connect", f"greets as {connection.banner[:80]}")
    if (rest := len(question.domains) - _MOST_DOMAINS) > 0:
        yield note(str(host), "recipient", f"{rest} more domains go here and are not asked for; name those you mean")
    try:
        for finding in offers(str(host), connection.extensions, which, question):
            yield finding
        for domain in question.domains[:_MOST_DOMAINS]:
            async for finding in _ask(host, connection, domain, which, question):
                yield finding
    except SmtpTrouble as trouble:
        yield wrong(str(host), "dialogue", str(trouble), stanzas.trust(which, question.ours))
    finally:
        await connection.quit()
    yield await _certificate(host, lmtp, connection, question)
    yield await _often(host, lmtp, which, question)


def offers(about: str, extensions: dict[str, str], which: Software, question: Question) -> list[Finding]:
    """Pure.  What its EHLO says."""
    findings = []
    limit = extensions.get("SIZE", "")
    if limit.isdigit() and 0 < int(limit) < question.size:
        text = f"takes {limit} octets, we take {question.size}: larger mail is accepted here and refused there"
        findings.append(wrong(about, "size", text, f"smtp.message_size_limit = {limit}, or raise the primary's"))
    told = next((word for word in ("XCLIENT", "XFORWARD") if word in extensions), "")
    if told:
        findings.append(good(about, "client", f"{told} offered: it is told who brought the mail"))
    elif stanza := stanzas.xclient(which, question.ours):
        findings.append(
            note(about, "client", "neither XCLIENT nor XFORWARD: all our mail seems to come from us", stanza)
        )
    wanted = ("PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN")
    has, lacks = ([word for word in wanted if (word in extensions) is there] for there in (True, False))
    text = f"offers {', '.join(has) or 'nothing'}" + (f"; not {', '.join(lacks)}" if lacks else "")
    if "SMTPUTF8" in lacks:
        text += " (mail to or from addresses in other scripts cannot go there)"
    findings.append(good(about, "extensions", text))
    return findings


async def _ask(
    host: Host, connection: Connection, domain: str, which: Software, question: Question
) -> AsyncIterator[Finding]:
    about, postmaster = str(host), f"postmaster@{domain}"
    mail, rcpt = await _try(connection, "", postmaster)
    yield taken(about, "recipient", mail, rcpt, postmaster, which, question)
    if rcpt is None or rcpt.code >= 300:
        return
    _, other = await _try(connection, "", f"{secrets.token_hex(8)}@{domain}")
    if other is not None and other.code >= 500:
        yield good(about, "who-exists", f"{domain}: refuses names that do not exist; recipients.verify can ask it")
    elif other is not None and other.code < 300:
        text = f"{domain}: takes any name, so recipients.verify learns nothing; mail for nobody bounces or lies there"
        yield note(about, "who-exists", text, "a list of who exists: relay.relay_recipients, [[recipients.source]]")
    if question.sender:
        mail, rcpt = await _try(connection, question.sender, postmaster)
        yield spf(about, mail, rcpt, which, question, xclient="XCLIENT" in connection.extensions)


def taken(
    about: str, check: str, mail: Reply, rcpt: Reply | None, postmaster: str, which: Software, question: Question
) -> Finding:
    """Pure.  What it said to a null sender and its own postmaster."""
    said = mail if rcpt is None else rcpt
    if said.code < 300:
        return good(about, check, f"{postmaster} would be taken")
    where = "MAIL FROM:<>" if rcpt is None else f"RCPT TO:<{postmaster}>"
    stanza = stanzas.trust(which, question.ours)
    if said.code < 500 and _GREY.search(str(said)):
        return wrong(about, "greylisting", f"puts us off: {said} (to {where})", stanza)
    if said.code < 500:
        return wrong(about, check, f"not now: {said} (to {where})", stanza)
    remedy = (
        stanza if said.status.startswith("5.7") or rcpt is None else f"is this the primary of {postmaster}? {stanza}"
    )
    return wrong(about, check, f"refuses us: {said} (to {where})", remedy)


def spf(about: str, mail: Reply, rcpt: Reply | None, which: Software, question: Question, *, xclient: bool) -> Finding:
    """Pure.  What it said to a sender that nobody may be."""
    said = mail if rcpt is None else rcpt
    if said.code < 300:
        return good(about, "spf", "does not hold SPF against us before the content")
    if xclient:
        return note(about, "spf", f"refuses {question.sender} from us, but sees the real client by XCLIENT: {said}")
    if _SPF.search(str(said)):
        text = f"checks SPF on us, not on the client: {said}; mail of every domain with -all fails there"
        return wrong(about, "spf", text, stanzas.spf(which, question.ours))
    text = f"refuses the sender {question.sender}, perhaps for SPF, perhaps for another reason: {said}"
    return note(about, "spf", text, stanzas.spf(which, question.ours))


async def _try(connection: Connection, sender: str, recipient: str) -> tuple[Reply, Reply | None]:
    """-> the replies to MAIL and RCPT; None: RCPT was not said."""
    replies = await mail_and_rcpt(connection, sender, recipient)
    await reset(connection)
    return replies


async def _certificate(host: Host, lmtp: bool, before: Connection, question: Question) -> Finding:
    """Could relay.tls_level be verify?"""
    if not host.address or before.tls is None:
        text = "offers no TLS that works: our mail goes there in clear"
        return note(str(host), "tls", text, "give the primary a certificate" if host.address else "")
    sure = TlsPolicies(TlsPolicy(Level.VERIFY, context(Level.VERIFY), ("hostname",)))
    text = f"{before.tls.version} with {before.tls.cipher}"
    try:
        connection = await dial(host, lmtp, replace(question.settings, tls=sure))
    except SmtpTrouble as trouble:
        return note(str(host), "tls", f"{text}; at level verify it would get no mail: {trouble}")
    await connection.quit()
    return good(str(host), "tls", f"{text}, a certificate that level verify takes")


async def _often(host: Host, lmtp: bool, which: Software, question: Question) -> Finding:
    """As many connections as the relay begins with."""
    dialled = await asyncio.gather(
        *(dial(host, lmtp, question.settings) for _ in range(_AT_ONCE)), return_exceptions=True
    )
    troubles: list[str] = []
    for each in dialled:
        if isinstance(each, Connection):
            await each.quit()
        elif isinstance(each, SmtpTrouble):
            troubles.append(str(each))
        else:
            raise each
    if troubles:
        text = f"of {_AT_ONCE} connections at once {len(troubles)} were refused: {troubles[0]}"
        return wrong(str(host), "rate", text, stanzas.trust(which, question.ours))
    return good(str(host), "rate", f"{_AT_ONCE} connections at once are welcome")
