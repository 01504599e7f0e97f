"""ledger: the account of all mail.

    1,204 in, 1,204 accounted

What came in is what waits and what has its end.  If it is not, each day and
domain that something is missing of is named, and the status is 1.
"""

import datetime
import sys
import time
from collections.abc import Mapping, Sequence

import click

from backupmx.operate.cli.options import config_option, json_option, load_home, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.queue.account import PRUNED, Sheet, date_of, total
from backupmx.queue.entry import QUARANTINE
from backupmx.queue.rows import day_of
from backupmx.queue.sqlite import SqliteQueue


class Day(click.ParamType[int]):
    """A date, as days since the epoch."""

    name = "day"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        back = {"today": 0, "yesterday": 1}.get(value)
        if back is not None:
            return day_of(time.time()) - back
        try:
            return (datetime.date.fromisoformat(value) - date_of(0)).days
        except ValueError:
            self.fail(f"{value!r} is no date: write 2026-11-24, today or yesterday", param, ctx)


@click.command("ledger")
@click.option("--domain", default="", help="Only recipients in this domain.")
@click.option("--day", type=Day(), help="Only mail that arrived on this day (UTC): 2026-11-24, today, yesterday.")
@config_option
@json_option
def command(domain: str, day: int | None, config_file: str | None, as_json: bool) -> None:
    """The account of all mail: what came in, and where each recipient of it is.

    Status 1 when something is missing, or when nothing of this domain ever came in.
    """

    async def work(queue: SqliteQueue) -> tuple[Sequence[Sheet], bool]:
        sheets = await queue.account(domain, day)
        return sheets, bool(sheets or not domain or await queue.account(domain))

    sheets, known = with_queue(load_home(config_file), work)
    if not known:
        say(f"backupmx: no mail for {domain} in the account", err=True)
        sys.exit(1)
    if as_json:
        for sheet in sheets:
            write_json(as_object(sheet))
    else:
        _print(sheets)
    sys.exit(1 if any(sheet.missing for sheet in sheets) else 0)


def as_object(sheet: Sheet) -> dict[str, object]:
    """Pure.  One line of `ledger --json`: a day of a domain."""
    return {
        "day": str(date_of(sheet.day)),
        "domain": sheet.domain,
        "own_notices": sheet.own,
        "in": sheet.came,
        "accounted": sheet.accounted,
        "missing": sheet.missing,
        "waiting": dict(sheet.waiting),
        "ended": dict(sheet.ended),
    }


def _print(sheets: Sequence[Sheet]) -> None:
    for line in _summary([sheet for sheet in sheets if not sheet.own]):
        click.echo(line)
    if own := [sheet for sheet in sheets if sheet.own]:
        head, *lines = _summary(own)
        click.echo(f"Our own notices: {head}")
        for line in lines:
            click.echo(line)
    for sheet in sheets:
        if sheet.missing:
            click.echo(f"MISSING  {sheet}" if sheet.missing > 0 else f"TOO MANY {sheet}")


def _summary(sheets: Sequence[Sheet]) -> list[str]:
    """Pure.  The sum of these, and where it is."""
    came, accounted = sum(s.came for s in sheets), sum(s.accounted for s in sheets)
    waiting, ended = total(sheets, "waiting"), total(sheets, "ended")
    kept = {state: many for state, many in waiting.items() if state in QUARANTINE}
    queued = {state: many for state, many in waiting.items() if state not in QUARANTINE}
    old = ended.pop(PRUNED, 0)
    lines = [f"{came:,} in, {accounted:,} accounted"]
    for where, split in (("waiting", queued), ("in quarantine", kept), ("ended", ended)):
        if split:
            lines.append(f"  {sum(split.values()):,} {where}: {_split(split)}")
    return [*lines, f"  {old:,} ended longer ago than ledger.keep"] if old else lines


def _split(split: Mapping[str, int]) -> str:
    return ", ".join(f"{many:,} {state}" for state, many in sorted(split.items(), key=lambda one: (-one[1], one[0])))
