"""pause: accept a domain's mail and relay none of it, while its primary is in maintenance."""

import time

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config, write_json
from backupmx.operate.cli.queue_access import with_queue


@click.command("pause")
@click.argument("domain")
@config_option
@json_option
def command(domain: str, config_file: str | None, as_json: bool) -> None:
    """Accept mail for DOMAIN but do not relay it, over restarts too, until `backupmx resume DOMAIN`.

    Deliveries under way end.  Nothing is given up meanwhile, however old it gets.
    """
    config, domain = load_config(config_file), folded(domain)
    require_ours(config, [domain])
    waiting = with_queue(config, lambda queue: queue.pause(domain, time.time()))
    if as_json:
        write_json({"domain": domain, "paused": True, "waiting": waiting})
    else:
        click.echo(f"{domain}: paused, {waiting} waiting; `backupmx resume {domain}` ends it")
