"""check dns: our place in the DNS, and what hangs on it."""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config
from backupmx.operate.cli.show_finding import show, summary

if TYPE_CHECKING:
    from backupmx.operate.inspect.finding import Finding


@click.command("dns")
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@config_option
@json_option
def command(domains: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Our place in the DNS: in each domain's MX set, behind its primary; addresses, reverse names and
    greeting that agree; certificates and TLSA records; MTA-STS policies that list us; primaries that answer.

    Without DOMAIN all of ours.  Status 1 when something is wrong or could not be found out.  Whether port 25
    can be reached from outside only somebody outside can tell.
    """
    from backupmx.operate.inspect.names import look
    from backupmx.operate.serve.policy import read_policy

    config = load_config(config_file)
    wanted = [folded(domain) for domain in domains]
    require_ours(config, wanted)
    files = read_policy(config)

    async def run() -> "list[Finding]":
        findings = []
        async for finding in look(config, files, wanted):
            findings.append(finding)
            show(finding, as_json)
        return findings

    sys.exit(summary(asyncio.run(run()), as_json))
