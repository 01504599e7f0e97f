"""verbs: hold, release, retry, delete as commands: which mail, and what came of it (operate/desk.py does it)."""

import asyncio
import sys

import click

from backupmx.operate.cli.options import load_home, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.desk import Verb, act_on
from backupmx.queue.entry import QueuedEntry
from backupmx.queue.sqlite import SqliteQueue


def split(target: str) -> tuple[str, str]:
    """Pure.  "ID:ADDRESS" -> (ID, ADDRESS); "ID" -> (ID, "")."""
    id, _, address = target.partition(":")
    return id, address


def unknown(target: str, where: str = "the queue") -> None:
    say(f"backupmx: no message {target} in {where}", err=True)


def run_verb(verb: Verb, ids: tuple[str, ...], everything: bool, yes: bool, config_file: str | None) -> None:
    """The whole of such a command.  Status 1 when an ID is not there or the verb does not apply to it."""
    if bool(ids) == everything:
        raise click.UsageError("name IDs, or --all")
    if verb.destroys and everything and not yes:
        raise click.UsageError("--all destroys all of it: add --yes")

    async def work(queue: SqliteQueue) -> bool:
        pages = verb.pages(queue)
        if everything:
            await apply_to_all(queue, verb)
            return True
        good = True
        for target in ids:
            id, address = split(target)
            found = await pages(id=id)
            good = bool(found) and await apply(queue, verb, found[0], address, target) and good
            if not found:
                unknown(target, _where(verb))
        return good

    sys.exit(0 if with_queue(load_home(config_file), work) else 1)


def _where(verb: Verb) -> str:
    return "quarantine" if verb.quarantine else "the queue"


async def apply_to_all(queue: SqliteQueue, verb: Verb) -> None:
    """A page together: its commits gather."""
    pages, after = verb.pages(queue), ""
    while page := await pages(after=after):
        await asyncio.gather(*(apply(queue, verb, entry, "") for entry in page))
        after = page[-1].id


async def apply(queue: SqliteQueue, verb: Verb, entry: QueuedEntry, address: str, target: str = "") -> bool:
    """The verb on one entry, or on one recipient of it.  `target`: complain under this name when it does not fit."""
    done = await act_on(queue, verb, entry, address)
    if done.many:
        say(f"{target or entry.id}: {verb.past}")
    elif target and done.unknown:
        unknown(target, _where(verb))
    elif target:
        say(f"backupmx: {target}: {done.why}", err=True)
    return bool(done.many)
