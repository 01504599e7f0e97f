"""options: what several commands have in common."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backupmx.config import Home, find, home_of
from backupmx.operate.printable import json_text, printable

if TYPE_CHECKING:
    from backupmx.config import Config

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """-c FILE, as every command takes it."""
    return click.option("-c", "--config", "config_file", metavar="FILE", help="The configuration file.")(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(command)


def load_config(config_file: str | None) -> "Config":
    """The configuration a command works with.  Raises ConfigTrouble (status 2)."""
    from backupmx.config import load  # it takes 0.2 s, and there are commands without

    return load(find(config_file))


def load_home(config_file: str | None) -> Home:
    """Where the appliance lives, for a command that only works on its queue.  Raises ConfigTrouble."""
    return home_of(find(config_file))


def write_json(value: object) -> None:
    sys.stdout.write(json_text(value) + "\n")


def say(line: str, *, err: bool = False) -> None:
    """One line for a person; what strangers wrote in it stays harmless."""
    click.echo(printable(line), err=err)


def on_terminal() -> bool:
    """Colour, tables and progress bars are for people; a pipe gets plain lines."""
    return sys.stdout.isatty()
