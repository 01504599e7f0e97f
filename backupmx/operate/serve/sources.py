"""sources: the lists that [recipients] names, made of the configuration; their fetching by the clock.

    relay process ─keep_synced─► sync, each source every so often ─► recipients.db ◄─know─ workers
    command line  ─sync, diff, import──────────────────────────────────┘

A list that cannot be fetched is told once an hour and tried at its next time;
the last good one stays, with its age.
"""

import asyncio
import contextlib
import functools
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backupmx.config import Config, RecipientSource
from backupmx.journal import Journal
from backupmx.recipients.known import Known
from backupmx.recipients.source import Source, SourceTrouble
from backupmx.recipients.source_command import CommandSource
from backupmx.recipients.source_import import ImportedSource
from backupmx.recipients.source_ldap import LdapSource
from backupmx.recipients.store import FILE, SourceState, Store, StoreTrouble
from backupmx.recipients.sync import sync
from backupmx.recipients.who import Lists, Recipients

_LOOK_EVERY = 15.0
_LAST_MOMENT = 0.5
_AFTER_FAILURE = 300.0
"""Seconds until a source that failed is tried again, if `every` is longer."""


def sources(config: Config) -> Sequence[Source]:
    """Every source.  Raises ValueError, with what to install or write."""
    return [_source(config, one) for one in config.recipients.source]


def _source(config: Config, one: RecipientSource) -> Source:
    if one.command:
        return CommandSource(one.name, one.command, one.domains, one.suffixes, one.every, one.timeout)
    if not one.ldap:
        return ImportedSource(one.name, one.domains, one.suffixes)
    if importlib.util.find_spec("bonsai") is None:
        raise ValueError(f"recipients.source {one.name}: ldap wants bonsai; pip install 'backupmx[ldap]'")
    return LdapSource(
        one.name, one.ldap, one.base, one.filter, one.attributes, one.bind_dn,
        _path(config, one.password_file), one.starttls, _path(config, one.ca_file),
        one.domains, one.suffixes, one.every, one.timeout,
    )  # fmt: skip


def _path(config: Config, path: str) -> Path | None:
    return config.policy_path(path) if path else None


def lists(config: Config) -> Lists:
    """Pure.  What the door has to know of the lists."""
    recipients = config.recipients
    domains = {one.name: one.domains for one in recipients.source}
    return Lists(
        domains,
        recipients.max_age,
        unknown=recipients.unknown,
        unknown_for=recipients.unknown_for,
        verify=recipients.verify,
        verify_for=recipients.verify_for,
        delimiter=config.relay.recipient_delimiter,
    )


def store(config: Config) -> Store:
    """recipients.db of this appliance."""
    return Store(config.state_path(FILE))


def states(config: Config) -> Mapping[str, SourceState] | None:
    """Of [[recipients.source]] those that the store knows; None: no store is there, or we may not read it.

    Raises StoreTrouble.
    """
    names = {one.name for one in config.recipients.source}
    if not names:
        return {}
    kept = store(config)
    if not os.access(kept.path, os.R_OK):
        return None
    with kept:
        return {name: state for name, state in kept.states().items() if name in names}


def recipients(config: Config, known: Known | None, store: Store | None) -> Recipients:
    return Recipients(known, store, lists(config))


async def keep_synced(config: Config, journal: Journal, clock: Callable[[], float] = time.time) -> None:
    """Fetch each source at its times, until cancelled.  One at a time: they are small, and a fetch is a thread."""
    wanted = [source for source in sources(config) if source.every]
    rests_until = 0.0  # the store knows when a source was tried, unless that cannot be written
    while wanted:
        for source in wanted:
            if clock() >= rests_until:
                due = functools.partial(_fetch_if_due, config, source, journal, clock())
                if not await _in_thread(due):
                    rests_until = clock() + _AFTER_FAILURE
        await asyncio.sleep(_LOOK_EVERY)


async def _in_thread(work: Callable[[threading.Event], bool]) -> bool:
    """Not in one of asyncio's: a loop waits for them at its end, and a directory that stalls would hold up ours.

    `work` hears of it when nobody waits any more, and has a moment to end a program that it runs.
    """
    loop, done, given_up = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    answers: list[bool] = []

    def story() -> None:
        try:
            answers.append(work(given_up))
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=story, name="sync", daemon=True).start()
    try:
        await done.wait()
    except asyncio.CancelledError:
        given_up.set()
        await asyncio.wait([asyncio.ensure_future(done.wait())], timeout=_LAST_MOMENT)
        raise
    return all(answers)


def _fetch_if_due(config: Config, source: Source, journal: Journal, now: float, given_up: threading.Event) -> bool:
    """-> whether the store could be used."""
    try:
        with store(config) as kept:
            state = kept.states().get(source.name)
            wait = source.every if state is None or not state.error else min(_AFTER_FAILURE, source.every)
            if state is not None and state.tried is not None and now - state.tried < wait:
                return True
            change = sync(source, kept, max_shrink=config.recipients.max_shrink, now=now, given_up=given_up)
    except (SourceTrouble, StoreTrouble) as trouble:
        if not given_up.is_set():
            journal.list_failed(source.name, str(trouble))
        return not isinstance(trouble, StoreTrouble)
    except Exception as error:
        journal.bug(f"fetching {source.name}", error)
        return False
    journal.list_synced(source.name, change.after, len(change.added), len(change.removed))
    return True


def tidy(config: Config, now: float) -> None:
    """Forget what primaries said too long ago.  Raises StoreTrouble."""
    with store(config) as kept:
        kept.tidy(now)
