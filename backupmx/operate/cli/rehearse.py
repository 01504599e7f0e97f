"""rehearse: a fire drill for a domain."""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupmx.config import Config
from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config, say, write_json
from backupmx.operate.cli.queue_access import with_queue

if TYPE_CHECKING:
    from backupmx.operate.rehearsal.run import Drill
    from backupmx.operate.rehearsal.step import Step
    from backupmx.queue.sqlite import SqliteQueue


@click.command("rehearse")
@click.argument("domain")
@click.option("--to", "address", metavar="ADDRESS", help="Instead of postmaster@DOMAIN.")
@click.option("--wait", default=120.0, show_default=True, help="Seconds for the primary's 250.")
@config_option
@json_option
def command(domain: str, address: str | None, wait: float, config_file: str | None, as_json: bool) -> None:
    """A fire drill for DOMAIN: a marked message goes in by our own port, is held as if the primary were down,
    is released, and must reach the primary.  No other mail is touched.

    The report is kept in state_dir/rehearsals.  Status 0: it arrived; 1: it did not, and where it failed.
    """
    from backupmx.mail.address import Malformed, check, domain_of
    from backupmx.operate.rehearsal.run import Busy, Drill, alone
    from backupmx.operate.serve.policy import read_routes

    config, domain = load_config(config_file), folded(domain)
    require_ours(config, [domain])
    address = address or f"postmaster@{domain}"
    try:
        check(address)
    except Malformed as trouble:
        raise click.UsageError(f"--to {address}: {trouble}") from None
    if folded(domain_of(address)) != domain:
        raise click.UsageError(f"--to {address}: it is not in {domain}")
    drill = Drill(config, read_routes(config), address, wait)
    folder = config.state_path("rehearsals")

    async def work(queue: "SqliteQueue") -> "list[Step]":
        with alone(folder):
            return await _run(queue, drill, as_json)

    try:
        steps = with_queue(config, work)
        path = _write(folder, config, domain, address, steps)
    except Busy:
        click.echo("backupmx: another rehearsal runs; wait for it", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"backupmx: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    _tell(domain, address, steps, path, as_json)


async def _run(queue: "SqliteQueue", drill: "Drill", as_json: bool) -> "list[Step]":
    from backupmx.operate.rehearsal.run import rehearse

    steps = []
    async for step in rehearse(queue, drill):
        steps.append(step)
        if not as_json:
            say(str(step))
            sys.stdout.flush()
    return steps


def _write(folder: Path, config: Config, domain: str, address: str, steps: "list[Step]") -> Path:
    """The dated report.  Raises OSError."""
    from backupmx.operate.printable import printable
    from backupmx.operate.rehearsal.step import report

    stamp = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime(steps[0].at))
    path = folder / f"{stamp}-{domain.replace(os.sep, '_')}.txt"
    path.write_text("".join(f"{printable(line)}\n" for line in report(config.hostname, address, steps)), "utf-8")
    return path


def _tell(domain: str, address: str, steps: "list[Step]", path: Path, as_json: bool) -> None:
    from backupmx.operate.rehearsal.step import outcome, passed

    good = passed(steps)
    if as_json:
        told = [{**asdict(step), "seconds": round(step.seconds, 3)} for step in steps]
        write_json({"domain": domain, "address": address, "passed": good, "steps": told, "report": str(path)})
    else:
        say(f"{outcome(steps)}; the report is {path}")
    sys.exit(0 if good else 1)
