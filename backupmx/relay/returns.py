"""Pure, but for what Returns remembers.  returns: may the sender be told that his mail failed?

    null sender                            no: it is a notice, and never is there one for a notice
    nobody vouched for the sender          no, unless relay.bounce_to = "all": who is named there may have
                                           written nothing, and a notice would be spam of ours (backscatter)
    relay.bounce_rate notices in an hour   no more to this domain: somebody makes us send them
    else                                   yes, by a notice: bounce.py

    judge --BOUNCED, EXPIRED--> returns --may be told--> bounce.notice
                                        --may not------> UNRETURNED: in quarantine, with the reason

What is UNRETURNED is not lost: it lies in quarantine until the postmaster releases, returns
or deletes it.  A notice of success or of being relayed that may not be sent is not
sent: that mail has arrived.

Our own mail (a notice) has no sender and nobody who waits to hear of it:
it ends, with a line in the log and in the ledger.

Why count an hour and not a bucket?  "20 an hour" is then true of any hour.

Standards: RFC 3834 2 (who answers automatically, and to whom), RFC 5321 6.1 and 4.5.5 (null reverse-path).
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace

from backupmx.mail.address import domain_of
from backupmx.queue.entry import Claim, Outcome, State
from backupmx.relay.settings import RelaySettings

FAILED = (State.BOUNCED, State.EXPIRED)

NULL_SENDER = "it has no sender to be returned to"
UNVOUCHED = "nobody vouched for the sender"
_HOUR = 3600.0


def silence(sender: str, vouched: bool, bounce_to: str) -> str:
    """Why nobody may write to this sender; "": somebody may."""
    if not sender or not domain_of(sender):
        return NULL_SENDER
    return "" if vouched or bounce_to == "all" else UNVOUCHED


def kept(outcomes: Sequence[Outcome], asked: Collection[str], why: str, now: float) -> tuple[Outcome, ...]:
    """The outcomes of a claim whose sender asked to hear of these addresses, and may not: who failed is UNRETURNED."""
    return tuple(_kept(o, why, now) if o.address in asked and o.state in FAILED else o for o in outcomes)


def _kept(outcome: Outcome, why: str, now: float) -> Outcome:
    old = "too old: " if outcome.state is State.EXPIRED else ""
    reason = f"not returned, {why}: {old}{outcome.reason}"
    return replace(outcome, state=State.UNRETURNED, reason=reason, next_attempt=now)


class Returns:
    """The notices of one relay process within the last hour, by sender domain."""

    def __init__(self) -> None:
        self._told: dict[str, deque[float]] = {}
        """Domains in the order in which they were last written to."""

    def silence(self, claim: Claim, settings: RelaySettings, now: float) -> str:
        """Why its sender may not be told; "": he may, and that counts as told."""
        if why := silence(claim.sender, claim.vouched, settings.bounce_to):
            return why
        domain, most = domain_of(claim.sender), settings.bounce_rate
        if most and not self._one_more(domain, most, now):
            return f"{most} notices within an hour went to {domain}"
        return ""

    def _one_more(self, domain: str, most: int, now: float) -> bool:
        self._forget(now - _HOUR)
        times = self._told.get(domain) or deque()
        while times and times[0] <= now - _HOUR:
            times.popleft()
        if len(times) >= most:
            return False
        times.append(now)
        self._told.pop(domain, None)
        self._told[domain] = times
        return True

    def _forget(self, before: float) -> None:
        """Domains that nothing went to since: what is kept is never more than was sent within an hour."""
        while self._told and self._told[oldest := next(iter(self._told))][-1] <= before:
            del self._told[oldest]
