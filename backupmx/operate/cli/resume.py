"""resume: a paused domain's mail goes out again."""

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.queue.sqlite import SqliteQueue


@click.command("resume")
@click.argument("domain")
@config_option
@json_option
def command(domain: str, config_file: str | None, as_json: bool) -> None:
    """End a pause: what waits for DOMAIN goes out as if there had been none."""
    config, domain = load_config(config_file), folded(domain)

    async def work(queue: SqliteQueue) -> tuple[bool, int]:
        waiting = {p.domain: p.recipients for p in await queue.paused()}
        return await queue.resume(domain), waiting.get(domain, 0)

    ended, waiting = with_queue(config, work)
    if not ended:
        require_ours(config, [domain])
    if as_json:
        write_json({"domain": domain, "paused": False, "waiting": waiting})
    else:
        click.echo(f"{domain}: resumed, {waiting} waiting" if ended else f"{domain} is not paused")
