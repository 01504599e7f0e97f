"""init: the shipped policy set, written into a directory for an operator to edit."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from backupmx.operate.cli.options import json_option, write_json

SHIPPED = Path(__file__).parents[2] / "policy"
"""policy/ of a checkout (by a link) and of an installed wheel."""

SET = ("backupmx.toml", "header_checks", "transport.map", "spam.toml", "yara/*.yar", "samples/*.eml")
"""What an operator edits, and messages to try it with.  The rest of policy/ is read where it is."""


def shipped() -> Iterator[str]:
    """The files of the set, by their names within it."""
    for pattern in SET:
        for path in sorted(SHIPPED.glob(pattern)):
            yield str(path.relative_to(SHIPPED))


def write(directory: Path, name: str) -> bool:
    """One file of the set.  -> False when a file is there already: it is left as it is.  Raises OSError."""
    target = directory / name
    target.parent.mkdir(parents=True, exist_ok=True)
    content = (SHIPPED / name).read_bytes()
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--from-postfix", "postfix", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Translate the Postfix configuration in DIR (/etc/postfix, or a copy of it) instead.",
)  # fmt: skip
@json_option
def command(directory: Path, postfix: Path | None, as_json: bool) -> None:
    """Write the shipped policy set into DIRECTORY, never over an existing file.

    Then name this host in backupmx.toml and its primaries in transport.map, and
    ask `backupmx check config -c DIRECTORY/backupmx.toml`.

    With --from-postfix both come from main.cf and master.cf, with the files they name; what was taken, what is
    different and what has no counterpart is listed.  Status 1: a file was there already; 2: what is written
    cannot be used as it is, and why.
    """
    if postfix is not None:
        from backupmx.operate.cli import init_postfix

        init_postfix.run(directory, postfix, as_json)
    try:
        done = {name: write(directory, name) for name in shipped()}
    except OSError as error:
        click.echo(f"backupmx: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    if as_json:
        names = [[str(directory / name) for name, wrote in done.items() if wrote is want] for want in (True, False)]
        write_json({"written": names[0], "kept": names[1]})
        return
    for name, wrote in done.items():
        click.echo(f"wrote {directory / name}" if wrote else f"kept {directory / name}: it exists")
