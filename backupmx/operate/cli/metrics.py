"""metrics: counts, alarms and engines for Prometheus."""

import sys

import click

from backupmx.operate.cli.options import config_option, load_config


@click.command("metrics")
@config_option
def command(config_file: str | None) -> None:
    """Counts, alarms and engines in Prometheus' text format, for node_exporter's textfile collector.

    Status 1 when the counts cannot be read.
    """
    from backupmx.operate.report import tally
    from backupmx.operate.report.metrics import exposition
    from backupmx.operate.serve.identity import become_owner_of

    config = load_config(config_file)
    become_owner_of(config.state_path(""))
    said = tally.read(config)
    if said.trouble:
        click.echo(f"backupmx: {said.trouble}", err=True)
        sys.exit(1)
    sys.stdout.write(exposition(said).decode())
