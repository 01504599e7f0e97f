"""queue: what waits, for whom, why, and what to do with it.

An ID is a message's; `ID:ADDRESS` is one recipient of it.  What destroys
wants an ID, or `--all --yes`.
"""

import importlib
import sys
import time
from collections.abc import Mapping, Sequence

import click

from backupmx.operate.cli import refused
from backupmx.operate.cli.options import config_option, json_option, load_home, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.refused import chosen, run
from backupmx.operate.cli.refused import show as show_groups
from backupmx.operate.cli.verbs import run_verb, unknown
from backupmx.operate.desk import (
    DELETE,
    HOLD,
    RELEASE,
    RETRY,
    WAITING,
    Verb,
    entries,
    queue_name,
    why_and_when,
)
from backupmx.operate.groups import changing, groups
from backupmx.operate.groups import entries as entries_of
from backupmx.operate.measures import ago, size
from backupmx.queue.entry import HopState, Queue, QueuedEntry, State
from backupmx.queue.refusals import kind_of
from backupmx.queue.sqlite import SqliteQueue


class Verbs(click.Group):
    """Those here, and those with a module of their own: imported when it is run, not for a listing."""

    _elsewhere = ("export", "import", "return")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted((*super().list_commands(ctx), *self._elsewhere))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._elsewhere:
            return super().get_command(ctx, name)
        found: click.Command = importlib.import_module(f"backupmx.operate.cli.queue_{name}").command
        return found


@click.group("queue", cls=Verbs)
def command() -> None:
    """What waits, and what to do with it.  An ID is a message's; ID:ADDRESS is one recipient of it."""


def as_object(entry: QueuedEntry, hops: Mapping[str, HopState]) -> dict[str, object]:
    """Pure.  One line of `queue list --json`: postqueue -j, and what it lacks."""
    waiting = [r for r in entry.recipients if r.state in WAITING]
    return {
        "queue_name": queue_name(waiting),
        "queue_id": entry.id,
        "arrival_time": int(entry.arrived),
        "message_size": entry.size,
        "sender": entry.sender,
        "recipients": [
            {
                "address": r.address,
                "next_hop": r.next_hop,
                "delay_reason": why,
                "attempts": r.attempts,
                "next_attempt": int(when),
                **({"refusal": str(kind_of(r.reason))} if r.state is State.REFUSED else {}),
            }
            for r, (why, when) in ((r, why_and_when(entry, r, hops)) for r in waiting)
        ],
    }


@command.command("list")
@config_option
@json_option
@click.option("--mailq", "as_mailq", is_flag=True, help="In the shape of Postfix's mailq.")
@refused.group_options
def list_(config_file: str | None, as_json: bool, as_mailq: bool, refused: str | None, reason: str | None) -> None:
    """Everything that waits, oldest first; with --refused what primaries refused, by next hop and kind of reason."""
    choice = chosen(refused, reason)
    if as_mailq:
        if as_json or choice:
            raise click.UsageError("--mailq goes with no other shape or choice")
        _mailq(config_file)
        return

    async def work(queue: SqliteQueue) -> int:
        count = 0
        now, hops = time.time(), await queue.hop_states()
        if choice and not as_json:
            show_groups(await groups(queue, choice), now)
        async for entry in entries_of(queue, choice) if choice else entries(queue.waiting):
            count += 1
            if as_json:
                write_json(as_object(entry, hops))
            else:
                _print(entry, now, hops)
        return count

    count = with_queue(load_home(config_file), work)
    if as_json:
        return
    where = "refused" if choice else "in the queue"
    say(f"{count} message{'s' if count != 1 else ''} {where}" if count or choice else "The queue is empty.")


def _mailq(config_file: str | None) -> None:
    from backupmx.operate.cli import mailq

    async def work(queue: SqliteQueue) -> None:
        count, octets, hops = 0, 0, await queue.hop_states()
        async for entry in entries(queue.waiting):
            if not count:
                say(mailq.HEAD)
            count, octets = count + 1, octets + entry.size
            for line in mailq.lines(entry, hops):
                say(line)
        say(mailq.foot(octets, count) if count else mailq.EMPTY)

    with_queue(load_home(config_file), work)


def _print(entry: QueuedEntry, now: float, hops: Mapping[str, HopState]) -> None:
    waiting = [r for r in entry.recipients if r.state in WAITING]
    head = f"{entry.id}  {queue_name(waiting):<8} {size(entry.size):>6}  {ago(now - entry.arrived):>7}"
    say(f"{head}  {entry.sender or '<>'}")
    for r in waiting:
        why, when = why_and_when(entry, r, hops)
        due = f", next try in {ago(when - now)}" if when > now else ""
        say(f"    {r.address}  via {r.next_hop}{due}{f' ({why})' if why else ''}")


@command.command("show")
@click.argument("id")
@config_option
@json_option
def show(id: str, config_file: str | None, as_json: bool) -> None:
    """One message: envelope and each recipient's state; `queue export` shows the mail itself."""

    async def work(queue: Queue) -> bool:
        found, hops = await queue.waiting(id=id), await queue.hop_states()
        for entry in found:
            if as_json:
                write_json({**as_object(entry, hops), "message_id": entry.message_id, "reason": entry.reason})
                continue
            arrived = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(entry.arrived))
            for name, value in (
                ("id", entry.id), ("sender", entry.sender or "<>"), ("size", entry.size), ("arrived", arrived),
                ("message-id", entry.message_id or "-"), ("reason", entry.reason or "-"),
            ):  # fmt: skip
                say(f"{name:<12}{value}")
            for r in entry.recipients:
                why, _ = why_and_when(entry, r, hops)
                say(f"recipient   {r.address}  {r.state}  via {r.next_hop}  tries {r.attempts}  {why}")
        return bool(found)

    found = with_queue(load_home(config_file), work)
    if not found:
        unknown(id)
        sys.exit(1)


def _verb(verb: Verb, help: str) -> None:
    """Add one verb that changes states: they differ in the states and the words."""

    @command.command(verb.name, help=help)
    @click.argument("ids", nargs=-1, metavar="ID[:ADDRESS]…")
    @click.option("--all", "everything", is_flag=True, help="Every message it applies to.")
    @click.option("--yes", is_flag=True, help="With --all: really.", hidden=not verb.destroys)
    @config_option
    def change(ids: tuple[str, ...], everything: bool, yes: bool, config_file: str | None) -> None:
        run_verb(verb, ids, everything, yes, config_file)


def _group_verb(verb: Verb, help: str) -> None:
    """One that works on what a primary refused too, a group at a time."""

    @command.command(verb.name, help=help)
    @click.argument("ids", nargs=-1, metavar="ID[:ADDRESS]…")
    @click.option("--all", "everything", is_flag=True, help="Every message it applies to.")
    @refused.group_options
    @click.option("--yes", is_flag=True, help="With --refused (or --all, to destroy): really.")
    @config_option
    def change(
        ids: tuple[str, ...], everything: bool, refused: str | None, reason: str | None, yes: bool,
        config_file: str | None,
    ) -> None:  # fmt: skip
        if (choice := chosen(refused, reason, ids, everything)) is not None:
            now = time.time()
            act = changing(verb.becomes, "" if verb.becomes is State.QUEUED else f"{verb.past} by operator", now)
            run(choice, verb.name, verb.past, yes, load_home(config_file), act, now)
        run_verb(verb, ids, everything, yes, config_file)


_verb(HOLD, "Keep it until it is released.")
_verb(RELEASE, "What was held or refused may go.")
_group_verb(RETRY, "Try it now.")
_group_verb(DELETE, "Remove it. The sender is not told.")


@command.command("check")
@config_option
@json_option
def check(config_file: str | None, as_json: bool) -> None:
    """Read everything: database, checksums, body files.  A line for each fault; status 1 when there is one."""

    async def work(queue: SqliteQueue) -> Sequence[str]:
        return await queue.check()

    faults = with_queue(load_home(config_file), work)
    for fault in faults:
        write_json({"fault": fault}) if as_json else say(fault)
    if not as_json:
        say(f"{len(faults)} fault{'s' if len(faults) != 1 else ''}" if faults else "The queue is sound.")
    sys.exit(1 if faults else 0)
