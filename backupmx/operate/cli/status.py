"""status: at a glance: what is wrong, are the primaries up, what waits for them, since when."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import click

from backupmx.config import Config, ConfigTrouble
from backupmx.operate.cli import health
from backupmx.operate.cli.check import remarks, stale_lists
from backupmx.operate.cli.options import config_option, json_option, load_config, say, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.cli.refused import as_object as group_object
from backupmx.operate.measures import ago
from backupmx.operate.report import tally
from backupmx.operate.serve.lock import is_running
from backupmx.queue.entry import HopState, Paused, State, Total
from backupmx.queue.refusals import Group, line
from backupmx.queue.sqlite import SqliteQueue
from backupmx.route.routes import Routes

_WAITING = (State.QUEUED, State.DEFERRED, State.HELD, State.REFUSED)


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
    named = sorted(routes.next_hops if routes else states)
    hops = [hop_object(hop, states.get(hop), totals) for hop in _hops(named, totals)]
    counted = tally.read(config)
    quarantined = sum(t.recipients for t in totals if t.state.in_quarantine)
    if as_json:
        domains = [{"domain": p.domain, "since": int(p.since), "waiting": p.recipients} for p in paused]
        write_json(
            {"running": running, "next_hops": hops, "paused": domains, "quarantined": quarantined,
             "refusals": [group_object(group) for group in refusals],
             **health.summary(counted), "remarks": notes}
        )  # fmt: skip
    else:
        _print(config, running, hops, refusals, paused, quarantined, counted, notes)
    well = running and not counted.alarms and routes is not None
    sys.exit(0 if well and all(h["state"] != "down" and not h["refused"] for h in hops) else 1)


def _routes(config: Config) -> tuple[Routes | None, list[str]]:
    """-> routes, notes.  A map with a mistake is no reason to say nothing: the appliance goes on with its old one."""
    from backupmx.operate.serve.policy import read_routes

    stale = stale_lists(config, time.time())
    try:
        routes = read_routes(config)
    except ConfigTrouble as trouble:
        return None, [*(f"{error}; neither a reload nor a start takes it" for error in trouble.errors), *stale]
    return routes, [*remarks(config, routes), *stale]


def _hops(named: Sequence[str], totals: Iterable[Total]) -> list[str]:
    """Those of the map, then others that mail waits for (notices, FILTER)."""
    waiting = dict.fromkeys(t.next_hop for t in totals if t.state in _WAITING)
    return list(dict.fromkeys([*named, *waiting]))


def hop_object(hop: str, state: HopState | None, totals: Sequence[Total]) -> dict[str, object]:
    """Pure.  One next hop: "up" is "not known to be down", as long as nothing was tried."""
    of = {t.state: t for t in totals if t.next_hop == hop and t.state in _WAITING}
    word = "unknown" if state is None or state.up is None else "up" if state.up else "down"
    return {
        "next_hop": hop,
        "state": word,
        "since": int(state.since) or None if state else None,
        "error": state.error if state else "",
        "next_probe": int(state.probe_at) if state and word == "down" else None,
        "answers_again": word == "down" and state is not None and state.successes > 0,
        **{str(s): of[s].recipients if s in of else 0 for s in _WAITING},
        "oldest": int(min((t.oldest for t in of.values()), default=0)) or None,
    }


def _print(
    config: Config,
    running: bool,
    hops: Sequence[dict[str, object]],
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
        since, oldest = hop["since"], hop["oldest"]
        age = f" for {ago(now - since)}" if isinstance(since, int) and hop["state"] != "unknown" else ""
        say(f"  {hop['next_hop']}: {hop['state']}{age}{f' ({error})' if (error := hop['error']) else ''}")
        if hop["answers_again"]:
            click.echo("    answers again, its mail goes out; up when it has done so for a while")
        elif isinstance(probe := hop["next_probe"], int) and running:
            click.echo(f"    next probe {f'in {ago(probe - now)}' if probe > now else 'now'}")
        if isinstance(oldest, int):
            counts = ", ".join(f"{hop[str(s)]} {s}" for s in _WAITING if hop[str(s)])
            click.echo(f"    waiting: {counts}; the oldest for {ago(now - oldest)}")
        if those := [group for group in refusals if group.next_hop == hop["next_hop"]]:
            click.echo(f"    {line(those)}")
    for one in paused:
        click.echo(f"  {one.domain}: paused for {ago(now - one.since)}, {one.recipients} waiting")
    if quarantined:
        click.echo(f"  quarantine: {quarantined} recipients")
    for note in notes:
        say(f"  note: {note}")
