"""workers: programs that the queue's tests start: `python -m tests.queue.workers WHAT STORE`.

relay    claims and settles for ever, writes each id that is settled
load N   puts N entries and ends
"""

import asyncio
import os
import sys
import time

from backupmx.queue.entry import Claim
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.samples import HOP, entry, settled


def promise(id: str) -> None:
    """One write: a line that is there is whole."""
    os.write(1, f"{id}\n".encode())


async def relay(queue: SqliteQueue) -> None:
    async def deliver(claim: Claim) -> None:
        await queue.settle(settled(claim), time.time())
        promise(claim.id)

    while True:
        claims = await queue.claim(HOP, 20, time.time(), 3600.0)
        await asyncio.gather(*(deliver(claim) for claim in claims))
        if not claims:
            await asyncio.sleep(0.001)


async def load(queue: SqliteQueue, many: int) -> None:
    for start in range(0, many, 500):
        await asyncio.gather(
            *(queue.put(entry(f"u{n}@example.jp", arrived=1e9 + n, body=b"\r\n" + b"x" * 500))
              for n in range(start, min(start + 500, many)))
        )  # fmt: skip


async def main() -> None:
    what, store, *numbers = sys.argv[1:]
    queue = await open_queue(store)
    await (load(queue, int(numbers[0])) if what == "load" else relay(queue))
    await queue.close()


if __name__ == "__main__":
    asyncio.run(main())
