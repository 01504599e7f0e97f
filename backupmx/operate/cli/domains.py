"""domains: recipient domains as commands name them."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from backupmx.config import Config


def folded(domain: str) -> str:
    """Pure.  As the queue keeps it: "Example.JP." -> "example.jp"."""
    return domain.lower().removesuffix(".")


def require_ours(config: "Config", domains: Sequence[str]) -> None:
    """Says which are not and ends with status 1."""
    from backupmx.operate.serve.policy import read_routes

    if not domains:
        return
    routes = read_routes(config)
    strange = [domain for domain in domains if not routes.is_ours(f"postmaster@{domain}")]
    for domain in strange:
        click.echo(f"backupmx: {domain} is not among our relay domains", err=True)
    if strange:
        sys.exit(1)
