"""refused: what primaries refused, a group at a time: queue list, retry, return, delete --refused [NEXTHOP].

A group is named by its next hop, or its host alone, and a kind of reason.  What a
verb would do is shown; it is done with --yes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

import click

from backupmx.config import Housed
from backupmx.operate.cli.options import say
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.groups import ANY, Act, Choice, act_on_all, groups
from backupmx.operate.measures import ago
from backupmx.queue.refusals import Group, Kind, line
from backupmx.queue.sqlite import SqliteQueue

F = TypeVar("F", bound=Callable[..., Any])


def group_options(command: F) -> F:
    """--refused [NEXTHOP] and --reason KIND."""
    kinds = click.Choice([str(kind) for kind in Kind])
    for option in (
        click.option("--reason", metavar="KIND", type=kinds, help=f"With --refused: {', '.join(Kind)}."),
        click.option(
            "--refused", is_flag=False, flag_value=ANY, metavar="[NEXTHOP]",
            help="What primaries refused, or this one.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def chosen(refused: str | None, reason: str | None, ids: Sequence[str] = (), everything: bool = False) -> Choice | None:
    """What the options say; None: nothing of groups.  Raises UsageError."""
    if refused is None:
        if reason:
            raise click.UsageError("--reason goes with --refused")
        return None
    if ids or everything:
        raise click.UsageError("--refused names its mail itself: no IDs, no --all")
    return Choice(refused, reason)


def by_hop(groups: Iterable[Group]) -> Iterator[tuple[str, list[Group]]]:
    for next_hop, those in groupby(groups, key=lambda group: group.next_hop):
        yield next_hop, list(those)


def show(groups: Iterable[Group], now: float) -> None:
    """ "smtp:[primary1]:25 refused 7: 5 × unknown user, 2 × content", and the last words of each kind."""
    for next_hop, those in by_hop(groups):
        say(f"{next_hop} {line(those)}")
        for group in those:
            say(f"    {group.kind}  {group.recipients}, the oldest for {ago(now - group.oldest)}: {group.example}")


def run(choice: Choice, name: str, past: str, yes: bool, config: Housed, act: Act, now: float) -> None:
    """The whole of such a command.  Status 1 when it is only shown, or was not done to all of them."""

    async def work(queue: SqliteQueue) -> bool:
        found = await groups(queue, choice)
        many = sum(group.recipients for group in found)
        if not many:
            say("Nothing of that kind is refused.")
            return True
        show(found, now)
        if not yes:
            say(f"Would {name} {many} recipient{'s' if many != 1 else ''}: add --yes")
            return False
        done = await act_on_all(queue, choice, act)
        say(f"{done} recipient{'s' if done != 1 else ''} {past}{f', {many - done} not' if done < many else ''}")
        return done >= many

    sys.exit(0 if with_queue(config, work) else 1)
