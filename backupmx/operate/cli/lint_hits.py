"""lint --hits: how often each rule of the configured tables matched, and which never did.

    rows(tables, tally) -> Row for each rule, in the order of the files     pure

A count belongs to a line of a file: table, number and text.  A rule that only
moved, because lines were put before it, keeps its count as long as its text
stands in the file once; a rule that was edited begins anew.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from backupmx.config import find, load
from backupmx.journal import RULE_HITS
from backupmx.operate.cli.options import write_json
from backupmx.operate.measures import ago, moment
from backupmx.operate.report import tally
from backupmx.operate.report.tally import Count, Tally
from backupmx.operate.serve.identity import become_owner_of
from backupmx.operate.serve.tables import read_tables
from backupmx.rules.tables import Tables


@dataclass(frozen=True, slots=True)
class Row:
    """One rule."""

    table: str
    line: int
    rule: str
    hits: int
    last: int | None
    """When it last matched, seconds since the epoch; None: never."""
    since: int | None
    """Counted since; None: it has not been in force yet."""


def show(config_file: str | None, as_json: bool) -> None:
    """The whole of the command.  Raises ConfigTrouble, TableTrouble."""
    config = load(find(config_file))
    tables = read_tables(config)
    become_owner_of(config.state_path(""))  # what SQLite makes beside the file must stay the appliance's
    counted = tally.read(config)
    found = list(rows(tables, counted))
    now = time.time()
    for row in found:
        if as_json:
            write_json(asdict(row))
        else:
            click.echo(f"{row.table}:{row.line}: {_said(row, now)}: {row.rule}")
    if counted.trouble:
        click.echo(f"backupmx: {counted.trouble}", err=True)
    if not as_json:
        never = sum(1 for row in found if not row.hits)
        since = f", counting since {moment(counted.began)}" if counted.began else ""
        click.echo(f"{len(found)} rules, {never} of them never matched{since}", err=True)


def rows(tables: Tables, counted: Tally) -> Iterator[Row]:
    """Pure.  Every rule, with what is known of it."""
    rules = [(table.name, rule.line, rule.whole) for table, rule in tables.rules()]
    once = Counter((name, whole) for name, _, whole in rules)
    exact: dict[tuple[str, str, str], list[Count]] = {}
    moved: dict[tuple[str, str], list[Count]] = {}
    for count in counted.named(RULE_HITS):
        labels = count.labels
        exact.setdefault((labels["table"], labels["line"], labels["rule"]), []).append(count)
        moved.setdefault((labels["table"], labels["rule"]), []).append(count)
    for name, line, whole in rules:
        alone = once[name, whole] == 1
        counts = moved.get((name, whole), []) if alone else exact.get((name, str(line), whole), [])
        last = max((count.last for count in counts), default=0.0)
        since = min((count.began for count in counts), default=0.0)
        yield Row(name, line, whole, sum(c.value for c in counts), int(last) or None, int(since) or None)


def _said(row: Row, now: float) -> str:
    if row.since is None:
        return "not in force yet"
    if row.last is None:
        return f"never since {moment(row.since)}"
    return f"{row.hits} {'hit' if row.hits == 1 else 'hits'}, last {ago(max(0.0, now - row.last))} ago"
