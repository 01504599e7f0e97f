"""How fast does a backlog go out?

The real queue is filled, then one relay process brings everything over kept,
pipelined connections to Postfix's smtp-sink, and settles it.  Beside it, the
client alone: the same messages over the same connections without the queue.

    python benchmarks/relay.py [MESSAGES] [OCTETS] [CONNECTIONS]     default 5000 4096 5

BUGS
    smtp-sink, the relay and the queue share the machine's cores: the figures
    are those of a small machine that is its own primary.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from backupmx.journal import silent
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net import smtp
from backupmx.net.dns import Resolver
from backupmx.queue.entry import NewEntry, NewRecipient, Settlement, new_id
from backupmx.queue.sqlite import SqliteQueue, open_queue
from backupmx.relay.runner import Relay
from backupmx.relay.settings import RelaySettings
from backupmx.route import tls_policy, transport_map
from backupmx.route.routes import Routes
from benchmarks.servers import listens, wait
from tests.neighbours.unbound import free_port


def main(messages: int = 5000, octets: int = 4096, connections: int = 5) -> None:
    message = _message(octets)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {messages} messages of {message.size} octets,")
    print(f"{connections} connections at first\n")
    print(f"{'what':<28} {'msg/s':>8} {'MiB/s':>8} {'CPU us/msg':>11}")
    with _sink() as port:
        _row("client alone", message, messages, *asyncio.run(_client(port, message, messages, connections)))
        _row("queue, relay, settle", message, messages, *asyncio.run(_relay(port, message, messages, connections)))


def _row(what: str, message: Message, messages: int, seconds: float, cpu: float) -> None:
    rate = messages / seconds
    print(f"{what:<28} {rate:>8.0f} {rate * message.size / 2**20:>8.1f} {cpu / messages * 1e6:>11.1f}")


async def _client(port: int, message: Message, messages: int, connections: int) -> tuple[float, float]:
    envelope = Envelope("sender@client.example", (Recipient("user@example.jp"),))
    lines = [await smtp.connect("sink", "127.0.0.1", port, helo="mx2.example.net") for _ in range(connections)]
    turns = iter(range(messages))

    async def lane(line: smtp.Connection) -> None:
        for _ in turns:
            await line.deliver(envelope, message, message.size)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(lane(line) for line in lines for _ in range(3)))
    figures = time.perf_counter() - began, time.process_time() - cpu
    await asyncio.gather(*(line.quit() for line in lines))
    return figures


async def _relay(port: int, message: Message, messages: int, connections: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        queue = await open_queue(f"sqlite:{folder}/queue.db")
        routes = Routes(transport_map.parse(f"example.jp smtp:[127.0.0.1]:{port}"))
        hop = routes.next_hop("user@example.jp")
        for begin in range(0, messages, 500):
            entries = (_entry(message, hop) for _ in range(min(500, messages - begin)))
            await asyncio.gather(*(queue.put(entry) for entry in entries))
        settled = asyncio.Event()
        _count_settled(queue, messages, settled)
        settings = RelaySettings("mx2.example.net", first_connections=connections, tls=tls_policy.level("none"))
        relay = Relay(queue, routes, Resolver(), settings, silent())
        await relay.start()
        began, cpu = time.perf_counter(), time.process_time()
        running = asyncio.create_task(relay.run())
        await settled.wait()
        figures = time.perf_counter() - began, time.process_time() - cpu
        await relay.stop()
        await running
        assert not await queue.waiting()
        await queue.close()
        return figures


def _count_settled(queue: SqliteQueue, messages: int, settled: asyncio.Event) -> None:
    settle, left = queue.settle, messages

    async def counting(settlement: Settlement, now: float) -> bool:
        nonlocal left
        gone = await settle(settlement, now)
        left -= 1
        if not left:
            settled.set()
        return gone

    queue.settle = counting  # type: ignore[method-assign]


def _entry(message: Message, hop: str) -> NewEntry:
    now = time.time()
    envelope = Envelope("sender@client.example", (Recipient("user@example.jp"),))
    return NewEntry(new_id(now), now, envelope, (NewRecipient("user@example.jp", hop),), replace(message))


def _message(octets: int) -> Message:
    headers = (b"From: sender@client.example", b"To: user@example.jp", b"Subject: a benchmark")
    line = b"It was a dark and stormy night; the rain fell in torrents.\r\n"
    return Message(headers, (b"\r\n" + line * max(1, octets // len(line)),))


@contextmanager
def _sink() -> Iterator[int]:
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["smtp-sink", *user, f"127.0.0.1:{port}", "1000"])
    try:
        wait(lambda: listens(port), 10)
        yield port
    finally:
        sink.kill()
        sink.wait()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
