"""flush: deliver now what is deferred, and say what became of it."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import click

from backupmx.config import ConfigTrouble, Home
from backupmx.operate.cli.domains import folded, require_ours
from backupmx.operate.cli.options import config_option, json_option, load_config, load_home, on_terminal, write_json
from backupmx.operate.cli.queue_access import with_queue
from backupmx.operate.measures import ago
from backupmx.operate.serve.identity import require_access
from backupmx.operate.serve.lock import is_running
from backupmx.queue.entry import FlushProgress, Paused
from backupmx.queue.sqlite import SqliteQueue

_LOOK = 0.1
"""Seconds between two looks at the account."""


@click.command("flush")
@click.argument("domains", nargs=-1, metavar="[DOMAIN…]")
@click.option("--all", "everything", is_flag=True, help="All domains; the same as naming none.")
@click.option("--no-wait", is_flag=True, help="Start it and return at once.")
@config_option
@json_option
def command(domains: tuple[str, ...], everything: bool, no_wait: bool, config_file: str | None, as_json: bool) -> None:
    """Deliver now what is deferred: for these recipient domains, or for all.

    Not what is held or refused, and not mail of a paused domain.  Shows progress
    for what was waiting when it began, until each has had its try.  Status 1 when
    some of it stays queued.
    """
    if domains and everything:
        raise click.UsageError("name domains, or --all")
    home = load_home(config_file)
    domains = tuple(folded(domain) for domain in domains)
    if domains:
        require_ours(load_config(config_file), domains)
    require_access(home.state_path(""))
    if not is_running(home):
        raise_not_running(home)
    sys.exit(with_queue(home, lambda queue: _flush(queue, home, domains, no_wait, as_json)))


def raise_not_running(home: Home) -> None:
    click.echo(
        f"backupmx: no appliance works on {home.state_path('')}: nothing would be delivered."
        " What waits goes out when `backupmx serve` starts.",
        err=True,
    )
    sys.exit(1)


async def _flush(queue: SqliteQueue, home: Home, domains: tuple[str, ...], no_wait: bool, as_json: bool) -> int:
    began = time.monotonic()
    stays = [p for p in await queue.paused() if p.domain in domains or (p.recipients and not domains)]
    for one in stays:
        click.echo(
            f"backupmx: {one.domain} is paused: {one.recipients} waiting there stay;"
            f" `backupmx resume {one.domain}` ends it",
            err=True,
        )
    account = await queue.start_flush(domains, time.time())
    if no_wait:
        if as_json:
            write_json(_object(account, 0.0, stays))
        else:
            click.echo(f"{account.total} waiting, flush started")
        return 1 if stays else 0
    with ExitStack() as stack:
        show = _progress_bar(stack, account.total) if on_terminal() and not as_json else _lines(as_json, began)
        while not account.done:
            await asyncio.sleep(_LOOK)
            if not is_running(home):
                raise ConfigTrouble(["the appliance stopped; what waits goes out when `backupmx serve` starts"])
            account = await queue.progress(account.flush) or account
            show(account)
    seconds = time.monotonic() - began
    if as_json:
        write_json(_object(account, seconds, stays))
    else:
        _report(account, seconds, stays)
    return 1 if account.deferred or account.refused or account.withdrawn or account.waiting or stays else 0


def _object(account: FlushProgress, seconds: float, stays: Sequence[Paused]) -> dict[str, object]:
    """Pure.  `paused` only where something is."""
    numbers = {name: getattr(account, name) for name in ("delivered", "deferred", "refused")}
    paused = {"paused": sum(one.recipients for one in stays)} if stays else {}
    return {"waiting": account.total, **numbers, "seconds": round(seconds, 3), **paused}


def _report(account: FlushProgress, seconds: float, stays: Sequence[Paused]) -> None:
    if not account.total and stays:
        click.echo(f"Nothing may go: {sum(one.recipients for one in stays)} waiting, all of it of paused domains.")
        return
    if not account.total:
        click.echo("Nothing is deferred.")
        return
    rate = account.delivered / seconds if seconds else 0.0
    click.echo(
        f"{account.total} waiting: {account.delivered} delivered, {account.deferred} deferred,"
        f" {account.refused} refused in {seconds:.1f}s ({rate:.0f}/s)"
    )


def pace(account: FlushProgress, seconds: float) -> str:
    """Pure.  "812/s, 3s left"; "" as long as there is nothing to tell it by."""
    tried = account.total - account.waiting
    if not tried or seconds <= 0:
        return ""
    rate = tried / seconds
    return f"{rate:.0f}/s, {ago(account.waiting / rate)} left" if rate >= 1 else f"{ago(account.waiting / rate)} left"


def _progress_bar(stack: ExitStack, total: int) -> Callable[[FlushProgress], None]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = stack.enter_context(
        Progress(TextColumn("flush"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[account]}"),
                 TextColumn("{task.fields[pace]}"), transient=True)
    )  # fmt: skip
    task = bar.add_task("flush", total=total, account="", pace="")
    began = time.monotonic()

    def show(account: FlushProgress) -> None:
        words = f"{account.delivered} delivered, {account.deferred} deferred, {account.refused} refused"
        tried = account.total - account.waiting
        bar.update(task, completed=tried, account=words, pace=pace(account, time.monotonic() - began))

    return show


def _lines(as_json: bool, began: float) -> Callable[[FlushProgress], None]:
    """A pipe gets a plain line every ten seconds; JSON only the end."""
    last = began

    def show(account: FlushProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if not as_json and now - last >= 10:
            last = now
            tried = f"{account.total - account.waiting} of {account.total} tried"
            click.echo(f"{ago(now - began)}: {', '.join(filter(None, (tried, pace(account, now - began))))}")

    return show
