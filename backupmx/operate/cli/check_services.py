"""check services: engines and milters, asked now."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.options import config_option, json_option, load_config, write_json
from backupmx.operate.measures import moment

if TYPE_CHECKING:
    from backupmx.operate.services import Service


@click.command("services")
@click.option("--detect", is_flag=True, help="Send EICAR and GTUBE through: do they really find them?")
@config_option
@json_option
def command(detect: bool, config_file: str | None, as_json: bool) -> None:
    """Ask every engine and milter that is listed, and find others that run here.

    Run as root it asks as the user that `serve` runs as: a socket which that user may not open is found out.
    Status 1 when a listed one does not answer, does not find what it should, has signatures older than
    checks.virus.max_age, or takes no mail as large as smtp.message_size_limit.
    """
    from backupmx.operate.serve.identity import become
    from backupmx.operate.serve.places import USUAL, present, services
    from backupmx.operate.serve.policy import read_routes
    from backupmx.operate.services import found_here, survey, unheard

    config = load_config(config_file)
    routes = read_routes(config)
    installed = services()
    places = present((*(place for service in installed for place in service.places), *USUAL))
    become(config.user)

    async def ask() -> "tuple[list[Service], list[Service]]":
        return await survey(config, routes, detect), await found_here(config, routes, places, detect)

    listed, others = asyncio.run(ask())
    silent = unheard(installed, (*listed, *others))
    if as_json:
        for service in (*listed, *others, *silent):
            write_json({**asdict(service), "seconds": round(service.seconds, 4)})
    else:
        _tell(listed, others, silent)
    sys.exit(0 if all(service.good for service in listed) else 1)


def _tell(listed: "Sequence[Service]", others: "Sequence[Service]", silent: "Sequence[Service]") -> None:
    for service in listed:
        click.echo(line(service))
    if not listed:
        click.echo("no engine and no milter is listed")
    if others:
        click.echo("\nrunning here and not listed; to use one, add:")
    for service in others:
        click.echo(f"\n# {line(service)}\n{service.stanza}".rstrip())
    if silent:
        click.echo("\ninstalled here, and nobody listens:")
    for service in silent:
        click.echo(f"{service.kind} {service.name} ({service.service})")


def line(service: "Service") -> str:
    """Pure.  "milter opendkim (unix:/run/x.sock): milter protocol 6, 0.4 ms"."""
    where = f" ({service.address})" if service.address else ""
    said = f"{service.detail}, {service.seconds * 1000:.1f} ms" if service.answers else f"AWAY: {service.detail}"
    found = {None: "", True: ", finds the test message", False: ", DOES NOT FIND the test message"}[service.detects]
    busy = f", queue {s.queue}, threads {s.threads} of {s.most_threads}" if (s := service.stats) else ""
    if service.signatures is not None:
        said += f", signatures of {moment(service.signatures)}"
    wrong = f"; TROUBLE: {service.trouble}" if service.trouble else ""
    return f"{service.kind} {service.name}{where}: {said}{busy}{found}{wrong}"
