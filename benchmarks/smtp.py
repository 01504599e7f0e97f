"""smtp: what does it cost to take a message in?

    python benchmarks/smtp.py [--rounds N] [--messages N]

One process takes mail from Postfix's smtp-source (20 sessions) and keeps
nothing: what is measured is the socket, the dialogue and DATA, not rules,
checks or the queue.  Three loads, for us and for a stock aiosmtpd on uvloop
with a null handler, in turns; medians of the rounds.

    fresh    4 KB messages, a connection each
    reused   4 KB messages, 20 kept connections
    large    1 MiB messages, a connection each; ours go through a spool file

msg/s is what came through while smtp-source ran on the same machine; us is
CPU of the server, user and system, for each message.

BUGS
    smtp-source and the server share the cores and the loopback: the server's
    CPU holds the kernel's work for both ends of a write.  smtp-source does not
    pipeline.  Only figures of one run may be compared.
"""

import argparse
import asyncio
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median

from backupmx.journal import Journal
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Content
from backupmx.mail.reply import Reply
from backupmx.operate.serve.loop import run
from backupmx.receive.admit import Admission
from backupmx.receive.limits import SmtpSettings
from backupmx.receive.listen import Door, open_sockets
from backupmx.receive.service import Service

LOADS = {
    "fresh": (["-l", "4096"], 1.0),
    "reused": (["-l", "4096", "-d"], 1.5),
    "large": (["-l", "1048576"], 0.06),
}
Server = Callable[[Connection], None]


class Everybody:
    def is_ours(self, address: str) -> bool:
        return True


async def take(client: Client, envelope: Envelope, content: Content, queue_id: str) -> Reply:
    return Reply(250, "2.0.0", f"Ok: queued as {queue_id}")


def ours(pipe: Connection) -> None:
    """A door with a null accept; its log lines are made and thrown away."""

    async def serve() -> int:
        with tempfile.TemporaryDirectory() as folder:
            settings = SmtpSettings("mx2.example.net", spool_folder=folder)
            door = Door(Service(settings, take, Admission(Everybody()), journal=Journal(sink=len)))
            sockets = open_sockets(["127.0.0.1:0"])
            await door.start(sockets)
            asyncio.get_running_loop().add_reader(pipe.fileno(), tell, pipe)
            pipe.send(sockets[0].getsockname()[1])
            await door.run()
        return 0

    run(serve())


def stock(pipe: Connection) -> None:
    """aiosmtpd as it comes, without its log."""
    import logging

    import uvloop
    from aiosmtpd.smtp import SMTP

    logging.disable(logging.CRITICAL)

    class Null:
        async def handle_DATA(self, *_: object) -> str:
            return "250 Ok"

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(Null(), hostname="mx2.example.net", loop=loop, data_size_limit=50 << 20),
            "127.0.0.1", 0, backlog=1024,
        )  # fmt: skip
        loop.add_reader(pipe.fileno(), tell, pipe)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(serve())


def tell(pipe: Connection) -> None:
    """Asked for its CPU time, a server answers; told to go, it goes."""
    if pipe.recv() == "go":
        os._exit(0)
    pipe.send(time.process_time())


def measure(server: Server, messages: int) -> dict[str, tuple[float, float]]:
    """Load -> (messages a second, microseconds of CPU a message)."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=server, args=(there,))
    process.start()
    port = here.recv()
    results = {}
    for name, (options, share) in LOADS.items():
        count = max(20, int(messages * share))
        load(port, 40, options)  # warm
        cpu, began = asked(here), time.monotonic()
        load(port, count, options)
        took = time.monotonic() - began
        results[name] = (count / took, (asked(here) - cpu) / count * 1e6)
    here.send("go")
    process.join()
    return results


def asked(pipe: Connection) -> float:
    pipe.send("cpu")
    return float(pipe.recv())


def load(port: int, count: int, options: list[str]) -> None:
    program = shutil.which("smtp-source", path="/usr/sbin:/usr/local/sbin") or sys.exit("smtp-source is not installed")
    addresses = ["-M", "client.example", "-f", "a@b.example", "-t", "user@example.jp"]
    subprocess.run(
        [program, "-s", "20", "-m", str(count), *options, *addresses, f"127.0.0.1:{port}"], check=True, timeout=300
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--messages", type=int, default=3000)
    given = arguments.parse_args()
    rounds = [(measure(ours, given.messages), measure(stock, given.messages)) for _ in range(given.rounds)]
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, load {os.getloadavg()[0]:.1f}")
    print(f"{given.rounds} rounds of {given.messages} messages, one server process, smtp-source -s 20\n")
    print(f"{'load':8} {'ours msg/s':>11} {'us':>7}   {'aiosmtpd msg/s':>14} {'us':>7}   {'ratio of us':>11}")
    for name in LOADS:
        rate, cpu = (median(r[0][name][n] for r in rounds) for n in (0, 1))
        other_rate, other_cpu = (median(r[1][name][n] for r in rounds) for n in (0, 1))
        ratio = other_cpu / cpu
        print(f"{name:8} {rate:11.0f} {cpu:7.0f}   {other_rate:14.0f} {other_cpu:7.0f}   {ratio:10.1f}x")


if __name__ == "__main__":
    main()
