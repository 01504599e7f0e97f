"""check primary: will the primaries take our mail?"""

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config
from backupmx.operate.cli.show_finding import show, summary

if TYPE_CHECKING:
    from backupmx.config import Config
    from backupmx.net.dns import Resolver
    from backupmx.operate.inspect.finding import Finding


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

    if spf_sender:
        try:
            check(spf_sender)
        except Malformed as trouble:
            raise click.UsageError(f"--spf-sender {spf_sender}: {trouble}") from None
    config = load_config(config_file)
    wanted = [folded(domain) for domain in domains]
    require_ours(config, wanted)
    sys.exit(summary(asyncio.run(_run(config, wanted, spf_sender, as_json)), as_json))


async def _run(config: "Config", domains: list[str], spf_sender: str | None, as_json: bool) -> "list[Finding]":
    from backupmx.net.dns import Resolver
    from backupmx.operate.inspect.names import hops
    from backupmx.operate.inspect.primary import STRANGER, Question, check
    from backupmx.operate.serve.courier import relay_settings
    from backupmx.operate.serve.policy import read_relay_tls, read_routes
    from backupmx.recipients.probe import ProbeSettings

    routes, relay = read_routes(config), relay_settings(config, read_relay_tls(config))
    settings = ProbeSettings(relay.helo, relay.bind, relay.tls)
    sender = STRANGER if spf_sender is None else spf_sender
    wanted = domains or [domain for domain in routes.relay_domains if not domain.startswith(".")]
    resolver = Resolver(config.dns.servers)
    findings: list[Finding] = []
    try:
        ours = list(relay.bind_addresses) or await _ours(config, resolver)
        for hop, whose in hops(routes, wanted).items():
            question = Question(whose, settings, ours, config.smtp.message_size_limit, sender)
            async for finding in check(resolver, hop, question):
                findings.append(finding)
                show(finding, as_json)
    finally:
        await resolver.close()
    return findings


async def _ours(config: "Config", resolver: "Resolver") -> list[str]:
    """Our addresses; [] when nobody can tell."""
    from backupmx.net.dns import DNSTrouble

    try:
        return sorted(await resolver.addresses(config.hostname))
    except DNSTrouble:
        return []  # the stanzas say OUR-ADDRESS then; check dns says why
