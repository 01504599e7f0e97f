"""attempt: from a claim to its outcomes, everything that happens to mail on its way out.

    1 route     the next hop's hosts in order: [host] as it stands, a domain by
                its MX, several hops after one another (transport(5))
    2 deliver   one transaction for all recipients of the claim, over a
                connection that is kept: EHLO, STARTTLS if offered, MAIL, RCPT,
                DATA pipelined.  A broken STARTTLS is tried again in clear,
                within the same try (level `may`).
    3 judge     each recipient's reply becomes an outcome:
                2xx delivered; 4xx, no connection, silence: deferred;
                5xx: refused (held with the primary's words) or bounced, as
                `relay.on_refusal` says; too old: expired
    4 notice    what bounced or expired is told to its sender if he may be told
                (returns.py): RFC 3464.  If not: unreturned, kept in quarantine
    5 settle    outcomes and notice are one commit.  Until then the lease holds
                the recipients; after a crash they are tried again.

At least once: the primary sees a message twice only when its own 250 was lost
between it and us, or we died between its 250 and our commit.

Trouble
    HopDown         no host of the next hop took a connection: the whole next
                    hop rests until its probe is due, at the cost of this try.
                    Who finds out after the first gives the claim back untried.
    QueueTrouble    the outcome could not be written.  That it was delivered is tried
                    again each second: what we forget comes twice.  Else the
                    lease runs out and the mail is tried again.  Nothing is lost.

Standards: RFC 5321 4.5.4.1 (retries), 5.1 (MX), 6.1 (notices), RFC 3464.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backupmx.journal import Journal
from backupmx.mail.reply import Reply
from backupmx.queue.entry import Claim, NewEntry, Outcome, Queue, QueueTrouble, Settlement, State
from backupmx.relay import bounce, judge, returns, schedule
from backupmx.relay.connections import Connections, HopDown
from backupmx.relay.deliver import by_map, deliver
from backupmx.relay.health import Health
from backupmx.relay.judge import Answer
from backupmx.relay.ramp import Mood, mood
from backupmx.relay.returns import Returns
from backupmx.relay.settings import RelaySettings
from backupmx.route.hosts import NoHosts
from backupmx.route.next_hop import NextHop
from backupmx.route.routes import Routes

_AFTER_TROUBLE = 1.0
_SOON = 30.0
# Seconds the runner sleeps at most: what is due earlier it must hear of.
_SMALL = 64 * 1024
# Octets of a message that certainly has no file of its own (queue/rows.IN_ROW is four times as much).
_EVENTS = {
    State.DELIVERED: Journal.delivered,
    State.DEFERRED: Journal.deferred,
    State.REFUSED: Journal.kept_refused,
    State.BOUNCED: Journal.bounced,
    State.EXPIRED: Journal.expired,
    State.UNRETURNED: Journal.unreturned,
}


@dataclass(frozen=True, slots=True)
class Means:
    """What every attempt works with."""

    queue: Queue
    routes: Routes
    health: Health
    settings: RelaySettings
    journal: Journal
    clock: Callable[[], float]
    chance: Callable[[], float]
    """0 to 1, for the schedule."""
    wake: Callable[[], None]
    """Something new is due: a notice."""
    returns: Returns
    """Who was told of failures lately."""
    learn: Callable[[str, Reply], None] = lambda address, reply: None
    """A next hop's own word about an address of ours: who exists."""


async def attempt(claim: Claim, hop: NextHop, connections: Connections, means: Means) -> Mood | None:
    """From a claim to its outcomes, in order.  -> how the next hop was; None: it was not asked"""
    again = said = None
    try:
        if hop.connects:
            answers = await deliver(claim, connections)  # 1, 2
            said = mood(answers)
        else:
            answers = [by_map(hop)] * len(claim.recipients)
    except NoHosts as none:
        answers = [_nowhere(none, claim, means)] * len(claim.recipients)
    except HopDown as down:
        if down.loops:
            means.journal.looped(claim.next_hop, str(down))
        if not await means.health.failed(claim.next_hop, str(down)):
            await means.queue.give_back([claim])
            return None
        answers = [Answer(Reply(451, down.status, str(down)))] * len(claim.recipients)
        again = means.health.state(claim.next_hop).probe_at
    await conclude(claim, answers, means, again)  # 3, 4, 5
    return said


async def conclude(claim: Claim, answers: Sequence[Answer], means: Means, again: float | None = None) -> None:
    """Answers -> outcomes -> one commit -> the log."""
    now = means.clock()
    ours = [means.routes.is_ours(recipient.address) for recipient in claim.recipients]
    outcomes = tuple(
        judge.outcome(
            claim, recipient, answer, means.settings, ours=mine, now=now, chance=means.chance(), again=again,
        )
        for recipient, answer, mine in zip(claim.recipients, answers, ours, strict=True)
    )  # fmt: skip
    relayed = [a.reply.code < 400 and not a.dsn for a in answers]
    notice = None
    if asked := bounce.asked(claim, outcomes, relayed):
        outcomes, notice = _tell(claim, outcomes, asked, means, now)
    gone = await _settled(Settlement(claim.id, outcomes, notice), claim.size, means, now)
    for outcome in outcomes:
        _log(claim, outcome, now, means.journal)
    for recipient, answer, mine in zip(claim.recipients, answers, ours, strict=True):
        if answer.said and mine:
            means.learn(recipient.address, answer.reply)
    if notice is not None:
        means.journal.noticed(claim.id, notice.id)
    if gone:
        means.journal.removed(claim.id)
    if notice is not None or any(o.state is State.DEFERRED and o.next_attempt < now + _SOON for o in outcomes):
        means.wake()


async def _settled(settlement: Settlement, size: int, means: Means, now: float) -> bool:
    """-> whether the message is gone.  That it was delivered is tried until it is written: what we forget comes twice.

    Such an attempt stays in its feed's hand, so with a queue that takes no outcomes the relaying ends by itself.
    """
    while True:
        try:
            # What is handed to the queue is committed, also when we are told to stop; a notice may not be handed over
            # yet, and a large body has a file that goes after it.  Those are seen to their end in a task of their
            # own (10 us).
            settling = means.queue.settle(settlement, now)
            return await (asyncio.shield(settling) if settlement.notice is not None or size > _SMALL else settling)
        except QueueTrouble as trouble:
            if not any(outcome.state is State.DELIVERED for outcome in settlement.outcomes):
                raise
            means.journal.queue_trouble(f"{settlement.id} was delivered, which cannot be written: {trouble}")
        await asyncio.sleep(_AFTER_TROUBLE)


def _tell(
    claim: Claim, outcomes: tuple[Outcome, ...], asked: Sequence[bounce.Told], means: Means, now: float
) -> tuple[tuple[Outcome, ...], NewEntry | None]:
    """The sender asked to hear of these: the notice, or outcomes that are kept without one."""
    if why := means.returns.silence(claim, means.settings, now):
        return returns.kept(outcomes, {outcome.address for _, outcome, _ in asked}, why, now), None
    notice = bounce.notice(claim, asked, means.settings.hostname, means.routes.next_hop, now)
    return outcomes, replace(notice, routes=means.routes.signature)


async def give_up(claim: Claim, why: str, means: Means) -> None:
    """Older than `lifetime` while its next hop rests: no try, the last error is its reason."""
    await conclude(claim, [Answer(Reply(451, "4.4.1", why))] * len(claim.recipients), means)


def is_too_old(claim: Claim, means: Means) -> bool:
    return schedule.expired(claim.arrived, means.clock(), means.settings.lifetime)


def _nowhere(none: NoHosts, claim: Claim, means: Means) -> Answer:
    """DNS says "never".  Of a domain that is ours we do not believe it: an operator mends DNS, a bounce stays."""
    reply = none.reply
    if any(means.routes.is_ours(recipient.address) for recipient in claim.recipients):
        reply = Reply(451, "4.4.4", reply.text)
    return Answer(reply)


def _log(claim: Claim, outcome: Outcome, now: float, journal: Journal) -> None:
    delay = max(0.0, now - claim.arrived)
    tell = _EVENTS[outcome.state]
    tell(journal, claim.id, outcome.address, outcome.relay, delay, outcome.status, outcome.reason)
