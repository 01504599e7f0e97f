"""intake: from the final dot to our reply, everything we do to a message, in order.

    1-6 assess   our Received:, the rules, the checks, the rules on what they add,
                 the milters: receive/assess.py, shared with `backupmx explain`
    7 queue      put() returns when it survives a power cut.  Only now: 250.

Step 7 is shielded: a client that hangs up while we commit does not undo the
commit.

Trouble
    QueueFull, QueueTrouble   their own temporary reply; nothing was stored.
    anything else             a bug: the session turns it into 451 4.3.0.

A discarded message reads 250 like any other (header_checks(5)): the client
learns nothing.  It is kept in quarantine unless `rules.discard` says drop; then
the account of all mail says so before the 250 does.

Standards: RFC 5321 6.1 (responsibility).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from backupmx.check.milters import Refused
from backupmx.check.vouched import vouched
from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content, Message
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict
from backupmx.queue.entry import NewEntry, NewRecipient, Queue, QueueTrouble, State
from backupmx.receive.assess import Policy, assess

__all__ = ["Intake", "Policy", "destinations"]

_WHERE = {
    State.QUEUED: "queue active", State.HELD: "hold", State.DISCARDED: "quarantine", State.REFUSED: "refused",
}  # fmt: skip


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
        assessed = await assess(policy, self._journal, client, envelope, content, queue_id, arrived)
        mail, verdict = assessed.mail, assessed.verdict
        self._journal.judged(queue_id, verdict.fate, verdict.reason)
        if verdict.refuses and verdict.reply is not None:
            return verdict.reply
        recipients = tuple(destinations(mail.envelope, verdict, policy.routes.next_hop, assessed.refused))
        entry = NewEntry(
            queue_id, arrived, mail.envelope, recipients, mail.message, client, _message_id(mail.message),
            verdict.reason, policy.routes.signature, vouched(mail.envelope.sender, assessed.findings),
        )  # fmt: skip
        if verdict.fate is Fate.DISCARD and not policy.quarantine:
            await self._commit(self._queue.record(entry))
        else:
            await self._put(entry)
            if mail.message.spool is not None:
                content.kept()
        return Reply(250, "2.0.0", f"Ok: queued as {queue_id}")

    async def _put(self, entry: NewEntry) -> None:
        await self._commit(self._queue.put(entry))
        self._journal.message_id(entry.id, entry.message_id)
        where = _WHERE[entry.recipients[0].state]
        self._journal.queued(entry.id, entry.envelope.sender, entry.message.size, len(entry.recipients), where)

    async def _commit(self, commit: Awaitable[None]) -> None:
        """Shielded: a client that hangs up now does not stop a commit that may have happened already."""
        try:
            await asyncio.shield(commit)
        except QueueTrouble as trouble:
            self._journal.queue_trouble(str(trouble) or type(trouble).__name__)
            raise


def destinations(
    envelope: Envelope, verdict: Verdict, next_hop: Callable[[str], str], refused: Sequence[Refused] = ()
) -> Iterable[NewRecipient]:
    """Pure.  Who gets the message and by which next hop.

    REDIRECT puts one address in place of all (qmgr_message.c); FILTER another
    next hop, its empty destination being the recipient's domain; BCC adds an
    address that hears of no failure.  HOLD keeps all three for its release.
    Whom a milter refused among others stays with the entry, with its words.
    `many` adds up to the recipients that the client named, and those of BCC.
    """
    state = {Fate.HOLD: State.HELD, Fate.DISCARD: State.DISCARDED}.get(verdict.fate, State.QUEUED)
    if verdict.redirect_to:
        stands_for = len(envelope.recipients) + len(refused)
        yield NewRecipient(verdict.redirect_to, next_hop(verdict.redirect_to), state=state, many=stands_for)
        return
    named = Counter(recipient.address for recipient in (*envelope.recipients, *(r for r, _ in refused)))
    fixed, seen = bool(verdict.filter_to), set[str]()
    for recipient in envelope.recipients:
        if recipient.address not in seen:
            seen.add(recipient.address)
            hop = _filtered(verdict.filter_to, recipient.address) or next_hop(recipient.address)
            many = named[recipient.address]
            yield NewRecipient(recipient.address, hop, recipient.notify, recipient.orcpt, state, fixed=fixed, many=many)
    for address in verdict.bcc:
        if address not in seen:
            seen.add(address)
            hop = _filtered(verdict.filter_to, address) or next_hop(address)
            yield NewRecipient(address, hop, "NEVER", "", state, fixed=fixed)
    for recipient, why in refused:
        if recipient.address not in seen:
            seen.add(recipient.address)
            hop = next_hop(recipient.address)
            many = named[recipient.address]
            yield NewRecipient(recipient.address, hop, recipient.notify, recipient.orcpt, State.REFUSED, why, many=many)


def _filtered(filter_to: str | None, address: str) -> str:
    """FILTER transport:destination; without a destination the recipient's domain (header_checks(5))."""
    if not filter_to:
        return ""
    return filter_to if not filter_to.endswith(":") else filter_to + address.rpartition("@")[2]


def _message_id(message: Message) -> str:
    ids = message.values(b"Message-ID")
    return ids[0].decode("utf-8", "replace") if ids else ""
