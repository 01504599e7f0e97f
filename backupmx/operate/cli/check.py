"""check: is it right?  The configuration and every file it names; engines and milters (check_services)."""

import sys
from collections.abc import Iterator

import click

from backupmx.config import Config, ConfigTrouble, Smtp, find
from backupmx.operate.cli import check_services
from backupmx.operate.cli.options import config_option, json_option, write_json


@click.group("check")
def command() -> None:
    """Is it right?  0 good, 1 findings, 2 unusable."""


command.add_command(check_services.command)


@command.command("config")
@config_option
@json_option
def check_config(config_file: str | None, as_json: bool) -> None:
    """Read the configuration and every file it names, and say all that is wrong at once."""
    from backupmx.operate.policy import read_all

    try:
        config, files = read_all(find(config_file))
    except ConfigTrouble as trouble:
        if as_json:
            write_json({"usable": False, "errors": trouble.errors, "findings": []})
            sys.exit(2)
        raise
    findings = [*files.warnings, *remarks(config)]
    if as_json:
        write_json({"usable": True, "errors": [], "findings": findings})
    else:
        for finding in findings:
            click.echo(finding)
        click.echo(f"{config.path}: usable, {len(findings)} finding{'s' if len(findings) != 1 else ''}")
    sys.exit(1 if findings else 0)


def remarks(config: Config) -> list[str]:
    """What works and still deserves a word."""
    found = []
    if not config.relay.relay_recipients:
        found.append(
            "relay.relay_recipients: every address of a relay domain is accepted, also those that do not exist;"
            " name a file of known recipients"
        )
    if not config.smtp.tls_chain_files:
        found.append("smtp.tls_chain_files: no certificate, so STARTTLS is not offered and mail arrives in clear")
    return [*found, *at_odds(config.smtp)]


def at_odds(smtp: Smtp) -> Iterator[str]:
    """Pure.  Limits of which one makes another impossible."""
    at_once, tls, recipients = (
        smtp.client_connection_limit, smtp.client_new_tls_session_rate_limit, smtp.client_recipient_rate_limit,
    )  # fmt: skip
    if at_once > smtp.connection_limit:
        yield (
            f"smtp.client_connection_limit ({at_once}) is more than smtp.connection_limit ({smtp.connection_limit}):"
            " one client can take every place of a worker"
        )
    if 0 < tls < at_once:
        yield (
            f"smtp.client_new_tls_session_rate_limit ({tls}) is less than smtp.client_connection_limit ({at_once}):"
            " a client that may connect so often is refused when all its connections ask for TLS"
        )
    if 0 < recipients < smtp.recipient_limit:
        yield (
            f"smtp.client_recipient_rate_limit ({recipients}) is less than smtp.recipient_limit"
            f" ({smtp.recipient_limit}): one large message is more than a client may send in a minute"
        )
