"""process: the page's process, from fork to exit.

    told "reload"   the configuration is read again and everything begun anew with it; a wrong one keeps the old
    told "stop"     what is being answered is answered, then it goes
    no port         said once a minute, tried again: the mail does not wait for it

It opens the queue as a command does, with its own connection, and rings the same bell.
"""

import asyncio
import contextlib
import socket

from backupmx.config import Config, ConfigTrouble
from backupmx.journal import Journal
from backupmx.operate.page import guard
from backupmx.operate.page.app import build
from backupmx.operate.page.deeds import Deeds
from backupmx.operate.page.listen import bind, server
from backupmx.operate.page.sight import Sight
from backupmx.operate.page.tokens import FILE, METRICS, OPERATOR, Tokens
from backupmx.operate.report import tally
from backupmx.operate.serve.loop import Told, report_to
from backupmx.operate.serve.policy import Files
from backupmx.operate.serve.reload import read_again
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.sqlite import open_queue
from backupmx.queue.wake import Bell

_AGAIN = 10.0


def main(config: Config, files: Files, supervisor: int) -> int:
    """The whole life of the page's process."""
    return asyncio.run(_life(config, files, supervisor))


async def _life(config: Config, files: Files, supervisor: int) -> int:
    told, journal = Told(supervisor), Journal(format=config.log.format)
    report_to(journal)
    publisher = tally.Publisher(tally.path(config), "page", journal)
    publishing = asyncio.create_task(publisher.run())
    word = "reload"
    while word == "reload":
        serving = asyncio.create_task(_keep_serving(config, files, journal))
        word = await told.word()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        if word == "reload":
            try:
                config, files, _ = read_again(config)
                journal.clear("reload")
            except ConfigTrouble as trouble:
                journal.reload_failed(trouble.errors)
    publishing.cancel()
    publisher.end()
    return 0


async def _keep_serving(config: Config, files: Files, journal: Journal) -> None:
    """Until cancelled; what cannot be had now is tried again."""
    while config.admin.listen:
        try:
            with contextlib.closing(bind(config.admin.listen, config.admin.mode)) as bound:
                keys = Tokens(config.state_path(FILE))
                for who in (OPERATOR, METRICS):
                    keys.issue(who)
                journal.clear("page")
                await _serve(bound, keys, config, files, journal)
        except OSError as error:
            journal.page_trouble(f"{config.admin.listen}: {error.strerror or error}")
        except QueueTrouble as trouble:
            journal.page_trouble(f"{config.queue_store}: {trouble}")
        await asyncio.sleep(_AGAIN)
    await asyncio.Event().wait()


async def _serve(bound: socket.socket, keys: Tokens, config: Config, files: Files, journal: Journal) -> None:
    bell = Bell(str(config.state_path("")))
    queue = await open_queue(config.queue_store, journal=journal, on_commit=bell.ring)
    sight = Sight(queue, config, files.routes)
    app = build(sight, Deeds(queue, config, files.routes, journal, sight.forget), keys)
    place = guard.place(config.admin.listen, config.admin.hosts)
    running = server(guard.Guard(app, keys, place, journal))
    task = asyncio.create_task(running.serve([bound]))
    journal.started(f"page on {config.admin.listen}")
    try:
        await asyncio.shield(task)
    finally:
        running.should_exit = True
        await task
        await queue.close()
        bell.close()
