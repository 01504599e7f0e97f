"""worker: one receiving process, from fork to exit.

It owns one event loop with the door, the checks and its own hands on the
queue.  SIGTERM, or the supervisor's death, ends it at a command border of
each dialogue; SIGHUP gives the intake a new policy between two messages.

    open the queue ─► door.start ─► told "reload": new policy ─► told "stop": door.stop ─► close the queue

Every few seconds it tells the tally what it counted and how its engines are.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from backupmx.check import milters
from backupmx.check.breaker import EngineState
from backupmx.check.milter_draft import HEADER_LIMIT
from backupmx.check.run import build
from backupmx.config import Config, ConfigTrouble
from backupmx.journal import Journal
from backupmx.net.dns import Resolver
from backupmx.net.tls import ServerTls, kept
from backupmx.operate.report import tally
from backupmx.operate.report.outlook import Outlook
from backupmx.operate.serve import sources
from backupmx.operate.serve.asking import ask, asks, primary_up, verify, verify_settings
from backupmx.operate.serve.descriptors import most_clients
from backupmx.operate.serve.loop import Told, report_to, run
from backupmx.operate.serve.policy import Files
from backupmx.operate.serve.reload import read_again
from backupmx.queue.sqlite import open_queue
from backupmx.queue.wake import Bell
from backupmx.receive.ability import Abilities
from backupmx.receive.admit import Admission
from backupmx.receive.anvil import Hand
from backupmx.receive.intake import Intake, Policy
from backupmx.receive.limits import SmtpSettings
from backupmx.receive.listen import Door
from backupmx.receive.policy import acquainted
from backupmx.receive.policy.acquainted import Acquainted
from backupmx.receive.policy.clients import Clients
from backupmx.receive.sender import Senders
from backupmx.receive.service import Service
from backupmx.recipients.store import Store
from backupmx.recipients.turned_away import TurnedAway
from backupmx.recipients.verify import Verify
from backupmx.route.primaries import Primaries
from backupmx.rules.engine import DEFAULT


def main(name: str, config: Config, files: Files, sockets: list[socket.socket], supervisor: int, anvil: Hand) -> int:
    """The whole life of a worker.  `supervisor` is a pipe that closes when the supervisor dies.

    `files` as the supervisor read them: one that is broken by now must not keep us from taking mail.
    """
    return run(_receive(name, config, files, sockets, supervisor, anvil))


async def _receive(
    name: str, config: Config, files: Files, sockets: list[socket.socket], supervisor: int, anvil: Hand
) -> int:
    told = Told(supervisor)
    journal = Journal(format=config.log.format)
    report_to(journal)
    bell = Bell(str(config.state_path("")))
    mark = "." + name.replace(" ", "")
    queue = await open_queue(
        config.queue_store, min_free=config.queue.min_free, journal=journal, on_commit=bell.ring, mark=mark
    )
    if left := await queue.sweep_after(mark):
        journal.warned(f"{len(left)} body files that its predecessor had not acknowledged: removed")
    resolver = Resolver(config.dns.servers, journal)
    store = sources.store(config)
    met = Acquainted(config.state_path(acquainted.FILE), journal, ipv6_prefix=config.smtp.client_ipv6_prefix_length)
    intake = Intake(policy(config, files, resolver, journal), queue, journal)
    outlook = Outlook(queue, files.routes.next_hops, journal)
    await outlook.look()
    asking = verify(config, files, resolver, journal)
    turned_away = TurnedAway(store, journal.recipients_trouble)
    service = Service(
        smtp_settings(config, queue.body_folder, mark, most_clients(config.smtp, journal)), intake.accept,
        admission(config, files, store, journal, lambda: outlook.primaries, asking, turned_away),
        journal=journal, anvil=anvil, resolver=resolver, tls=certificates(files, journal),
        senders=senders(config, resolver),
        clients=clients(files, resolver, journal, met),
        flush=lambda domain: queue.flush([domain], time.time()),
    )  # fmt: skip
    service.called = outlook.called
    service.is_primary = lambda address: outlook.primaries.is_primary_address(address)
    service.abilities = Abilities(files.routes.next_hop, lambda: outlook.primaries)
    door = Door(service)
    await door.start(sockets)
    publisher = tally.Publisher(
        tally.path(config), name, journal, lambda: (*engines(intake.policy), *tally.servers(resolver))
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(door.run())
        others = [tasks.create_task(each.run()) for each in (publisher, outlook, met)]
        others.append(tasks.create_task(turned_away.keep(sources.store(config))))
        while await told.word() == "reload":
            try:
                config, files, _ = read_again(config)
            except ConfigTrouble as trouble:
                journal.reload_failed(trouble.errors)
                continue
            for engine in engines(intake.policy):  # those of the new one are asked before they are called away
                journal.clear(f"engine {engine.name}")
            journal.clear("reload")
            intake.policy = policy(config, files, resolver, journal)
            asking.settings, asking.probe = verify_settings(config), ask(config, files, resolver)
            service.admission = admission(
                config, files, store, journal, lambda: outlook.primaries, asking, turned_away
            )  # fmt: skip
            service.abilities = Abilities(files.routes.next_hop, lambda: outlook.primaries)
            service.clients = clients(files, resolver, journal, met)
            service.senders = senders(config, resolver, service.senders)
            service.trust(smtp_settings(config, ""))
            service.tls = certificates(files, journal, service.tls)
            outlook.next_hops = files.routes.next_hops
        await door.stop(config.smtp.stop_timeout)
        for other in others:
            other.cancel()
    turned_away.end()
    await asking.close()
    met.close()
    await outlook.close()
    store.close()
    await resolver.close()
    await queue.close()
    bell.close()
    publisher.end()
    journal.gather(None)
    return 0


def policy(config: Config, files: Files, resolver: Resolver, journal: Journal) -> Policy:
    """What the intake goes by, made of the configuration and the files it names."""
    for table, rule in files.tables.rules():
        journal.counting(table.name, rule.line, rule.whole)
    checks = build(config, resolver, journal, files.engines)
    return Policy(
        config.hostname, files.tables, files.routes, checks,
        rules=replace(DEFAULT, header_size_limit=HEADER_LIMIT) if config.milter else DEFAULT,
        quarantine=config.rules.discard == "quarantine",
        milters=milters.build(config, journal) if config.milter else None,
    )  # fmt: skip


def engines(policy: Policy) -> Iterable[EngineState]:
    """Those that can be away, and milters, as this process finds them."""
    return (*policy.checks.states, *(policy.milters.states if policy.milters else ()))


def admission(
    config: Config, files: Files, store: Store, journal: Journal, primaries: Callable[[], Primaries],
    asking: Verify | None, patience: TurnedAway | None,
) -> Admission:  # fmt: skip
    """Who is let in; where nobody could know who exists everybody of a relay domain does.

    `asking`, `patience` None: no primary is asked, and nobody who was put off is remembered.
    """
    recipients = config.recipients
    anybody_knows = files.known or recipients.source or asks(config) or recipients.unknown != "auto"
    known = sources.recipients(config, files.known, store) if anybody_knows or recipients.unknown_for else None
    return Admission(
        files.routes, known,
        postmaster=files.routes.postmaster, troubled=journal.recipients_trouble,
        primary=primary_up(config, files, primaries, patience), asks=asking if asks(config) else None,
    )  # fmt: skip


def clients(files: Files, resolver: Resolver, journal: Journal, met: Acquainted | None = None) -> Clients | None:
    """What is held against clients; None: nothing against any."""
    return Clients(files.clients, resolver, journal, met) if files.clients.on else None


def senders(config: Config, resolver: Resolver, old: Senders | None = None) -> Senders | None:
    """Who asks for the domains of senders; None: nobody."""
    return (old or Senders(resolver)) if config.smtp.reject_unknown_sender_domain else None


def certificates(files: Files, journal: Journal, old: ServerTls | None = None) -> ServerTls | None:
    """What STARTTLS shows; `journal` hears of files that go bad later."""
    if tls := kept(old, files.tls):
        tls.troubled = journal.warned
    return tls


def smtp_settings(config: Config, spool_folder: str, spool_mark: str = "", most_connections: int = 0) -> SmtpSettings:
    """Pure.  [smtp] as the door reads it."""
    smtp = config.smtp
    return SmtpSettings(
        hostname=config.hostname,
        message_size_limit=smtp.message_size_limit,
        recipient_limit=smtp.recipient_limit,
        timeout=smtp.timeout,
        connection_limit=smtp.connection_limit,
        most_connections=most_connections,
        client_connection_limit=smtp.client_connection_limit,
        client_connection_rate_limit=smtp.client_connection_rate_limit,
        client_message_rate_limit=smtp.client_message_rate_limit,
        client_recipient_rate_limit=smtp.client_recipient_rate_limit,
        client_new_tls_session_rate_limit=smtp.client_new_tls_session_rate_limit,
        limit_exceptions=smtp.limit_exceptions,
        proxy_protocol_from=smtp.proxy_protocol_from,
        xclient_from=smtp.xclient_from,
        etrn_from=smtp.etrn_from,
        reject_bare_newline=smtp.forbid_bare_newline == "reject",
        spool_folder=spool_folder,
        spool_mark=spool_mark,
        min_free=config.queue.min_free,
    )
