"""Pure.  judge: what a next hop said of a recipient becomes its outcome.

    2xx                       delivered
    4xx, no connection, lost  deferred; older than `lifetime`: expired
    5xx                       ours: refused (kept with the primary's words) or
                              bounced, as `relay.on_refusal` says;
                              a stranger's, and our own mail: bounced
    error:, retry:, discard:  bounced, deferred, delivered, as the map says

Postfix bounces each 5xx.  For a secondary that is harsh: a primary in trouble
says 550 to people who exist, and the mail was accepted already.  Our own mail
(a notice) is not kept: nobody waits for it.
Whether the sender of what bounced or expired is told of it: returns.py.
"""

from dataclasses import dataclass

from backupmx.mail.reply import Reply
from backupmx.queue.entry import Claim, ClaimedRecipient, Outcome, State
from backupmx.relay import schedule
from backupmx.relay.settings import RelaySettings


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one recipient at the next hop."""

    reply: Reply
    relay: str = "none"
    """primary1.example.net[192.0.2.1]:25"""
    said: str = ""
    """Who said it, "primary1.example.net[192.0.2.1]"; "": these are our own words."""
    dsn: bool = False
    """The next hop knows DSN and tells of success itself (RFC 3461)."""
    uncertain: bool = False
    """The connection went after the final dot: it may have been taken."""
    policy: bool = False
    """The map's own word (error:): bounced whatever `on_refusal` says."""

    @property
    def reason(self) -> str:
        return f"host {self.said} said: {self.reply}" if self.said else self.reply.text

    @property
    def status(self) -> str:
        return self.reply.status or f"{str(self.reply.code)[0]}.0.0"


def outcome(
    claim: Claim,
    recipient: ClaimedRecipient,
    answer: Answer,
    settings: RelaySettings,
    *,
    ours: bool,
    now: float,
    chance: float,
    again: float | None = None,
) -> Outcome:
    """`again`: when a deferred one is due, instead of by the schedule (a next hop that rests)."""
    state = _state(claim, answer, settings, ours, now)
    reason = str(answer.reply) if state is State.DELIVERED else answer.reason
    due = 0.0
    if state is State.DEFERRED:
        by_schedule = schedule.next_attempt(
            claim.arrived, now, recipient.attempts, retry_min=settings.retry_min, retry_max=settings.retry_max,
            lifetime=settings.lifetime, chance=chance,
        )  # fmt: skip
        due = by_schedule if again is None else again
    return Outcome(recipient.address, state, reason, answer.status, answer.relay, due)


def _state(claim: Claim, answer: Answer, settings: RelaySettings, ours: bool, now: float) -> State:
    if answer.reply.code < 400:
        return State.DELIVERED
    if answer.reply.permanent:
        own = claim.client is None
        kept = ours and not own and settings.on_refusal == "hold" and not answer.policy
        return State.REFUSED if kept else State.BOUNCED
    return State.EXPIRED if schedule.expired(claim.arrived, now, settings.lifetime) else State.DEFERRED
