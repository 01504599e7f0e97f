"""demo: the whole job on one screen, with the embedded defaults."""

import sys

import click


@click.command("demo")
@click.option("--port", type=click.IntRange(0, 65535), default=2525, show_default=True, help="Listen here; 0: any.")
@click.option("--keep", is_flag=True, help="Leave the folder with configuration, queue and samples.")
def command(port: int, keep: bool) -> None:
    """The whole job on one screen, with the embedded defaults.

    Starts the appliance on 127.0.0.1, two small primaries and a DNS server;
    sends the sample messages, stops a primary, sends more, brings it back and
    flushes.  The last line is `demo: N of N steps as expected`; status 0 only
    when it was so.  Needs no root, no network and no daemon.
    """
    from backupmx.operate.demo.run import run
    from backupmx.operate.demo.screen import screen

    sys.exit(run(port, keep, screen()))
