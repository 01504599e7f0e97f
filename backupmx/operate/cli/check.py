"""check: is it right?  The configuration and every file it names; engines and milters (check_services)."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from backupmx.config import Config, ConfigTrouble, find
from backupmx.operate import page
from backupmx.operate.cli import check_dns, check_primary, check_services
from backupmx.operate.cli.options import config_option, json_option, write_json
from backupmx.operate.serve.identity import seen_by
from backupmx.route.routes import Routes


@click.group("check")
def command() -> None:
    """Is it right?  0 good, 1 findings, 2 unusable."""


command.add_command(check_services.command)
command.add_command(check_dns.command)
command.add_command(check_primary.command)


@command.command("config")
@config_option
@json_option
def check_config(config_file: str | None, as_json: bool) -> None:
    """Read the configuration and every file it names, and say all that is wrong at once."""
    from backupmx.operate.serve.policy import read_all

    try:
        config, files = read_all(find(config_file))
    except ConfigTrouble as trouble:
        if as_json:
            write_json({"usable": False, "errors": trouble.errors, "findings": []})
            sys.exit(2)
        raise
    findings = [*files.warnings, *remarks(config, files.routes), *later(config)]
    if as_json:
        write_json({"usable": True, "errors": [], "findings": findings})
    else:
        for finding in findings:
            click.echo(finding)
        click.echo(f"{config.path}: usable, {len(findings)} finding{'s' if len(findings) != 1 else ''}")
    sys.exit(1 if findings else 0)


def remarks(config: Config, routes: Routes) -> list[str]:
    """What works and still deserves a word."""
    from backupmx.operate.inspect.odds import odds
    from backupmx.operate.serve.descriptors import allowed

    found = []
    if domains := nobody_knows(config, routes):
        found.append(
            f"relay.relay_recipients: every address of {', '.join(domains)} is accepted, also those that do not exist;"
            " name a file of known recipients or a [[recipients.source]], or set recipients.verify"
        )
    if not config.smtp.tls_chain_files:
        found.append("smtp.tls_chain_files: no certificate, so STARTTLS is not offered and mail arrives in clear")
    if config.relay.bounce_to == "vouched" and not (config.checks.spf.enabled or config.checks.dkim.enabled):
        found.append(
            "relay.bounce_to: with checks.spf and checks.dkim off nobody vouches for a sender: none is told that his"
            " mail failed, it lies in quarantine"
        )
    if config.admin.listen and (absent := page.missing()):
        found.append(f"admin.listen: no page, {', '.join(absent)} missing: pip install 'backupmx[page]', or write \"\"")
    found += strangers(config, routes)
    found.extend(too_large_for_clamd(config))
    return [*found, *odds(config, _free(config), allowed())]


def later(config: Config) -> Iterator[str]:
    """What root can do now and the appliance, as `user`, could not at a reload or with a renewed certificate."""
    from backupmx.operate.serve.policy import read_all

    try:
        with seen_by(config.user):
            read_all(config.path)
    except ConfigTrouble as trouble:
        yield from trouble.errors


def strangers(config: Config, routes: Routes) -> Iterator[str]:
    """Domains that a setting names and that are not ours: misspelt, or left over."""
    recipients, relay = config.recipients, config.relay
    named: dict[str, Iterable[str]] = {
        "relay.when_primary_up_for": relay.when_primary_up_for,
        "recipients.unknown_for": recipients.unknown_for,
        "recipients.verify_for": recipients.verify_for,
        "checks.spam.required_score_for": config.checks.spam.required_score_for,
        **{f"recipients.source {one.name}: domains": one.domains for one in recipients.source},
    }
    for setting, domains in named.items():
        if strange := [domain for domain in domains if not routes.is_ours(f"postmaster@{domain}")]:
            yield f"{setting}: {', '.join(strange)}: no relay domain of ours, so it says nothing; look at its spelling"


def nobody_knows(config: Config, routes: Routes) -> list[str]:
    """Relay domains for which nothing is there that could know who exists."""
    from backupmx.operate.serve.sources import lists
    from backupmx.recipients.who import Recipients

    if config.relay.relay_recipients:
        return []
    settings = lists(config)
    who = Recipients(None, None, settings)
    domains = [domain.lstrip(".") for domain in routes.relay_domains]
    return [
        domain
        for domain in domains
        if not who.sources_of(domain)
        and not settings.asked(domain)
        and settings.otherwise(domain) in ("auto", "accept")
    ]


def too_large_for_clamd(config: Config, root: Path = Path("/")) -> Iterator[str]:
    """Mail that we take and clamd does not, as far as its clamd.conf is on this machine."""
    from backupmx.operate.serve.places import OUR_HEADERS, stream_limit

    virus, largest = config.checks.virus, config.smtp.message_size_limit
    limit = stream_limit(virus.address, root) if "clamd" in virus.engines else None
    if limit is None or 0 < largest <= limit.octets - OUR_HEADERS:
        return
    remedy = f"write StreamMaxLength {-(-(largest + OUR_HEADERS) // (1 << 20))}M" if largest else "set a limit"
    yield (
        f"checks.virus: clamd takes {limit.octets >> 20} MiB ({limit.file}: StreamMaxLength), smtp.message_size_limit"
        f" is {f'{largest >> 20} MiB' if largest else 'none'}: larger mail is unscannable and on_unscannable"
        f" ({virus.on_unscannable}) decides; {remedy}"
    )


def stale_lists(config: Config, now: float) -> list[str]:
    """Lists that are too old to say no, as sentences; nothing where no store can be read."""
    from backupmx.operate.measures import ago
    from backupmx.operate.serve import sources
    from backupmx.recipients.store import StoreTrouble

    try:
        states = sources.states(config)
    except StoreTrouble as trouble:
        return [str(trouble)]
    if states is None:
        return []
    found = []
    for name in (one.name for one in config.recipients.source):
        state = states.get(name)
        synced, error = (state.synced, state.error) if state else (None, "")
        why = f" ({error})" if error else ""
        if synced is None:
            found.append(f"recipients.source {name}: never fetched{why}; who is in no list is put off, not refused")
        elif config.recipients.max_age and now - synced > config.recipients.max_age:
            found.append(
                f"recipients.source {name}: {ago(now - synced)} old, more than recipients.max_age{why};"
                " who is in no list is put off, not refused"
            )
    return found


def _free(config: Config) -> int | None:
    try:
        disk = os.statvfs(config.state_path(""))
    except OSError:
        return None  # not there yet
    return disk.f_bavail * disk.f_frsize
