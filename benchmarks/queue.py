"""queue: how fast does accepted mail become durable, and what does a message cost?

    python -m benchmarks.queue [--folder DIR] [--times N]

Each row is a rate with the disk asked before every answer, beside the same on
this machine with one file a message (create, write, fsync, rename, fsync the
folder), the way of Postfix, in as many threads as there are clients.

    put      N clients that wait for each answer, messages of 4 KB and 1 MB
    life     one process puts, another claims and settles at the same time, until
             every message that was put is delivered
    backlog  claim and settle of what lies there, nothing coming in

CPU is user and system time of all processes, divided by messages; making the
test messages is not in it.

BUGS
    One machine, one disk: a disk with a battery behind its cache answers in a
    tenth of the time, a laptop's in ten times.  The relay delivers to nobody.
"""

import argparse
import asyncio
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.queue.entry import Claim, NewEntry, NewRecipient, Outcome, Settlement, State, new_id
from backupmx.queue.sqlite import SqliteQueue, open_queue

HOP = "smtp:[primary1.example.net]"
CLIENT = Client("192.0.2.1", 25, "mx.example.com", "mx.example.com", "ESMTP")
HEADERS = tuple(b"X-Header-%d: a value as long as values are" % n for n in range(12))


@dataclass(frozen=True, slots=True)
class Measured:
    rate: float
    """Messages a second."""
    cpu: float
    """Microseconds a message."""


def messages(many: int, size: int) -> list[NewEntry]:
    body = (b"\r\n" + os.urandom(size // 2).hex().encode(),)
    made = []
    for _ in range(many):
        address = "someone@example.jp"
        now = time.time()
        envelope = Envelope("sender@example.com", (Recipient(address),))
        made.append(
            NewEntry(new_id(now), now, envelope, (NewRecipient(address, HOP),), Message(HEADERS, body), CLIENT, "<m@x>")
        )
    return made


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(many: int, work: Callable[[], object]) -> Measured:
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return Measured(many / (time.perf_counter() - wall), (cpu_seconds() - cpu) / many * 1e6)


# What we measure


async def put_all(queue: SqliteQueue, entries: list[NewEntry], clients: int) -> None:
    waiting = iter(entries)

    async def client() -> None:
        for entry in waiting:
            await queue.put(entry)

    await asyncio.gather(*(client() for _ in range(clients)))


def put(folder: str, many: int, size: int, clients: int) -> Measured:
    entries = messages(many, size)

    async def run() -> None:
        queue = await open_queue(f"sqlite:{folder}/queue.db")
        await put_all(queue, entries, clients)
        await queue.close()

    return measure(many, lambda: asyncio.run(run()))


def one_file_a_message(folder: str, many: int, size: int, clients: int) -> Measured:
    entries = messages(many, size)
    directory = os.open(folder, os.O_RDONLY)

    def write(entry: NewEntry) -> None:
        path = os.path.join(folder, entry.id)
        with open(path + ".new", "wb", buffering=0) as file:
            file.write(b"".join(entry.message.chunks()))
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
        os.fsync(directory)

    def run() -> None:
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(write, entries))

    measured = measure(many, run)
    os.close(directory)
    return measured


async def relay(store: str, many: int) -> None:
    """Claim and settle until so many are delivered."""
    queue = await open_queue(store)

    async def deliver(claim: Claim) -> None:
        said = tuple(Outcome(r.address, State.DELIVERED, "250 ok", "2.0.0") for r in claim.recipients)
        await queue.settle(Settlement(claim.id, said), time.time())

    flying: set[asyncio.Task[None]] = set()
    while many or flying:
        claims = await queue.claim(HOP, 100 - len(flying), time.time(), 300.0) if many and len(flying) < 60 else []
        many -= len(claims)
        flying |= {asyncio.ensure_future(deliver(claim)) for claim in claims}
        if flying:
            _, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
        elif not claims:
            await asyncio.sleep(0.001)
    await queue.close()


def relay_process(store: str, many: int) -> None:
    asyncio.run(relay(store, many))


def life(folder: str, many: int, size: int, clients: int) -> Measured:
    entries = messages(many, size)
    store = f"sqlite:{folder}/queue.db"

    async def run() -> None:
        queue = await open_queue(store)
        await put_all(queue, entries, clients)
        await queue.close()

    def both() -> None:
        other = multiprocessing.get_context("spawn").Process(target=relay_process, args=(store, many))
        other.start()
        asyncio.run(run())
        other.join()

    return measure(many, both)


def backlog(folder: str, many: int, size: int, clients: int) -> Measured:
    put(folder, many, size, clients)
    return measure(many, lambda: asyncio.run(relay(f"sqlite:{folder}/queue.db", many)))


# The table


def in_new_folder(parent: str, work: Callable[..., Measured], *arguments: int) -> Measured:
    folder = tempfile.mkdtemp(dir=parent, prefix="queue-bench-")
    try:
        return work(folder, *arguments)
    finally:
        shutil.rmtree(folder)


def row(parent: str, name: str, work: Callable[..., Measured], many: int, size: int, clients: int) -> None:
    ours = in_new_folder(parent, work, many, size, clients)
    baseline = in_new_folder(parent, one_file_a_message, min(many, 4000), size, clients)
    print(
        f"{name:22} {clients:8} {ours.rate:10,.0f}/s {ours.cpu:8.0f} us {baseline.rate:14,.0f}/s {baseline.cpu:8.0f} us"
        f" {ours.rate / baseline.rate:8.1f}x"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", default=".", help="on the disk to measure")
    parser.add_argument("--times", type=float, default=1.0, help="more messages than usual, or fewer")
    options = parser.parse_args()
    cores = os.cpu_count()
    print(f"{cores} cores, {os.uname().sysname} {os.uname().release}, in {Path(options.folder).resolve()}\n")
    print(f"{'':22} {'clients':>8} {'queue':>12} {'CPU':>11} {'file each':>16} {'CPU':>11} {'ratio':>9}")
    rows: list[tuple[str, Callable[..., Measured], int, int, int]] = [
        ("put, 4 KB", put, 2_000, 4096, 1),
        ("put, 4 KB", put, 20_000, 4096, 10),
        ("put, 4 KB", put, 40_000, 4096, 50),
        ("put, 1 MB", put, 200, 1 << 20, 1),
        ("put, 1 MB", put, 400, 1 << 20, 10),
        ("life, 4 KB", life, 2_000, 4096, 1),
        ("life, 4 KB", life, 20_000, 4096, 10),
        ("life, 4 KB", life, 40_000, 4096, 50),
        ("life, 1 MB", life, 400, 1 << 20, 10),
        ("backlog, 4 KB", backlog, 20_000, 4096, 50),
    ]
    for name, work, many, size, clients in rows:
        row(options.folder, name, work, max(100, int(many * options.times)), size, clients)


if __name__ == "__main__":
    main()
