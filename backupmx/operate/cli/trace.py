"""trace: a message's life, from the queue and from the account of all mail."""

import sys
import time
from collections.abc import Sequence

import click

from backupmx.operate.cli.options import config_option, json_option, load_home, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.measures import ago, clock, size
from backupmx.queue.account import Fate, Life
from backupmx.queue.sqlite import SqliteQueue

_MOST = 1000


@click.command("trace")
@click.argument("word")
@config_option
@json_option
def command(word: str, config_file: str | None, as_json: bool) -> None:
    """What became of a message: WORD is a queue id, a Message-ID, a sender or a recipient.

    Oldest first.  Status 1 when there is none in the queue nor in the account (ledger.keep).
    """

    async def work(queue: SqliteQueue) -> Sequence[Life]:
        return await queue.trace(word, _MOST + 1)

    lives = with_queue(load_home(config_file), work)
    now = time.time()
    for life in lives[:_MOST]:
        if as_json:
            write_json(as_object(life))
        else:
            _print(life, now)
    if len(lives) > _MOST:
        say(f"backupmx: the oldest {_MOST:,} messages; there are more: name one of them", err=True)
    if not lives:
        say(f"backupmx: nothing known of {word}", err=True)
    sys.exit(0 if lives else 1)


def as_object(life: Life) -> dict[str, object]:
    """Pure.  One line of `trace --json`: the words of `queue list --json`, and what became of each recipient."""
    return {
        "queue_id": life.id,
        "arrival_time": int(life.arrived),
        "message_size": life.size,
        "message_id": life.message_id,
        "sender": life.sender,
        "own_notice": life.own,
        "redirected_from": list(life.redirected),
        "recipients": [
            {
                "address": fate.address,
                "state": fate.state,
                "waiting": fate.ended is None,
                "ended": None if fate.ended is None else int(fate.ended),
                "attempts": fate.attempts,
                "next_attempt": int(fate.next_attempt),
                "relay": fate.relay,
                "reason": fate.reason,
                "stands_for": fate.many,
            }
            for fate in life.fates
        ],
    }


def _print(life: Life, now: float) -> None:
    own = "  (our own notice)" if life.own else ""
    named = f"{life.sender or '<>'}  {life.message_id}{own}"
    say(f"{life.id}  {clock(life.arrived)}  {size(life.size):>6}  from {named}")
    if life.redirected:
        say(f"    redirected; it was for {', '.join(life.redirected)}")
    for fate in life.fates:
        say(f"    {fate.address}  {_what(fate, now)}")


def _what(fate: Fate, now: float) -> str:
    """Pure.  One recipient's line."""
    where = f" via {fate.relay}" if fate.relay not in ("", "none") else ""
    tries = f", {fate.attempts} {'try' if fate.attempts == 1 else 'tries'}" if fate.attempts else ""
    for_all = f", for {fate.many} recipients" if fate.many != 1 else ""
    why = f" ({fate.reason})" if fate.reason else ""
    if fate.ended is not None:
        return f"{fate.state} {clock(fate.ended)}{where}{tries}{for_all}{why}"
    due = f", next try in {ago(fate.next_attempt - now)}" if fate.next_attempt > now else ""
    return f"waits: {fate.state}{where}{tries}{due}{for_all}{why}"
