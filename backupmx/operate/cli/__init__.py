"""cli: the command line, `backupmx NOUN VERB`, one file a noun.

A command's module is imported when the command is run, not before:
`replay-headers` in a loop over a mailbox should not pay for the appliance.

Exit status: 0 = yes, done, nothing found wrong; 1 = no, failed, findings;
2 = wrong usage or unusable configuration, every error at once.
"""

import importlib
import sys

import click

COMMANDS = {
    "init": "write the shipped policy set into a directory",
    "serve": "run the appliance in the foreground",
    "demo": "the whole job on one screen, with the embedded defaults",
    "check": "is it right? the configuration; our place in DNS; engines; the primaries",
    "replay-headers": "what the header rules do to a message, offline",
    "explain": "the whole policy on one message, with engines and DNS; nothing is queued",
    "status": "are the primaries up, what waits for them, since when",
    "page": "the page in a browser: its tokens",
    "metrics": "counts, alarms and engines, as Prometheus reads them",
    "route": "next hops of an address and the line that chose them",
    "lint": "mistakes in rule files",
    "queue": "what waits, and what to do with it",
    "flush": "deliver now what is deferred",
    "pause": "accept a domain's mail and relay none of it: its primary's maintenance",
    "resume": "end a pause",
    "recipients": "who exists, from which list, how old",
    "quarantine": "mail that a rule discarded and policy kept",
    "rehearse": "a fire drill: does a domain's mail go the whole way?",
    "trace": "a message's life, by queue id, Message-ID, sender or recipient",
    "ledger": "the account of all mail: so many in, so many accounted",
}


class Commands(click.Group):
    """Knows every command's name and sentence; imports only the one that runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"backupmx.operate.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked:
        from backupmx import __version__

        click.echo(f"backupmx {__version__}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
def cli() -> None:
    """A secondary MX: takes mail when the primary cannot, checks it, keeps it, brings it."""


def main() -> None:
    """The entry point.  Configuration trouble is status 2 wherever it shows."""
    try:
        cli()
    except Exception as trouble:
        from backupmx.config import ConfigTrouble  # not before: there are commands without

        if not isinstance(trouble, ConfigTrouble):
            raise
        for error in trouble.errors:
            click.echo(f"backupmx: {error}", err=True)
        sys.exit(2)
