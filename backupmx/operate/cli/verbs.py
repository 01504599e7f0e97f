"""verbs: hold, release, retry, delete: an operator's words on queued mail.

A verb says which states it applies to, so that `retry` does not free what was
held and `queue delete --all` does not empty the quarantine.
"""

import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import click

from backupmx.operate.cli.options import load_config, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.queue.entry import Queue, QueuedEntry, State
from backupmx.queue.sqlite import SqliteQueue

MOVING = (State.QUEUED, State.DEFERRED, State.REFUSED)
WAITING = (*MOVING, State.HELD)
_PAGE = 1000


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

    def pages(self, queue: SqliteQueue) -> Callable[..., Awaitable[Sequence[QueuedEntry]]]:
        return queue.quarantined if self.quarantine else queue.waiting


async def entries(pages: Callable[..., Awaitable[Sequence[QueuedEntry]]]) -> AsyncIterator[QueuedEntry]:
    """All that `queue.waiting` or `queue.quarantined` has, oldest first, a page at a time."""
    after = ""
    while page := await pages(after=after, limit=_PAGE):
        for entry in page:
            yield entry
        after = page[-1].id


def split(target: str) -> tuple[str, str]:
    """Pure.  "ID:ADDRESS" -> (ID, ADDRESS); "ID" -> (ID, "")."""
    id, _, address = target.partition(":")
    return id, address


def unknown(target: str) -> None:
    say(f"backupmx: no message {target} in the queue", err=True)


def run_verb(verb: Verb, ids: tuple[str, ...], everything: bool, yes: bool, config_file: str | None) -> None:
    """The whole of such a command.  Status 1 when an ID is not there or the verb does not apply to it."""
    if bool(ids) == everything:
        raise click.UsageError("name IDs, or --all")
    if verb.destroys and everything and not yes:
        raise click.UsageError("--all destroys all of it: add --yes")

    async def work(queue: SqliteQueue) -> bool:
        pages = verb.pages(queue)
        if everything:
            async for entry in entries(pages):
                await apply(queue, verb, entry, "")
            return True
        good = True
        for target in ids:
            id, address = split(target)
            found = await pages(id=id)
            good = bool(found) and await apply(queue, verb, found[0], address, target) and good
            if not found:
                unknown(target)
        return good

    sys.exit(0 if with_queue(load_config(config_file), work) else 1)


async def apply(queue: Queue, verb: Verb, entry: QueuedEntry, address: str, target: str = "") -> bool:
    """The verb on one entry, or on one recipient of it.  `target`: complain under this name when it does not fit."""
    if any(word in entry.reason for word in verb.refuses):
        say(f"backupmx: {target}: {entry.reason}: {verb.name} it with --force if you must", err=True)
        return False
    named = [r for r in entry.recipients if not address or r.address == address]
    fit = [r for r in named if r.state in verb.applies_to]
    changed = 0
    for recipient in fit:
        changed += await queue.change(
            entry.id, recipient.address, verb.becomes, now=time.time(), reason=_reason(verb, recipient.reason)
        )
    if changed:
        say(f"{target or entry.id}: {verb.past}")
    elif target:
        _complain(verb, target, [r.state for r in named], bool(fit))
    return bool(changed)


def _reason(verb: Verb, before: str) -> str:
    """What the primary said stays to be read until the next attempt says more."""
    return f"{verb.past} by operator" if verb.becomes is not State.QUEUED else before


def _complain(verb: Verb, target: str, states: Sequence[State], leased: bool) -> None:
    if not states:
        unknown(target)
    elif leased:
        say(f"backupmx: {target} is being delivered right now; try again", err=True)
    else:
        say(f"backupmx: {target} is {states[0]}: {verb.name} does not apply", err=True)
