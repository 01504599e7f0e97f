"""assess: what becomes of a message, before it rests anywhere: steps 1 to 6 of `intake`, without the queue.

    intake.accept ──┐
                    ├──► assess ──► Assessed: the message as it would be relayed,
    explain ────────┘               its verdict, and all that led to it

It asks engines, milters and DNS and tells the journal; it writes nothing.

    1 trace    our own Received: goes on top; 50 of others: 554 5.4.0
    2 rules    header_checks and its sisters on what the client sent.  REJECT and
               DISCARD settle the fate: no check runs.  PASS and REDIRECT end
               this pass of the rules; our own checks still run.
    3 check    virus, spam, SPF, DKIM, DMARC at once, under one deadline.  They
               give findings.  An engine that is away: `on_error` decides.
    4 stamp    outside copies of what our checks say (X-Spam-*, X-Virus-*, our
               Authentication-Results) go; our own fields follow our Received.
    5 rules    milter_header_checks on each field that step 4 added: this is
               where our own X-Spam-Flag: YES is discarded.
    6 milters  any that are listed, one after another.  Each sees what the one
               before made of it, not our own fields; each header it writes
               passes milter_header_checks.  After PASS or REDIRECT in step 2
               none is asked.

Steps 2, 4 and 5 are pure; 3 and 6 ask engines and DNS.

Standards: RFC 5321 4.4 (trace), 6.3 (loops); RFC 8601.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from backupmx.check.consequence import consequence
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.milters import Milters, Refused
from backupmx.check.run import Checks
from backupmx.check.stamp import apply, fields
from backupmx.journal import Journal
from backupmx.mail import address
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content, Message, let_go
from backupmx.mail.verdict import Fate, Verdict
from backupmx.queue.entry import VIRUS
from backupmx.receive.added import Ruled
from backupmx.receive.trace import received, too_many_hops
from backupmx.route.routes import Routes
from backupmx.rules.engine import DEFAULT, Added, Judged, Settings, Tables, judge, judge_added

_OFF_LOOP = 256 << 10
"""Octets of content above which rules that read bodies run in a thread: the loop is never held for long."""

_LONG_HEAD = 32 << 10
"""Octets of a header block from which on it is judged there too: each header costs some microseconds."""

_UNLOGGED = frozenset({"IGNORE", "DUNNO", "OK"})
"""Actions that leave no line in Postfix's log either (cleanup_act)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator's files say; replaced as a whole by a reload."""

    hostname: str
    tables: Tables
    routes: Routes
    checks: Checks
    rules: Settings = DEFAULT
    quarantine: bool = True
    """False: a discarded message is dropped (rules.discard)."""
    milters: Milters | None = None
    """None: no [[milter]] is listed."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Who judges in a thread: each looks at the whole of a large file."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """A message as it would be relayed, and what led to it."""

    mail: Mail
    verdict: Verdict
    judged: Judged
    """The rules on what the client sent."""
    findings: Findings = field(default_factory=Findings)
    added: Added | None = None
    """The rules on our own fields; None: no check ran."""
    refused: tuple[Refused, ...] = ()
    """Whom a milter refused among others."""


async def assess(
    policy: Policy,
    journal: Journal,
    client: Client,
    envelope: Envelope,
    content: Content,
    queue_id: str,
    arrived: float,
) -> Assessed:
    """Steps 1 to 6."""
    trace = received(client, envelope, policy.hostname, queue_id, arrived)
    judged = await _judge(content, policy, trace)
    _tell(journal, queue_id, client, envelope, judged)
    message, verdict = judged.message, judged.verdict
    if verdict.fate is Fate.DISCARD and policy.quarantine:
        message = as_sent(content, trace)
    if not verdict.ends:
        verdict = verdict.joined(too_many_hops(message.headers))
    so_far = Assessed(Mail(message, envelope, client, queue_id, judged.own), verdict, judged)
    if not so_far.verdict.ends:
        so_far = await _check(so_far, policy, journal)
    if policy.milters and not (so_far.verdict.ends or judged.passed):
        so_far = await _milters(so_far, policy.milters, policy, journal)
    return replace(so_far, verdict=addressed(so_far.verdict))


async def _judge(content: Content, policy: Policy, trace: bytes) -> Judged:
    work = partial(judge, content, policy.tables, own=(trace,), settings=policy.rules, clock=time.monotonic)
    if not _is_long(content, policy.tables):
        return work()
    async with policy.turns:
        judged = await asyncio.to_thread(work)
        let_go(content.data)
    return judged


def _is_long(content: Content, tables: Tables) -> bool:
    if len(content.data) > _OFF_LOOP and (tables.mime or tables.nested or tables.body):
        return True
    return len(content.data) > _LONG_HEAD and b"\r\n\r\n" not in bytes(content.data[:_LONG_HEAD])


async def _check(so_far: Assessed, policy: Policy, journal: Journal) -> Assessed:
    """Steps 3 to 5: ask the engines, put their fields on, show each field to milter_header_checks."""
    mail = so_far.mail

    def settles(virus: Finding) -> bool:
        """A look ahead at step 5; nothing of it is counted."""
        return judge_added(virus.fields, policy.tables, so_far.verdict).verdict.ends

    findings = await policy.checks.run(mail, settles)
    for finding in findings:
        journal.found(mail.queue_id, finding.check, finding.engine, finding.seen, finding.detail, finding.seconds)
    added = judge_added(fields(findings, policy.hostname), policy.tables, so_far.verdict)
    _tell(journal, mail.queue_id, mail.client, mail.envelope, added)
    verdict = added.verdict
    if not verdict.ends:  # a rule's certain word comes before what an absent engine leaves open
        verdict = verdict.joined(consequence(findings, policy.checks.settings))
    if verdict.fate is not Fate.ACCEPT:
        verdict = replace(verdict, reason="; ".join([verdict.reason, *_viruses(findings)]))
    message = apply(mail.message, findings, mail.own, added.fields, policy.hostname)
    return replace(so_far, mail=replace(mail, message=message), verdict=verdict, findings=findings, added=added)


async def _milters(so_far: Assessed, milters: Milters, policy: Policy, journal: Journal) -> Assessed:
    """Step 6."""
    mail, own = so_far.mail, so_far.mail.own
    hidden = own + (len(so_far.added.fields) if so_far.added else 0)

    def tell(added: Added) -> None:
        _tell(journal, mail.queue_id, mail.client, mail.envelope, added)

    ruled = Ruled(policy.tables, so_far.verdict, tell)
    milked = await milters.run(mail, hidden, own, ruled, policy.routes)
    return replace(
        so_far,
        mail=replace(mail, message=milked.message, envelope=milked.envelope),
        verdict=ruled.verdict.joined(milked.verdict),
        refused=milked.refused,
    )


def _tell(journal: Journal, queue_id: str, client: Client, envelope: Envelope, ruled: Judged | Added) -> None:
    for (table, rule), times in ruled.hits.items():
        journal.rule_hit(table.name, rule.line, rule.whole, times)
    for trouble in ruled.troubles:
        journal.rule_failed(trouble)
    for decision in ruled.decisions:
        if decision.action.upper() not in _UNLOGGED:
            header = decision.header.decode("utf-8", "replace")
            journal.ruled(
                queue_id, decision.action.lower(), header, client, envelope,
                text=decision.text, rule=f"{decision.table}:{decision.line}", where=decision.where,
            )  # fmt: skip


def addressed(verdict: Verdict) -> Verdict:
    """Pure.  Where a REDIRECT goes, fit for a path.  One to no address (a rule took it from the message) is held."""
    if verdict.ends or not verdict.redirect_to:
        return verdict
    try:
        return replace(verdict, redirect_to=address.as_sent(verdict.redirect_to))
    except address.Malformed as why:
        reason = f"{verdict.reason}: REDIRECT to {verdict.redirect_to!a}: {why}"
        return replace(verdict, fate=Fate.HOLD, redirect_to=None, reason=reason)


def as_sent(content: Content, trace: bytes) -> Message:
    """Pure.  What quarantine keeps.  The rules stopped in the middle of it; its release brings the whole."""
    return judge(content, Tables(), own=(trace,)).message


def _viruses(findings: Iterable[Finding]) -> Iterable[str]:
    return (VIRUS + f.detail for f in findings if f.check == "virus" and f.seen is Seen.FOUND)
