"""courier: the relay process, from fork to exit, and the queue's own housekeeping.

    prepare   once, in the supervisor, before any child: the queue is opened,
              brought to this version, swept of what the last life left behind
    main      one event loop with the relay and a broom for quarantine and ledger

SIGTERM, or the supervisor's death, ends it: attempts are finished or given
back.  SIGHUP gives the relay new routes; what waits is asked anew for its
next hop.
"""

import asyncio
import os
import time
from dataclasses import replace

from backupmx.config import Config, ConfigTrouble
from backupmx.journal import Journal
from backupmx.net.dns import Resolver
from backupmx.net.smtp import Timeouts
from backupmx.operate.report import digest, tally, watch
from backupmx.operate.serve import sources
from backupmx.operate.serve.loop import Told, report_to, run
from backupmx.operate.serve.policy import Files
from backupmx.operate.serve.reload import read_again
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.quarantine import Quarantine
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.queue.wake import Ear
from backupmx.recipients.lessons import Lessons
from backupmx.recipients.store import Store, StoreTrouble
from backupmx.relay import delay
from backupmx.relay.returns import Returns
from backupmx.relay.runner import Relay, RelaySettings
from backupmx.route.tls_policy import TlsPolicies

_TIDY_EVERY = 600.0
_WARN_EVERY = 60.0


def prepare(config: Config, journal: Journal) -> None:
    """Before any child runs.  Raises ConfigTrouble when the queue cannot be used."""
    try:
        removed = asyncio.run(_sweep(config, journal))
    except QueueTrouble as trouble:
        raise ConfigTrouble([f"{config.queue_store}: {trouble}"]) from None
    if removed:
        journal.warned(f"{len(removed)} body files of messages that were never acknowledged: removed")


async def _sweep(config: Config, journal: Journal) -> list[str]:
    queue = await open_queue(config.queue_store, journal=journal)
    try:
        await _doubt(queue)
        return list(await queue.sweep())
    finally:
        await queue.close()


async def _doubt(queue: SqliteQueue) -> None:
    """Who was up when we stopped is so no longer, as far as anybody knows; who was down keeps its next probe."""
    for state in (await queue.hop_states()).values():
        if state.up:
            await queue.set_hop_state(replace(state, up=None))


def main(config: Config, files: Files, supervisor: int) -> int:
    """The whole life of the relay process.  `files` as the supervisor read them."""
    try:
        return run(_relay(config, files, supervisor))
    except (QueueTrouble, OSError) as trouble:  # while it began, or ended: the supervisor tries again, later each time
        Journal(format=config.log.format).queue_trouble(f"the relay cannot run: {trouble}")
        return os.EX_TEMPFAIL


async def _relay(config: Config, files: Files, supervisor: int) -> int:
    told = Told(supervisor)
    journal = Journal(format=config.log.format)
    report_to(journal)
    ear = Ear(str(config.state_path("")))
    queue = await open_queue(config.queue_store, journal=journal)
    await queue.end_leases()  # of a relay that was killed: its mail is due now, not when the leases run out
    resolver = Resolver(config.dns.servers, journal)
    lessons, store = Lessons(), sources.store(config)
    relay = Relay(
        queue, files.routes, resolver, relay_settings(config, files.relay_tls), journal,
        learn=lambda address, reply: lessons.hear(address, reply) if config.recipients.learn else None,
    )  # fmt: skip
    await relay.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(relay.run())
        publisher = tally.Publisher(tally.path(config), "relay", journal, lambda: tally.servers(resolver))
        helpers = [
            tasks.create_task(_listen(ear, relay)),
            tasks.create_task(_warn_often(queue, relay, journal)),
            tasks.create_task(publisher.run()),
            tasks.create_task(lessons.keep(store, journal.recipients_trouble)),
        ]

        def by_configuration() -> list[asyncio.Task[None]]:
            """What goes by the configuration alone is begun anew with a new one."""
            stories = (
                _sweep_often(config, journal),
                sources.keep_synced(config, journal),
                digest.keep_telling(config, files.routes, journal, relay.wake),
                watch.keep_watch(queue, config, files.routes, journal, relay.wake),
            )
            return [tasks.create_task(story) for story in stories]

        configured = by_configuration()
        while await told.word() == "reload":
            try:
                config, files, _ = read_again(config)
                for task in configured:
                    task.cancel()
                configured = by_configuration()
                await relay.reload(files.routes, relay_settings(config, files.relay_tls))
                journal.clear("reload")
                journal.clear("loop")  # the new routes may lead elsewhere; if not, the next try says so again
            except ConfigTrouble as trouble:
                journal.reload_failed(trouble.errors)
        for helper in (*helpers, *configured):
            helper.cancel()
        await relay.stop(config.smtp.stop_timeout)
    _last_lessons(lessons, store, journal)
    ear.close()
    await resolver.close()
    await queue.close()
    publisher.end()
    journal.gather(None)
    return 0


def _last_lessons(lessons: Lessons, store: Store, journal: Journal) -> None:
    try:
        lessons.write(store)
    except StoreTrouble as trouble:
        journal.recipients_trouble(str(trouble))
    store.close()


async def _listen(ear: Ear, relay: Relay) -> None:
    while True:
        await ear.wait(None)
        relay.wake()


async def _sweep_often(config: Config, journal: Journal) -> None:
    """The broom: what is too old or too much; the first time also the sum of the account.

    Trouble with the disk is told, and tried again.
    """
    sweep = sum_and_sweep
    while True:
        try:
            queue = await open_queue(config.queue_store, min_free=config.queue.min_free, journal=journal)
            # Its own: reading the whole account takes a second a million lines, and the relay's reads do not wait.
            try:
                await sweep(queue, config, journal)
                sweep = _sweep_queue
            finally:
                await queue.close()
            await asyncio.to_thread(sources.tidy, config, time.time())
        except QueueTrouble as trouble:
            journal.queue_trouble(f"quarantine, ledger: {trouble}")
        except StoreTrouble as trouble:
            journal.recipients_trouble(str(trouble))
        await asyncio.sleep(_TIDY_EVERY)


async def _warn_often(queue: SqliteQueue, relay: Relay, journal: Journal) -> None:
    """Senders whose mail is late are told, by the routes and settings of now."""
    returns = Returns()
    while True:
        try:
            await delay.warn(queue, relay.routes, relay.settings, returns, journal, time.time())
        except QueueTrouble as trouble:
            journal.queue_trouble(f"delay warnings: {trouble}")
        await asyncio.sleep(_WARN_EVERY)


async def sum_and_sweep(queue: SqliteQueue, config: Config, journal: Journal) -> None:
    """Is everything that was ever accepted waiting, or has it its end?  If not the log names what is missing."""
    for sheet in await queue.account():
        if sheet.missing:
            journal.unbalanced(str(sheet))
    await _sweep_queue(queue, config, journal)


async def _sweep_queue(queue: SqliteQueue, config: Config, journal: Journal) -> None:
    now, quarantine = time.time(), config.quarantine
    await Quarantine(queue).tidy(now, keep=quarantine.keep, max_size=quarantine.max_size)
    await queue.spend_quarantine()
    await queue.prune(now - config.ledger.keep)


def relay_settings(config: Config, tls: TlsPolicies) -> RelaySettings:
    """Pure.  [relay] and [queue] as the relay reads them.

    A next hop that is down is looked after as often as its mail would be tried, or oftener.
    """
    relay, queue, usual = config.relay, config.queue, RelaySettings(config.hostname)
    return RelaySettings(
        hostname=config.hostname,
        helo_name=relay.helo_name or config.hostname,
        bind_address=relay.bind_address,
        timeouts=Timeouts(**relay.timeouts.model_dump()),
        lifetime=queue.lifetime,
        delay_warning=queue.delay_warning,
        retry_min=queue.retry_min,
        retry_max=queue.retry_max,
        on_refusal=relay.on_refusal,
        bounce_to=relay.bounce_to,
        bounce_rate=relay.bounce_rate,
        max_rate=relay.max_rate,
        forward_client=relay.forward_client,
        tls=tls,
        probe_interval=relay.probe_interval,
        up_after=relay.up_after,
        probe_min=min(usual.probe_min, queue.retry_min),
        probe_max=min(usual.probe_max, max(queue.retry_min, queue.retry_max)),
    )
