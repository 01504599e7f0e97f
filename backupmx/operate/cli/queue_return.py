"""queue return: an operator gives mail back to its sender.

What waits, and what lies in quarantine because it could not be returned by itself;
not what a rule discarded.  A sender nobody vouched for is told only with --force, a
null sender never.
"""

import sys
import time

import click

from backupmx.config import Config
from backupmx.operate.cli.options import config_option, load_config, say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.verbs import WAITING, split, unknown
from backupmx.queue.entry import State
from backupmx.queue.sqlite import SqliteQueue
from backupmx.relay.returns import UNVOUCHED

_STATES = frozenset({*WAITING, State.UNRETURNED})
_FORCE = "a notice may go to somebody who wrote nothing; --force if you know better, else delete it"
_NEVER = "release it or delete it"


@click.command("return")
@click.argument("ids", nargs=-1, required=True, metavar="ID[:ADDRESS]…")
@click.option("--force", is_flag=True, help="Also when neither SPF nor DKIM stood for the sender.")
@config_option
def command(ids: tuple[str, ...], force: bool, config_file: str | None) -> None:
    """Give it back: the sender gets a notice (RFC 3464), the mail leaves the queue."""
    config = load_config(config_file)

    async def work(queue: SqliteQueue) -> bool:
        desk = Desk(queue, config, force)
        return all([await desk.give_back(target) for target in ids])

    sys.exit(0 if with_queue(config, work) else 1)


class Desk:
    """Returns one after the other."""

    def __init__(self, queue: SqliteQueue, config: Config, force: bool) -> None:
        from backupmx.operate.policy import read_routes

        self._queue, self._hostname = queue, config.hostname
        self._routes = read_routes(config)
        self._bounce_to = "all" if force else config.relay.bounce_to

    async def give_back(self, target: str) -> bool:
        """ID or ID:ADDRESS.  Says what came of it."""
        from backupmx.relay.bounce import return_to_sender

        id, address = split(target)
        done = await return_to_sender(
            self._queue, id, address, self._routes.next_hop, self._hostname, time.time(),
            bounce_to=self._bounce_to, states=_STATES,
        )  # fmt: skip
        if done.many:
            say(f"{target}: returned")
        elif done.why:
            say(f"backupmx: {target}: {done.why}: {_FORCE if done.why == UNVOUCHED else _NEVER}", err=True)
        else:
            unknown(target)
        return bool(done.many)
