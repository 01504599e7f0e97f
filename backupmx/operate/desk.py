"""desk: hold, release, retry, delete, return: an operator's words on queued mail, and what came of each.

    backupmx queue hold ID ──┐
    the page's buttons ──────┼─► act, give_back ─► the queue
    POST /api/messages/ID ───┘

The command line and the page say the same words here; only how they tell the outcome
is their own.  A verb says which states it applies to, so that `retry` does not free what was
held and `queue delete --all` does not empty the quarantine.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupmx.mail.address import domain_of
from backupmx.queue.entry import QUARANTINE, VIRUS, HopState, QueuedEntry, QueuedRecipient, State
from backupmx.queue.legible import is_marked
from backupmx.queue.sqlite import SqliteQueue

if TYPE_CHECKING:
    from backupmx.route.routes import Routes

MOVING = (State.QUEUED, State.DEFERRED, State.REFUSED)
WAITING = (State.QUEUED, State.DEFERRED, State.HELD, State.REFUSED)
RETURNABLE = frozenset({*WAITING, State.UNRETURNED})
"""What rules discarded is not returned: the client read 250, and whoever wrote it shall not learn more."""
_PAGE = 1000
_NAMES = {State.QUEUED: "incoming", State.DEFERRED: "deferred", State.HELD: "hold", State.REFUSED: "refused"}

Pages = Callable[..., Awaitable[Sequence[QueuedEntry]]]


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    applies_to: tuple[State, ...]
    becomes: State
    past: str
    destroys: bool = False
    quarantine: bool = False
    """It works on what a rule discarded; else on the queue."""
    refuses: tuple[str, ...] = ()
    """Words in an entry's reason that want --force."""

    def pages(self, queue: SqliteQueue) -> Pages:
        return queue.quarantined if self.quarantine else queue.waiting


HOLD = Verb("hold", MOVING, State.HELD, "held")
RELEASE = Verb("release", (State.HELD, State.REFUSED), State.QUEUED, "released")
RETRY = Verb("retry", MOVING, State.QUEUED, "due now")
DELETE = Verb("delete", WAITING, State.DELETED, "deleted", destroys=True)
FREE = Verb("release", tuple(QUARANTINE), State.QUEUED, "released", quarantine=True, refuses=(VIRUS,))
FREE_BY_FORCE = Verb("release", tuple(QUARANTINE), State.QUEUED, "released", quarantine=True)
FORGET = Verb("delete", tuple(QUARANTINE), State.DELETED, "deleted", destroys=True, quarantine=True)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one word."""

    many: int
    """Recipients that it changed."""
    why: str = ""
    """Why none was; "" also when nothing of that name is there."""

    @property
    def unknown(self) -> bool:
        return not self.many and not self.why


async def entries(pages: Pages) -> AsyncIterator[QueuedEntry]:
    """All that `queue.waiting` or `queue.quarantined` has, oldest first, a page at a time."""
    after = ""
    while page := await pages(after=after, limit=_PAGE):
        for entry in page:
            yield entry
        after = page[-1].id


async def act(queue: SqliteQueue, verb: Verb, id: str, address: str = "") -> Done:
    """The verb on a message, or on one recipient of it."""
    found = await verb.pages(queue)(id=id)
    return await act_on(queue, verb, found[0], address) if found else Done(0)


async def act_on(queue: SqliteQueue, verb: Verb, entry: QueuedEntry, address: str = "") -> Done:
    """The same of an entry that was read already."""
    if any(word in entry.reason for word in verb.refuses):
        return Done(0, f"{entry.reason}: {verb.name} it with --force if you must")
    named = [r for r in entry.recipients if not address or r.address == address]
    changed = 0
    for recipient in [r for r in named if r.state in verb.applies_to]:
        changed += await queue.change(
            entry.id, _named(recipient), verb.becomes, now=time.time(), reason=_reason(verb, recipient.reason),
            was=frozenset(verb.applies_to),
        )  # fmt: skip
    return Done(changed, "" if changed else _why_not(verb, [r.state for r in named]))


def _named(recipient: QueuedRecipient) -> str:
    """Nobody can name a damaged address: then it is all that the verb applies to."""
    return "" if is_marked((recipient.address,)) else recipient.address


def _reason(verb: Verb, before: str) -> str:
    """What the primary said stays to be read until the next attempt says more."""
    return f"{verb.past} by operator" if verb.becomes is not State.QUEUED else before


def _why_not(verb: Verb, states: Sequence[State]) -> str:
    """Pure.  What fits and yet did not change is in another state by now: an attempt, or another operator."""
    if not states:
        return ""
    if any(state in verb.applies_to for state in states):
        return "it has gone on meanwhile; look again"
    return f"it is {states[0]}: {verb.name} does not apply"


async def give_back(
    queue: SqliteQueue, routes: "Routes", hostname: str, id: str, address: str = "",
    *, bounce_to: str, states: frozenset[State] = RETURNABLE,
) -> Done:  # fmt: skip
    """Return it: the sender gets a notice (RFC 3464), the mail leaves the queue.

    `bounce_to`: relay.bounce_to, or "all" when the operator insists.
    """
    from backupmx.relay.bounce import return_to_sender  # it makes messages; a listing does not want that
    from backupmx.relay.returns import UNVOUCHED

    done = await return_to_sender(
        queue, id, address, routes.next_hop, hostname, time.time(), bounce_to=bounce_to, states=states
    )
    return Done(done.many, f"{done.why}: {_REMEDY[done.why == UNVOUCHED]}" if done.why else "")


async def refused_addresses(queue: SqliteQueue, chosen: QueuedEntry) -> list[str]:
    """Of a message's refused recipients those that are chosen; [""] when it is all of them: one notice is enough."""
    of_all = [r for found in await queue.refused(id=chosen.id) for r in found.recipients if r.state is State.REFUSED]
    return [""] if len(of_all) == len(chosen.recipients) else [r.address for r in chosen.recipients]


_REMEDY = {
    True: "a notice may go to somebody who wrote nothing; --force if you know better, else delete it",
    False: "release it or delete it",
}


def queue_name(recipients: Iterable[QueuedRecipient]) -> str:
    """Pure.  Postfix's name for where an entry is: active while an attempt has it, then the worst first."""
    states = list(recipients)
    if any(r.leased for r in states):
        return "active"
    for state in (State.REFUSED, State.HELD, State.DEFERRED):
        if any(r.state is state for r in states):
            return _NAMES[state]
    return "incoming"


def why_and_when(entry: QueuedEntry, recipient: QueuedRecipient, hops: Mapping[str, HopState]) -> tuple[str, float]:
    """Pure.  Why it waits and when it is tried next.

    Of what waits for a next hop that is down only a few messages are tried; for the others its error is the reason.
    """
    if recipient.paused and recipient.state in (State.QUEUED, State.DEFERRED):
        words = f"{domain_of(recipient.address)} is paused"
        return f"{words}; last: {recipient.reason}" if recipient.reason else words, 0.0
    hop = hops.get(recipient.next_hop)
    if recipient.state not in MOVING or recipient.state is State.REFUSED or hop is None or hop.up is not False:
        return recipient.reason or entry.reason, recipient.next_attempt
    return recipient.reason or entry.reason or hop.error, max(recipient.next_attempt, hop.probe_at)
