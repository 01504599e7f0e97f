"""page: the tokens of the page and its API (operate/page/tokens.py)."""

import sys

import click

from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, load_config, say


@click.group("page")
def command() -> None:
    """The page in a browser, its API, /metrics: who may open them."""


@command.command("token")
@click.argument("who", default="operator", metavar="[operator|metrics|DOMAIN]")
@click.option("--new", is_flag=True, help="Another one; the old one and all it opened is void at once.")
@click.option("--revoke", is_flag=True, help="None any more.")
@config_option
def token(who: str, new: bool, revoke: bool, config_file: str | None) -> None:
    """Print a token, made if there is none: the operator's opens everything, that of metrics /metrics alone.

    That of a relay DOMAIN shows its owner what waits for him, and nothing else.
    """
    from backupmx.operate.page.tokens import FILE, METRICS, OPERATOR, Tokens
    from backupmx.operate.serve.identity import become_owner_of
    from backupmx.route.transport_map import fold

    config = load_config(config_file)
    if who not in (OPERATOR, METRICS):
        who = fold(folded(who))
        if not revoke:
            require_ours(config, [who])
    become_owner_of(config.state_path(""))
    tokens = Tokens(config.state_path(FILE))
    try:
        if revoke:
            sys.exit(0 if tokens.revoke(who) else 1)
        click.echo(tokens.issue(who, new))
    except OSError as error:
        remedy = "; run this as root or as the appliance's user" if isinstance(error, PermissionError) else ""
        say(f"backupmx: {tokens.path}: {error.strerror}{remedy}", err=True)
        sys.exit(1)
