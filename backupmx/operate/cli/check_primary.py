"""check primary: will the primaries take our mail?"""

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config
from backupmx.operate.cli.show_finding import show, summary

if TYPE_CHECKING:
    from backupmx.config import Config
    from backupmx.operate.inspect.finding import Finding
    from backupmx.operate.serve.policy import Files


@click.command("primary")
@click.argument("domains", nargs=-1, metavar="[DOMAIN]...")
@click.option("--spf-sender", metavar="ADDRESS", help="Of a domain with SPF -all, that nobody may send for.")
@config_option
@json_option
def command(domains: tuple[str, ...], spf_sender: str | None, config_file: str | None, as_json: bool) -> None:
    """Are the primaries ready for our mail?  Each is asked as the relay would, without a message: does it take
    our name and address, five connections at once, mail for its postmaster; does it greylist us, know who exists,
    hold SPF against us, know us as its secondary (XCLIENT, XFORWARD)?  Below a finding stands what to write there.

    Without DOMAIN all of ours.  Run it on the secondary itself: what counts is the address we come from.
    """
    from backupmx.mail.address import Malformed, check
    from backupmx.operate.serve.policy import read_policy

    if spf_sender:
        try:
            check(spf_sender)
        except Malformed as trouble:
            raise click.UsageError(f"--spf-sender {spf_sender}: {trouble}") from None
    config = load_config(config_file)
    wanted = [folded(domain) for domain in domains]
    require_ours(config, wanted)
    sys.exit(summary(asyncio.run(_run(config, read_policy(config), wanted, spf_sender, as_json)), as_json))


async def _run(
    config: "Config", files: "Files", domains: list[str], spf_sender: str | None, as_json: bool
) -> "list[Finding]":
    from backupmx.net.dns import DNSTrouble, Resolver
    from backupmx.operate.inspect.names import hops
    from backupmx.operate.inspect.primary import PATIENCE, Question, check
    from backupmx.operate.serve.courier import relay_settings
    from backupmx.recipients.probe import ProbeSettings

    relay = relay_settings(config, files.relay_tls)
    ours = config.relay.bind_address.replace(",", " ").split()
    resolver = Resolver(config.dns.servers)
    findings: list[Finding] = []
    try:
        ours = ours or sorted(await resolver.addresses(config.hostname))
    except DNSTrouble:
        pass  # the stanzas say OUR-ADDRESS then; check dns says why
    settings = ProbeSettings(relay.helo, relay.bind, relay.tls, PATIENCE)
    question = Question((), settings, ours, config.smtp.message_size_limit)
    if spf_sender is not None:
        question = replace(question, sender=spf_sender)
    wanted = domains or [domain for domain in files.routes.relay_domains if not domain.startswith(".")]
    for hop, whose in hops(files.routes, wanted).items():
        async for finding in check(resolver, hop, replace(question, domains=whose)):
            findings.append(finding)
            show(finding, as_json)
    await resolver.close()
    return findings
