"""queue return: an operator gives mail back to its sender.

What waits, and what lies in quarantine because it could not be returned by itself;
not what a rule discarded.  A sender nobody vouched for is told only with --force, a
null sender never.
"""

import sys
import time

import click

from backupmx.config import Config
from backupmx.operate.cli import refused
from backupmx.operate.cli.options import config_option, load_config, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.refused import chosen, run
from backupmx.operate.cli.verbs import split, unknown
from backupmx.operate.desk import RETURNABLE, give_back, refused_addresses
from backupmx.queue.entry import QueuedEntry, State
from backupmx.queue.sqlite import SqliteQueue


@click.command("return")
@click.argument("ids", nargs=-1, metavar="ID[:ADDRESS]…")
@click.option("--force", is_flag=True, help="Also when neither SPF nor DKIM stood for the sender.")
@refused.group_options
@click.option("--yes", is_flag=True, help="With --refused: really.")
@config_option
def command(
    ids: tuple[str, ...], force: bool, refused: str | None, reason: str | None, yes: bool, config_file: str | None
) -> None:
    """Give it back: the sender gets a notice (RFC 3464), the mail leaves the queue."""
    choice = chosen(refused, reason, ids)
    if not ids and choice is None:
        raise click.UsageError("name IDs, or --refused")
    config = load_config(config_file)
    desk = Desk(config, force)
    if choice is not None:
        run(choice, "return", "returned", yes, config, desk.give_group_back, time.time())

    async def work(queue: SqliteQueue) -> bool:
        return all([await desk.give_back(queue, target, RETURNABLE) for target in ids])

    sys.exit(0 if with_queue(config, work) else 1)


class Desk:
    """Returns one after the other."""

    def __init__(self, config: Config, force: bool) -> None:
        from backupmx.operate.serve.policy import read_routes

        self._hostname, self._routes = config.hostname, read_routes(config)
        self._bounce_to = "all" if force else config.relay.bounce_to

    async def give_back(self, queue: SqliteQueue, target: str, states: frozenset[State]) -> int:
        """ID or ID:ADDRESS.  Says what came of it.  -> how many recipients"""
        id, address = split(target)
        done = await give_back(
            queue, self._routes, self._hostname, id, address, bounce_to=self._bounce_to, states=states
        )
        if done.many:
            say(f"{target}: returned")
        elif done.why:
            say(f"backupmx: {target}: {done.why}", err=True)
        else:
            unknown(target)
        return done.many

    async def give_group_back(self, queue: SqliteQueue, entry: QueuedEntry) -> int:
        """One notice a message, when all that was refused of it is meant."""
        refused, many = frozenset({State.REFUSED}), 0
        for address in await refused_addresses(queue, entry):
            many += await self.give_back(queue, f"{entry.id}:{address}" if address else entry.id, refused)
        return many
