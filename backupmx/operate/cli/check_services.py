"""check services: engines and milters, asked now."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.options import config_option, json_option, load_config, write_json

if TYPE_CHECKING:
    from backupmx.operate.services import Service


@click.command("services")
@click.option("--detect", is_flag=True, help="Send EICAR and GTUBE through: do they really find them?")
@config_option
@json_option
def command(detect: bool, config_file: str | None, as_json: bool) -> None:
    """Ask every engine and milter that is listed, and find others that run here.

    Run as root it asks as the user that `serve` runs as: a socket which that user may not open is found out.
    Status 1 when a listed one does not answer or does not find what it should.
    """
    from backupmx.operate.identity import become
    from backupmx.operate.policy import read_policy
    from backupmx.operate.services import USUAL, found_here, present, survey

    config = load_config(config_file)
    routes = read_policy(config).routes
    places = present(USUAL)
    become(config.user)

    async def ask() -> "tuple[list[Service], list[Service]]":
        return await survey(config, routes, detect), await found_here(config, routes, places, detect)

    listed, others = asyncio.run(ask())
    if as_json:
        for service in (*listed, *others):
            write_json({**asdict(service), "seconds": round(service.seconds, 4)})
    else:
        _tell(listed, others)
    sys.exit(0 if all(service.good for service in listed) else 1)


def _tell(listed: "Sequence[Service]", others: "Sequence[Service]") -> None:
    for service in listed:
        click.echo(line(service))
    if not listed:
        click.echo("no engine and no milter is listed")
    if others:
        click.echo("\nrunning here and not listed; to use one, add:")
    for service in others:
        click.echo(f"\n# {line(service)}\n{service.stanza}".rstrip())


def line(service: "Service") -> str:
    """Pure.  "milter opendkim (unix:/run/x.sock): milter protocol 6, 0.4 ms"."""
    where = f" ({service.address})" if service.address else ""
    said = f"{service.detail}, {service.seconds * 1000:.1f} ms" if service.answers else f"AWAY: {service.detail}"
    found = {None: "", True: ", finds the test message", False: ", DOES NOT FIND the test message"}[service.detects]
    return f"{service.kind} {service.name}{where}: {said}{found}"
