"""init: the shipped policy set, written into a directory for an operator to edit."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

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
def command(directory: Path) -> None:
    """Write the shipped policy set into DIRECTORY, never over an existing file.

    Then name this host in backupmx.toml and its primaries in transport.map, and
    ask `backupmx check config -c DIRECTORY/backupmx.toml`.
    """
    try:
        for name in shipped():
            click.echo(f"wrote {directory / name}" if write(directory, name) else f"kept {directory / name}: it exists")
    except OSError as error:
        click.echo(f"backupmx: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
