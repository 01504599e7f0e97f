"""queue_access: a command's hands on the queue.

Run as root, a command first becomes the queue's owner: a database file that
root touched would lock the appliance out of its own queue.  A link is not
followed: whoever owns the folder could lead root to a file of root's.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from typing import TypeVar

from backupmx.config import ConfigTrouble, Home, Housed
from backupmx.journal import Journal
from backupmx.operate.cli.options import load_config
from backupmx.operate.serve.identity import become_owner
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.queue.wake import Bell

T = TypeVar("T")


def with_queue(config: Housed, work: Callable[[SqliteQueue], Awaitable[T]]) -> T:
    """Do `work` on the appliance's queue, as its owner.  Raises ConfigTrouble when there is none."""
    path = config.queue_store.partition(":")[2]
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        if isinstance(config, Home):
            load_config(str(config.path))  # what is wrong with the whole file is the better answer
        raise ConfigTrouble([f"{path}: no queue here yet; `backupmx serve` makes it"]) from None
    except OSError as error:
        raise ConfigTrouble([f"{path}: {error.strerror}; run this as root or as the queue's owner"]) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigTrouble([f"{path}: not a file; name the database itself in queue.store"])
    become_owner(status.st_uid, status.st_gid)
    if not os.access(path, os.R_OK | os.W_OK):
        mode = stat.filemode(status.st_mode)
        raise ConfigTrouble([f"{path} ({mode}): not readable for us; run this as root or as the queue's owner"])
    return asyncio.run(_work(config, work))


async def _work(config: Housed, work: Callable[[SqliteQueue], Awaitable[T]]) -> T:
    bell = Bell(str(config.state_path("")))
    try:
        journal = Journal(sink=_to_syslog, stamped=False)
        queue = await open_queue(config.queue_store, journal=journal, on_commit=bell.ring)
        try:
            return await work(queue)
        finally:
            await queue.close()
    except QueueTrouble as trouble:
        raise ConfigTrouble([f"{config.queue_store}: {trouble}"]) from None
    finally:
        bell.close()


def _to_syslog(line: bytes) -> None:
    """What a command does to mail stands in the mail log, as postsuper's words do; standard error is a person's."""
    import syslog  # for the few commands that have something to say

    program, _, rest = line.decode("utf-8", "replace").strip().partition("[")
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_MAIL)
    syslog.syslog(syslog.LOG_INFO, rest.partition("]: ")[2])
