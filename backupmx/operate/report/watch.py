"""watch: looks every half minute whether something is worth an alarm, and sees that it is told.

    queue, tally, disk, certificates, lists ─► alarms.troubles ─► alarms.news ─► alarm_ways
                                                       alarms.json ◄── what each way told

In the relay process, which lives as long as there is mail to bring.  A restart forgets
nothing; a crash between telling and remembering tells twice rather than never.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate.report import certificate, tally
from backupmx.operate.report.alarm_ways import Way, WayTrouble, ways
from backupmx.operate.report.alarms import Known, Sight, Trouble, news, troubles
from backupmx.operate.serve import sources
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.sqlite import SqliteQueue
from backupmx.recipients.store import StoreTrouble
from backupmx.route.routes import Routes

FILE = "alarms.json"
_EVERY = 30.0
Memory = dict[str, dict[str, Known]]
"""Way -> key -> what was told."""


async def keep_watch(
    queue: SqliteQueue, config: Config, routes: Routes, journal: Journal, wake: Callable[[], None]
) -> None:
    """Until cancelled."""
    told = ways(config, routes, journal, wake)
    while True:
        await asyncio.sleep(_EVERY)
        await look(queue, config, routes, journal, told, time.time())


async def look(
    queue: SqliteQueue, config: Config, routes: Routes, journal: Journal, told: Mapping[str, Way], now: float
) -> None:
    """Once.  Of a queue that cannot be read just that is told: what else was wrong is neither over nor new."""
    path = config.state_path(FILE)
    memory = await asyncio.to_thread(_read, path)
    try:
        found = troubles(config.alarms, await gather(queue, config, routes, now))
    except QueueTrouble as trouble:
        journal.queue_trouble(f"alarms: {trouble}")
        standing = {key: one for known in memory.values() for key, one in known.items() if not one.gone}
        found = [Trouble(key, one.since, one.text) for key, one in standing.items()]
        found.append(Trouble("alarm queue", now, f"queue: {trouble}"))
    before = {way: dict(known) for way, known in memory.items()}
    for name, way in told.items():
        memory[name] = await _tell(name, way, memory.get(name, {}), found, config.alarms.calm, journal, now)
    if memory != before:
        try:
            await asyncio.to_thread(_write, path, memory)
        except OSError as error:
            journal.warned(f"{path}: {error.strerror}: alarms may be told again")


async def _tell(
    name: str, way: Way, known: dict[str, Known], found: list[Trouble], calm: float, journal: Journal, now: float
) -> dict[str, Known]:
    """-> what this way's reader knows now"""
    what, after = news(known, found, calm, now)
    if not what.something:
        return after
    try:
        await way.tell(what, now)
    except WayTrouble as trouble:
        journal.alarm_untold(name, str(trouble))
        return known
    return after


async def gather(queue: SqliteQueue, config: Config, routes: Routes, now: float) -> Sight:
    """Everything as it is.  Raises QueueTrouble."""
    states = await queue.hop_states()
    hops = {hop: states[hop] for hop in sorted(routes.next_hops) if hop in states}
    counted, certificates, lists = await asyncio.to_thread(_files, config)
    disk = os.statvfs(config.state_path(""))
    return Sight(
        now, hops, await queue.totals(), counted, disk.f_bavail * disk.f_frsize, certificates, lists,
        config.recipients.max_age,
    )  # fmt: skip


def _files(config: Config) -> tuple[tally.Tally, dict[str, float], dict[str, float | None]]:
    certificates = {file: ends for file in config.smtp.tls_chain_files if (ends := _ends(config.policy_path(file)))}
    try:
        lists = {name: state.synced for name, state in (sources.states(config) or {}).items()}
    except StoreTrouble:
        lists = {}  # an alarm of its own
    return tally.read(config), certificates, lists


def _ends(path: Path) -> float | None:
    try:
        return certificate.ends(path.read_text("ascii", "replace"))
    except OSError:
        return None


def _read(path: Path) -> Memory:
    """What is damaged is as if nobody had been told anything."""
    try:
        said = json.loads(path.read_bytes())
        return {way: {key: _known(one) for key, one in known.items()} for way, known in said.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}


def _known(said: Mapping[str, float | str]) -> Known:
    return Known(float(said["since"]), str(said["text"]), float(said["gone"]))


def _write(path: Path, memory: Memory) -> None:
    text = json.dumps({way: {key: asdict(one) for key, one in known.items()} for way, known in memory.items()})
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)
