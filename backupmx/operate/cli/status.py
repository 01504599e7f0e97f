"""status: at a glance: what is wrong, are the primaries up, what waits for them, since when."""

import sys
import time
from collections.abc import Mapping, Sequence

import click

from backupmx.config import Config, ConfigTrouble
from backupmx.operate.cli import health
from backupmx.operate.cli.check import remarks, stale_lists
from backupmx.operate.cli.options import config_option, json_option, load_config, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.desk import WAITING
from backupmx.operate.measures import ago
from backupmx.operate.report import glance, tally
from backupmx.operate.report.glance import NextHop
from backupmx.operate.serve.lock import is_running
from backupmx.queue.entry import HopState, Paused, Total
from backupmx.queue.refusals import Group, line
from backupmx.queue.sqlite import SqliteQueue
from backupmx.route.routes import Routes


@click.command("status")
@config_option
@json_option
def command(config_file: str | None, as_json: bool) -> None:
    """Alarms, engines, primaries up or down since when, what waits by next hop and age, paused domains, quarantine.

    Status 1 when the appliance does not run, there is an alarm, a primary is down, or mail was refused.
    """
    config = load_config(config_file)
    routes, notes = _routes(config)
    running = is_running(config)

    async def work(
        queue: SqliteQueue,
    ) -> tuple[Sequence[Total], Mapping[str, HopState], Sequence[Paused], Sequence[Group]]:
        return await queue.totals(), await queue.hop_states(), await queue.paused(), await queue.refusals()

    totals, states, paused, refusals = with_queue(config, work)
    hops = glance.next_hops(routes.next_hops if routes else states, states, totals)
    counted = tally.read(config)
    quarantined = glance.quarantined(totals)
    if as_json:
        write_json({
            "running": running, "next_hops": hops, "paused": glance.pauses(paused),
            "quarantined": quarantined, "refusals": glance.refusals(refusals),
            "alarms": glance.alarms(counted), "engines": glance.engines(counted),
            "verdicts": glance.verdicts(counted), "counting_since": int(counted.began) or None, "remarks": notes,
        })  # fmt: skip
    else:
        _print(config, running, hops, refusals, paused, quarantined, counted, notes)
    well = running and not counted.alarms and routes is not None
    sys.exit(0 if well and all(hop.state != "down" and not hop.refused for hop in hops) else 1)


def _routes(config: Config) -> tuple[Routes | None, list[str]]:
    """-> routes, notes.  A map with a mistake is no reason to say nothing: the appliance goes on with its old one."""
    from backupmx.operate.serve.policy import read_routes

    stale = stale_lists(config, time.time())
    try:
        routes = read_routes(config)
    except ConfigTrouble as trouble:
        return None, [*(f"{error}; neither a reload nor a start takes it" for error in trouble.errors), *stale]
    return routes, [*remarks(config, routes), *stale]


def _print(
    config: Config,
    running: bool,
    hops: Sequence[NextHop],
    refusals: Sequence[Group],
    paused: Sequence[Paused],
    quarantined: int,
    counted: tally.Tally,
    notes: Sequence[str],
) -> None:
    now = time.time()
    click.echo(f"{config.hostname}: {'running' if running else 'NOT RUNNING'}")
    for said in health.lines(counted, now):
        say(f"  {said}")
    for hop in hops:
        age = f" for {ago(now - hop.since)}" if hop.since is not None and hop.state != "unknown" else ""
        say(f"  {hop.next_hop}: {hop.state}{age}{f' ({hop.error})' if hop.error else ''}")
        if hop.answers_again:
            click.echo("    answers again, its mail goes out; up when it has done so for a while")
        elif hop.next_probe is not None and running:
            click.echo(f"    next probe {f'in {ago(hop.next_probe - now)}' if hop.next_probe > now else 'now'}")
        if hop.oldest is not None:
            counts = ", ".join(f"{many} {state}" for state in WAITING if (many := hop.in_state(state)))
            click.echo(f"    waiting: {counts}; the oldest for {ago(now - hop.oldest)}")
        if those := [group for group in refusals if group.next_hop == hop.next_hop]:
            click.echo(f"    {line(those)}")
    for one in paused:
        click.echo(f"  {one.domain}: paused for {ago(now - one.since)}, {one.recipients} waiting")
    if quarantined:
        click.echo(f"  quarantine: {quarantined} recipients")
    for note in notes:
        say(f"  note: {note}")
