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

from backupmx.config import ConfigTrouble, Housed
from backupmx.operate.identity import become_owner
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
        queue = await open_queue(config.queue_store, on_commit=bell.ring)
        try:
            return await work(queue)
        finally:
            await queue.close()
    except QueueTrouble as trouble:
        raise ConfigTrouble([f"{config.queue_store}: {trouble}"]) from None
    finally:
        bell.close()
