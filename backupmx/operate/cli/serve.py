"""serve: run the appliance in the foreground."""

import sys

import click

from backupmx.config import find
from backupmx.operate.cli.options import config_option


@click.command("serve")
@config_option
def command(config_file: str | None) -> None:
    """Run the appliance in the foreground.

    SIGTERM lets dialogues and deliveries end, then stops.  SIGHUP reads the
    policy again; a wrong file keeps the old policy and says so in the log.
    """
    from backupmx.operate.serve.appliance import Appliance

    sys.exit(Appliance(find(config_file)).run())
