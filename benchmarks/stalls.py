"""stalls: for how long does one message hold everybody else up?

    python -m benchmarks.stalls [--only WORD]

Hostile and heavy messages go through `assess` (rules, all checks with the
embedded engines, our fields; the last rows: one check alone, and a real
clamav-milter that takes forged fields away, where it is installed) while a heartbeat of 1 ms runs on the same event
loop.  For each message: the time it took, and the longest time that the
heartbeat was late; beside it the longest run of CPU that the loop's own thread
used between two beats, which other processes of the machine cannot inflate.
The promise is 20 ms.

BUGS
    A worker thread that holds Python's lock makes the beat late without using
    the loop's CPU: `late` tells, on a machine that does nothing else.
"""

import argparse
import asyncio
import base64
import gc
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backupmx.check import milters
from backupmx.check.run import build
from backupmx.config import parse
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Content, canonical
from backupmx.net.dns import Resolver
from backupmx.operate.serve.tables import read_table
from backupmx.receive.assess import Policy, assess
from backupmx.route.routes import Routes
from backupmx.route.transport_map import parse as transport_map
from backupmx.rules.engine import Tables
from benchmarks.checks import CONFIGURATION, HOST, Table, key_pair, signed_by
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.clamd import clamd

RULES = Path(__file__).parent.parent / "policy" / "header_checks"
HEAD = (
    b"From: Alice <alice@sender.example>\r\nTo: bob@example.jp\r\nSubject: lunch\r\n"
    b"Date: Tue, 24 Nov 2026 04:00:00 +0000\r\n"
)
LINE = b"a line of an ordinary message, as long as lines are\r\n"
NOTHING = f"""
hostname = "{HOST}"
[relay]
transport_map = "transport.map"
[checks]
virus.engine = "off"
spf.enabled = false
dkim.enabled = false
dmarc.enabled = false
arc.enabled = false
"""
BUILTIN, NO_SPAM = '[checks.spam]\nengine = "builtin"\n', '[checks.spam]\nengine = "off"\n'
PART = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n"
MIXED = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"
MIB = 1 << 20


def encoded(octets: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return octets


def nested(depth: int) -> bytes:
    opening = (b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    return b"".join(opening) + b"\r\nHello\r\n"


def messages(private: bytes) -> Iterator[tuple[str, Callable[[], bytes]]]:
    def signed(body: bytes) -> bytes:
        return b"".join(signed_by(private, body).message.chunks())

    signature = signed(b"Hello\r\n").partition(b"\r\nReceived:")[0] + b"\r\n"
    yield "4 KB, signed", lambda: signed(LINE * 64)
    yield "200 KB, signed", lambda: signed(LINE * 3_900)
    yield "25 MB of text, signed", lambda: signed(LINE * 480_000)
    yield "25 MB in base64", lambda: HEAD + BASE64 + encoded(os.urandom(18 * MIB))
    yield "base64 of base64 of base64, 12 MB", lambda: HEAD + BASE64 + encoded(bytes(5 * MIB), 3)
    yield "one line of 25 MB", lambda: HEAD + b"\r\n" + b"x" * (25 * MIB) + b"\r\n"
    yield "10 MB of blanks in lines of 1 MB, signed", lambda: signed((b" " * MIB + b"\r\n") * 10)
    yield "20,000 encoded parts", lambda: MIXED + PART * 20_000
    yield "500,000 empty parts", lambda: MIXED + b"--b\r\n\r\n" * 500_000
    yield "multiparts 2,000 deep", lambda: HEAD + nested(2_000)
    yield "1,000 signatures", lambda: signature * 1_000 + HEAD + b"\r\nHello\r\n"
    yield "8 signatures over 200 KB", lambda: signature * 8 + HEAD + b"\r\n" + LINE * 3_900
    yield (
        "500 ARC sets",
        lambda: b"".join(b"ARC-Seal: i=%d; a=rsa-sha256\r\n" % n for n in range(1500)) + HEAD + b"\r\nx\r\n",
    )
    yield "20,000 headers", lambda: b"".join(b"X-Header-%d: x\r\n" % n for n in range(20_000)) + HEAD + b"\r\nx\r\n"
    yield (
        "encoded words, 100 KB",
        lambda: b"Subject: " + b"=?utf-8?B?8J+=?= =?x?Q?=FF?=\r\n " * 4_000 + b"x\r\n" + HEAD + b"\r\nx\r\n",
    )
    yield "From: of 1 MB", lambda: b"From: " + b"(" * MIB + b"\r\n" + HEAD + b"\r\nx\r\n"


def for_one_check() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """As much as the builtin spam rules look at."""
    most = 512 << 10
    yield "builtin spam rules alone, 512 KB of text", lambda: HEAD + b"\r\n" + LINE * (most // len(LINE))
    yield "builtin spam rules alone, 512 KB of parts", lambda: MIXED + PART * (most // len(PART))


def for_a_milter() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """clamav-milter takes each of them away, one edit a field."""
    yield "clamav-milter, 10,000 forged fields", lambda: b"X-Virus-Status: Clean\r\n" * 10_000 + HEAD + b"\r\nx\r\n"


class Beat:
    """Every millisecond; how late at most, and how much CPU of this thread between two."""

    def __init__(self) -> None:
        self.late = self.cpu = 0.0

    async def run(self) -> None:
        clock, cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now, used = time.perf_counter(), time.thread_time()
            self.late, self.cpu = max(self.late, now - clock - 0.001), max(self.cpu, used - cpu)
            clock, cpu = now, used


@contextmanager
def beating() -> Iterator[Beat]:
    beat = Beat()
    task = asyncio.get_running_loop().create_task(beat.run())
    try:
        yield beat
    finally:
        task.cancel()


async def measure(policy: Policy, raw: bytes) -> tuple[float, float, float]:
    """-> seconds: for the message, the latest beat, the longest run of CPU on the loop."""
    content = Content(canonical(raw))
    client = Client("192.0.2.1", 40000, "mx1.sender.example", "mx1.sender.example", "ESMTP")
    envelope = Envelope("alice@sender.example", (Recipient("bob@example.jp"),))
    gc.collect()
    with beating() as beat:
        await asyncio.sleep(0.01)
        started = time.perf_counter()
        await assess(policy, silent(), client, envelope, content, "4hX", 0.0)
        seconds = time.perf_counter() - started
        await asyncio.sleep(0.005)
    return seconds, beat.late, beat.cpu


def policy(text: str, resolver: Resolver) -> Policy:
    config, rules = parse(text, Path("backupmx.toml")), read_table(str(RULES))
    routes = Routes(transport_map("example.jp smtp:[p]\n", "t"))
    listed = milters.build(config, silent()) if config.milter else None
    checks = build(config, resolver, silent())
    return Policy(HOST, Tables(header=rules, milter=rules), routes, checks, milters=listed)


async def rows(policy: Policy, messages: Iterator[tuple[str, Callable[[], bytes]]], only: str) -> None:
    for name, make in messages:
        if only in name:
            took, late, cpu = (1000 * seconds for seconds in await measure(policy, make()))
            print(f"{name:44}{took:10.0f}{late:10.1f}{cpu:13.1f}{'  over 20' if cpu > 20 else ''}", flush=True)


async def table(only: str) -> None:
    private, public = key_pair()
    resolver: Resolver = Table(public)
    print(f"{'':44}{'took ms':>10}{'late ms':>10}{'loop CPU ms':>13}")
    await rows(policy(CONFIGURATION, resolver), messages(private), only)
    await rows(policy(NOTHING + BUILTIN, resolver), for_one_check(), only)
    if not any(only in name for name, _ in for_a_milter()):
        return
    if not all(shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") for name in ("clamd", "clamav-milter")):
        print("clamav-milter is not installed")
        return
    with (
        tempfile.TemporaryDirectory(prefix="stalls-") as folder,
        clamd(Path(folder)) as (engine, _),
        clamav_milter(Path(folder), engine) as address,
    ):
        listed = f'[[milter]]\nname = "clamav-milter"\naddress = "{address}"\non_error = "defer"\n'
        await rows(policy(NOTHING + NO_SPAM + listed, resolver), for_a_milter(), only)


def main() -> None:
    parser = argparse.ArgumentParser(description="For how long does one message hold everybody else up?")
    parser.add_argument("--only", default="", metavar="WORD", help="messages with this word in their name")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    asyncio.run(table(arguments.only))


if __name__ == "__main__":
    main()
