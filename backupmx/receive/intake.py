"""intake: from the final dot to our reply, everything we do to a message, in order.

    1 trace    our own Received: goes on top; more than 50 of others: 554 5.4.6
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
    7 queue    put() returns when it survives a power cut.  Only now: 250.

Steps 2, 4 and 5 are pure; 3 and 6 ask engines and DNS; 7 writes.  Step 7 is
shielded: a client that hangs up while we commit does not undo the commit.

Trouble
    QueueFull, QueueTrouble   their own temporary reply; nothing was stored.
    anything else             a bug: the session turns it into 451 4.3.0.

A discarded message reads 250 like any other (header_checks(5)): the client
learns nothing.  It is kept in quarantine unless `rules.discard` says drop.

Standards: RFC 5321 4.4 (trace), 6.1 (responsibility), 6.3 (loops); RFC 8601.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backupmx.check.consequence import consequence
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.check.milters import Milters, Refused
from backupmx.check.run import Checks
from backupmx.check.stamp import apply, fields
from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content, Message
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict
from backupmx.queue.entry import VIRUS, NewEntry, NewRecipient, Queue, QueueTrouble, State
from backupmx.receive.added import Ruled
from backupmx.receive.trace import received, too_many_hops
from backupmx.route.routes import Routes
from backupmx.rules.engine import DEFAULT, Added, Judged, Settings, Tables, judge, judge_added

_OFF_LOOP = 256 << 10
"""Octets of content above which rules that read bodies run in a thread: the loop is never held for long."""

_UNLOGGED = frozenset({"IGNORE", "DUNNO", "OK"})
"""Actions that leave no line in Postfix's log either (cleanup_act)."""

_WHERE = {
    State.QUEUED: "queue active", State.HELD: "hold", State.DISCARDED: "quarantine", State.REFUSED: "refused",
}  # fmt: skip


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


class Intake:
    """The first story.  One for each receiving process; `policy` may be replaced between messages."""

    def __init__(self, policy: Policy, queue: Queue, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self.policy = policy
        self._queue = queue
        self._journal = journal
        self._clock = clock

    async def accept(self, client: Client, envelope: Envelope, content: Content, queue_id: str) -> Reply:
        """From the final dot to our reply: everything we do to a message, in order."""
        policy, arrived = self.policy, self._clock()
        trace = received(client, envelope, policy.hostname, queue_id, arrived)
        judged = await self._judge(content, policy, trace)
        self._tell(queue_id, client, envelope, judged)
        message, verdict = judged.message, judged.verdict
        if verdict.fate is Fate.DISCARD and policy.quarantine:
            message = as_sent(content, trace)
        if not verdict.ends:
            verdict = verdict.joined(too_many_hops(message.headers))
        mail, hidden = Mail(message, envelope, client, queue_id, judged.own), judged.own
        refused: Sequence[Refused] = ()
        if not verdict.ends:
            mail, verdict, hidden = await self._check(mail, judged.own, verdict, policy)
        if policy.milters and not (verdict.ends or judged.passed):
            mail, verdict, refused = await self._milters(policy.milters, mail, hidden, judged.own, verdict, policy)
        if verdict.fate is not Fate.ACCEPT:
            self._journal.judged(queue_id, verdict.fate, verdict.reason)
        if verdict.refuses and verdict.reply is not None:
            return verdict.reply
        if verdict.fate is not Fate.DISCARD or policy.quarantine:
            recipients = tuple(destinations(mail.envelope, verdict, policy.routes.next_hop, refused))
            entry = NewEntry(
                queue_id, arrived, mail.envelope, recipients, mail.message, client, _message_id(mail.message),
                verdict.reason,
            )  # fmt: skip
            await self._put(entry)
            if mail.message.spool is not None:
                content.kept()
        return Reply(250, "2.0.0", f"Ok: queued as {queue_id}")

    async def _judge(self, content: Content, policy: Policy, trace: bytes) -> Judged:
        tables = policy.tables
        if len(content.data) > _OFF_LOOP and (tables.mime or tables.nested or tables.body):
            return await asyncio.to_thread(
                judge, content, tables, own=(trace,), settings=policy.rules, clock=time.monotonic
            )
        return judge(content, tables, own=(trace,), settings=policy.rules, clock=time.monotonic)

    async def _check(self, mail: Mail, own: int, before: Verdict, policy: Policy) -> tuple[Mail, Verdict, int]:
        """Steps 3 to 5: ask the engines, put their fields on, show each field to milter_header_checks.

        -> also how many headers at the front are ours now.
        """
        findings = await policy.checks.run(mail)
        for finding in findings:
            self._journal.found(
                mail.queue_id, finding.check, finding.engine, finding.seen, finding.detail, finding.seconds
            )
        added: Added = judge_added(fields(findings, policy.hostname), policy.tables, before)
        self._tell(mail.queue_id, mail.client, mail.envelope, added)
        verdict = added.verdict
        if not verdict.ends:  # a rule's certain word comes before what an absent engine leaves open
            verdict = verdict.joined(consequence(findings, policy.checks.settings))
        if verdict.fate is not Fate.ACCEPT:
            verdict = replace(verdict, reason="; ".join([verdict.reason, *_viruses(findings)]))
        message = apply(mail.message, findings, own, added.fields, policy.hostname)
        return replace(mail, message=message), verdict, own + len(added.fields)

    async def _milters(
        self, milters: Milters, mail: Mail, hidden: int, own: int, before: Verdict, policy: Policy
    ) -> tuple[Mail, Verdict, Sequence[Refused]]:
        """Step 6."""
        ruled = Ruled(policy.tables, before, lambda added: self._tell(mail.queue_id, mail.client, mail.envelope, added))
        milked = await milters.run(mail, hidden, own, ruled, policy.routes)
        mail_after = replace(mail, message=milked.message, envelope=milked.envelope)
        return mail_after, ruled.verdict.joined(milked.verdict), milked.refused

    async def _put(self, entry: NewEntry) -> None:
        """Shielded: a client that hangs up now does not stop a commit that may have happened already."""
        try:
            await asyncio.shield(self._queue.put(entry))
        except QueueTrouble as trouble:
            self._journal.queue_trouble(str(trouble) or type(trouble).__name__)
            raise
        self._journal.message_id(entry.id, entry.message_id)
        where = _WHERE[entry.recipients[0].state]
        self._journal.queued(entry.id, entry.envelope.sender, entry.message.size, len(entry.recipients), where)

    def _tell(self, queue_id: str, client: Client, envelope: Envelope, ruled: Judged | Added) -> None:
        for trouble in ruled.troubles:
            self._journal.rule_failed(trouble)
        for decision in ruled.decisions:
            if decision.action.upper() not in _UNLOGGED:
                header = decision.header.decode("utf-8", "replace")
                self._journal.ruled(
                    queue_id, decision.action.lower(), header, client, envelope,
                    text=decision.text, rule=f"{decision.table}:{decision.line}", added=isinstance(ruled, Added),
                )  # fmt: skip


def as_sent(content: Content, trace: bytes) -> Message:
    """Pure.  What quarantine keeps.  The rules stopped in the middle of it; its release brings the whole."""
    return judge(content, Tables(), own=(trace,)).message


def destinations(
    envelope: Envelope, verdict: Verdict, next_hop: Callable[[str], str], refused: Sequence[Refused] = ()
) -> Iterable[NewRecipient]:
    """Pure.  Who gets the message and by which next hop.

    REDIRECT puts one address in place of all (qmgr_message.c); FILTER another
    next hop, its empty destination being the recipient's domain; BCC adds an
    address that hears of no failure.  HOLD keeps all three for its release.
    Whom a milter refused among others stays with the entry, with its words.
    """
    state = {Fate.HOLD: State.HELD, Fate.DISCARD: State.DISCARDED}.get(verdict.fate, State.QUEUED)
    if verdict.redirect_to:
        yield NewRecipient(verdict.redirect_to, next_hop(verdict.redirect_to), state=state)
        return
    seen = set()
    for recipient in envelope.recipients:
        if recipient.address not in seen:
            seen.add(recipient.address)
            hop = _filtered(verdict.filter_to, recipient.address) or next_hop(recipient.address)
            yield NewRecipient(recipient.address, hop, recipient.notify, recipient.orcpt, state)
    for address in verdict.bcc:
        if address not in seen:
            seen.add(address)
            hop = _filtered(verdict.filter_to, address) or next_hop(address)
            yield NewRecipient(address, hop, "NEVER", "", state)
    for recipient, why in refused:
        if recipient.address not in seen:
            seen.add(recipient.address)
            hop = next_hop(recipient.address)
            yield NewRecipient(recipient.address, hop, recipient.notify, recipient.orcpt, State.REFUSED, why)


def _filtered(filter_to: str | None, address: str) -> str:
    """FILTER transport:destination; without a destination the recipient's domain (header_checks(5))."""
    if not filter_to:
        return ""
    return filter_to if not filter_to.endswith(":") else filter_to + address.rpartition("@")[2]


def _viruses(findings: Iterable[Finding]) -> Iterable[str]:
    return (VIRUS + f.detail for f in findings if f.check == "virus" and f.seen is Seen.FOUND)


def _message_id(message: Message) -> str:
    ids = message.values(b"Message-ID")
    return ids[0].decode("utf-8", "replace") if ids else ""
