"""quarantine: mail that a rule discarded and policy kept, or that can be neither delivered nor returned."""

import sys
import time

import click

from backupmx.operate.cli.options import config_option, json_option, load_home, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.verbs import run_verb, unknown
from backupmx.operate.desk import FORGET, FREE, FREE_BY_FORCE, entries
from backupmx.operate.measures import ago, size
from backupmx.queue.entry import QueuedEntry, State
from backupmx.queue.sqlite import SqliteQueue


@click.group("quarantine")
def command() -> None:
    """Mail that a rule discarded and policy kept (rules.discard = "quarantine"), and mail that can neither be
    delivered nor returned, because nobody vouched for its sender."""


def as_object(entry: QueuedEntry) -> dict[str, object]:
    """Pure.  One line of `quarantine list --json`."""
    return {
        "queue_id": entry.id,
        "arrival_time": int(entry.arrived),
        "message_size": entry.size,
        "message_id": entry.message_id,
        "sender": entry.sender,
        "recipients": [r.address for r in entry.recipients],
        "state": _state(entry),
        "reason": why(entry),
    }


def _state(entry: QueuedEntry) -> State:
    """Of its recipients; discarded is the stronger word."""
    return min(r.state for r in entry.recipients)


def why(entry: QueuedEntry) -> str:
    """Pure.  The rule's word, or of unreturned mail the next hop's."""
    return next((r.reason for r in entry.recipients if r.reason), entry.reason)


@command.command("list")
@config_option
@json_option
def list_(config_file: str | None, as_json: bool) -> None:
    """What is kept, oldest first, and why."""

    async def work(queue: SqliteQueue) -> int:
        count = 0
        async for entry in entries(queue.quarantined):
            count += 1
            if as_json:
                write_json(as_object(entry))
            else:
                age = ago(time.time() - entry.arrived)
                say(f"{entry.id}  {size(entry.size):>6}  {age:>7}  {entry.sender or '<>'}  {why(entry)}")
        return count

    count = with_queue(load_home(config_file), work)
    if not as_json:
        say(f"{count} message{'s' if count != 1 else ''} in quarantine" if count else "Quarantine is empty.")


@command.command("show")
@click.argument("id")
@config_option
@json_option
def show(id: str, config_file: str | None, as_json: bool) -> None:
    """One message: who sent it to whom, and why it is here."""

    async def work(queue: SqliteQueue) -> QueuedEntry | None:
        found = await queue.quarantined(id=id)
        return found[0] if found else None

    entry = with_queue(load_home(config_file), work)
    if entry is None:
        unknown(id, "quarantine")
        sys.exit(1)
    if as_json:
        write_json(as_object(entry))
        return
    for name, value in as_object(entry).items():
        say(f"{name:<14} {', '.join(value) if isinstance(value, list) else value}")


@command.command("delete")
@click.argument("ids", nargs=-1, metavar="ID[:ADDRESS]…")
@click.option("--all", "everything", is_flag=True, help="Everything in quarantine.")
@click.option("--yes", is_flag=True, help="With --all: really.")
@config_option
def delete(ids: tuple[str, ...], everything: bool, yes: bool, config_file: str | None) -> None:
    """Remove it for good."""
    run_verb(FORGET, ids, everything, yes, config_file)


@command.command("release")
@click.argument("ids", nargs=-1, required=True, metavar="ID[:ADDRESS]…")
@click.option("--force", is_flag=True, help="Also what an engine called a virus.")
@config_option
def release(ids: tuple[str, ...], force: bool, config_file: str | None) -> None:
    """Relay it after all; the rule that took it is not asked again."""
    run_verb(FREE_BY_FORCE if force else FREE, ids, False, False, config_file)
