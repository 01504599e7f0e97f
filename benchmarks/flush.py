"""flush: how long until the primary has what waited for it, and does a long queue slow anything?

    python -m benchmarks.flush [--rounds N] [--million N] [--only PART] [--folder DIR]

    beside    5,000 × 4 KB and 200 × 1 MB that came while the primary was away: from its
              return and `backupmx flush` / `postqueue -f` until smtp-sink has all;
              Postfix and we in turn, medians
    million   so many messages of 4 KB (1,000,000: about 6 GB of disk and some minutes to
              put them there) and then 5,000 on the same machine: start to first
              delivery, memory of the relay, the first page of `queue list`, messages
              a second once mail flows

BUGS
    Server and sink share the machine.  The clock of `beside` holds the start of the
    command line, about 0.3 s of the two seconds that 5,000 messages take.
    The slow start after an outage (transport.md) is part of the figures.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.queue.entry import NewEntry, NewRecipient, new_id
from backupmx.queue.sqlite import open_queue
from backupmx.route import transport_map
from backupmx.route.routes import Routes
from benchmarks.servers import RULES, Ours, Server, Sink, machine, quiet, send, servers, wait
from tests.neighbours.unbound import free_port

LOADS = {"5,000 × 4 KB": (["-s", "20", "-l", "4096", "-d"], 5000), "200 × 1 MB": (["-s", "4", "-l", "1048576"], 200)}
ENOUGH = 20_000
"""Messages whose delivery is timed."""


# Beside Postfix


def beside(rounds: int) -> None:
    print(f"{'waiting':<14} {'backupmx msg/s':>15} {'Postfix msg/s':>15} {'ratio':>7}")
    with servers({"first user": RULES}) as running:
        for load, (options, messages) in LOADS.items():
            rates: dict[str, list[float]] = {}
            for _ in range(rounds):
                for (who, _), (server, sink) in running.items():
                    rates.setdefault(who, []).append(messages / flushed(server, sink, options, messages))
            ours, theirs = median(rates["backupmx"]), median(rates["Postfix"])
            print(f"{load:<14} {ours:>15.0f} {theirs:>15.0f} {ours / theirs:>7.2f}")


def flushed(server: Server, sink: Sink, options: list[str], messages: int) -> float:
    """Seconds."""
    sink.stop()
    send(server, options, messages)
    quiet(server)  # both find out that nobody is there
    sink.start()
    began = time.monotonic()
    server.flush()
    wait(lambda: sink.counted() >= messages)
    return time.monotonic() - began


# A long queue


@dataclass(frozen=True, slots=True)
class Long:
    first: float
    """Seconds from the start of `serve` to the first delivery."""
    relay: float
    """MiB of the relay process, at most."""
    page: float
    """Seconds until `queue list` has shown its first page."""
    rate: float
    """Messages a second, once mail flows."""


def million(folder: Path, many: int) -> None:
    print(f"{'waiting':>10} {'put/s':>8} {'first delivery':>15} {'relay MiB':>10} {'queue list':>11} {'msg/s':>8}")
    rates = []
    for number in (many, 5000):
        with tempfile.TemporaryDirectory(prefix="backupmx-bench-", dir=folder) as name:
            put, long = measured(Path(name), number)
        rates.append(long.rate)
        print(
            f"{number:>10,} {put:>8,.0f} {long.first:>13.2f} s {long.relay:>10.0f} {long.page:>9.2f} s"
            f" {long.rate:>8,.0f}",
            flush=True,
        )
    print(f"\nmessages a second with {many:,} waiting, of those with 5,000: {rates[0] / rates[1]:.0%}")


def measured(folder: Path, many: int) -> tuple[float, Long]:
    sink = Sink(folder)
    state = folder / "mx"
    port = free_port()
    began = time.monotonic()
    state.mkdir()
    asyncio.run(seeded(state, many, f"example.jp smtp:[127.0.0.1]:{sink.port}\n"))
    put = many / (time.monotonic() - began)
    sink.start()
    ours = Ours(state, sink.port, port)
    try:
        return put, long_queue(ours, sink, many)
    finally:
        ours.stop()
        sink.stop()


def long_queue(ours: Ours, sink: Sink, many: int) -> Long:
    began = time.monotonic()
    wait(lambda: sink.counted() > 0)
    first = time.monotonic() - began
    page = first_page(ours)
    already, began = sink.counted(), time.monotonic()
    goal = min(many, already + ENOUGH)
    wait(lambda: sink.counted() >= goal)
    rate = (goal - already) / (time.monotonic() - began)
    relay = max(memory(pid) for pid in ours.pids()[1:])
    return Long(first, relay, page, rate)


def first_page(ours: Ours) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "backupmx", "queue", "list", "-c", str(ours.folder / "backupmx.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listing:
        assert listing.stdout is not None
        for _ in range(25):
            listing.stdout.readline()
        seconds = time.monotonic() - began
        listing.kill()
    return seconds


def memory(pid: int) -> float:
    """MiB, at most."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


async def seeded(folder: Path, many: int, map_: str) -> None:
    """Put as a worker puts, by the routes that the appliance will have."""
    routes = Routes(transport_map.parse(map_))
    queue = await open_queue(f"sqlite:{folder}/queue.db")
    await queue.reroute(routes.next_hop, routes.signature)
    entries = letters(many, routes.next_hop("u@example.jp"))
    for _ in range(0, many, 1000):
        await asyncio.gather(*(queue.put(entry) for _, entry in zip(range(1000), entries, strict=False)))
    await queue.close()


def letters(many: int, hop: str) -> Iterator[NewEntry]:
    client = Client("192.0.2.1", 25, "mx.example.com", "mx.example.com", "ESMTP")
    envelope = Envelope("s@upstream.example", (Recipient("u@example.jp"),))
    headers = (b"From: s@upstream.example", b"To: u@example.jp", b"Subject: a benchmark")
    message = Message(headers, (b"\r\n" + b"It was a dark and stormy night; the rain fell in torrents.\r\n" * 68,))
    start = time.time() - many / 1000
    for n in range(many):
        now = start + n / 1000
        yield NewEntry(new_id(now), now, envelope, (NewRecipient("u@example.jp", hop),), message, client, "<m@x>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("beside", "million"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    options = parser.parse_args()
    print(f"{machine()}\n")
    if options.only != "million":
        beside(options.rounds)
        print()
    if options.only != "beside":
        million(options.folder, options.million)


if __name__ == "__main__":
    main()
