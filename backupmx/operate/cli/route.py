"""route: where mail for an address goes, and which line says so."""

import sys

import click

from backupmx.operate.cli.options import config_option, json_option, load_config, write_json


@click.command("route")
@click.argument("address")
@config_option
@json_option
def command(address: str, config_file: str | None, as_json: bool) -> None:
    """Next hops of ADDRESS and the transport.map line that chose them.

    Status 1 when the address is malformed or its domain is not ours.
    """
    from backupmx.mail.address import Malformed, check
    from backupmx.operate.serve.policy import read_routes

    try:
        check(address)
    except Malformed as trouble:
        click.echo(f"{address}: {trouble}", err=True)
        sys.exit(1)
    routes = read_routes(load_config(config_file))
    ours = routes.is_ours(address) and not routes.is_routed(address)
    route = routes.route(address)
    if as_json:
        write_json(
            {
                "address": address, "ours": ours, "transport": route.transport,
                "next_hop": routes.next_hop(address), "source": route.source,
            }
        )  # fmt: skip
    elif ours:
        click.echo(f"{address}: {routes.next_hop(address)} ({route.source or 'default: the MX of its domain'})")
    else:
        click.echo(f"{address}: not ours, a client that sends to it reads 554 5.7.1 Relay access denied", err=True)
    sys.exit(0 if ours else 1)
