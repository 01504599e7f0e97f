"""lint: mistakes in rule files, with what to write instead.

Exit status: 0 none, 1 findings, 2 a table cannot be read.  With --hits, which
counts and finds nothing, 0.
"""

import sys
from dataclasses import asdict

import click

from backupmx.operate.cli.options import write_json
from backupmx.operate.serve.tables import TableTrouble, read_table
from backupmx.rules.lint import Finding, lint, together
from backupmx.rules.smells import Role

_ROLES: tuple[Role, ...] = ("header", "mime", "nested", "body", "milter")


@click.command("lint")
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@click.option("--role", type=click.Choice(_ROLES), default="header", show_default=True, help="What the TABLEs are for.")
@click.option("--hits", is_flag=True, help="How often each rule of the configuration matched, and when last.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding, a line each.")
@click.option("-c", "--config", "config_file", metavar="FILE", help="The configuration file.")
def command(tables: tuple[str, ...], role: Role, hits: bool, as_json: bool, config_file: str | None) -> None:
    """Mistakes in rule files: FILE:LINE, what happens, what to write instead.

    A TABLE is [pcre:|regexp:]PATH.  Without one, all tables of the configuration.
    """
    if hits:
        _hits(tables, as_json, config_file)
        return
    named = [(table, role) for table in tables] or configured(config_file)
    findings: list[Finding] = []
    unreadable = False
    for spec, used_as in named:
        try:
            findings += lint(read_table(spec), used_as)
        except TableTrouble as trouble:
            unreadable = True
            click.echo(f"backupmx: {trouble}", err=True)
    found = list(dict.fromkeys(findings))  # one file may be several tables
    _tell(found, as_json)
    if not as_json and not unreadable:
        tables_read = "1 table" if len(named) == 1 else f"{len(named)} tables"
        click.echo(f"{tables_read}, {len(found) or 'no'} findings", err=True)
    sys.exit(2 if unreadable else 1 if found else 0)


def _tell(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        for finding in findings:
            write_json(asdict(finding))
    else:
        for sentence in together(findings):
            click.echo(sentence)


def _hits(tables: tuple[str, ...], as_json: bool, config_file: str | None) -> None:
    from backupmx.operate.cli import lint_hits

    if tables:
        raise click.UsageError("--hits knows the tables of the configuration: name none")
    try:
        lint_hits.show(config_file, as_json)
    except TableTrouble as trouble:
        click.echo(f"backupmx: {trouble}", err=True)
        sys.exit(2)


def configured(config_file: str | None) -> list[tuple[str, Role]]:
    """The configuration's tables with their roles, each file once a role.  Raises ConfigTrouble."""
    from backupmx.config import find, load

    config = load(find(config_file))
    named = [(spec, role) for spec, role in zip(config.rules.specs, _ROLES, strict=True) if spec]
    header = config.rules.header_checks
    return [(config.table(spec), role) for spec, role in named if (spec, role) != (header, "milter")]
