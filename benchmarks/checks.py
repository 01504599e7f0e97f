"""checks: what does it cost to look at a message?

    python -m benchmarks.checks [--times N]

Each row is one check, alone, on one core: microseconds of CPU of this process
for a message, and the time it takes, both with a warm DNS cache and (but for
the row that says so) as if no message had been seen before.  The last rows are
all checks together as the shipped configuration runs them.

Messages of 4 KB, 100 KB and 5 MB, 12 headers, one DKIM signature (2,048 bits of
RSA, relaxed/relaxed), in one slice.

Then the engines' own clients, where they are installed: the time of a message
through our check beside that through `clamdscan --stream` with a list of files,
which starts once and makes a connection for each file, as we do, and through
`spamc -y`, which starts anew for each message.  They take turns; the least of
each counts.  clamd knows one signature and its cache is off; spamd has three rules
and gets no more than 512 KiB.

BUGS
    The DNS is a table in memory: a real one adds its round trips to the time,
    not to the CPU.  What spamc spends on its own start is in its time.
    With real signatures and rules the engines need longer, and our share is smaller.
"""

import argparse
import asyncio
import base64
import math
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from backupmx.check.dkim import Dkim
from backupmx.check.dmarc import Dmarc
from backupmx.check.finding import Findings, Mail
from backupmx.check.remembered import Remembered
from backupmx.check.run import build
from backupmx.check.spam import Spam
from backupmx.check.spam_builtin import SHIPPED as RULES
from backupmx.check.spam_builtin import Builtin, read
from backupmx.check.spam_spamd import Spamd
from backupmx.check.spf import Spf
from backupmx.check.stamp import apply, fields
from backupmx.check.virus import Virus
from backupmx.check.virus_clamd import Clamd
from backupmx.check.virus_yara import SHIPPED, Yara
from backupmx.config import parse
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net.dns import Answer, Resolver
from backupmx.net.endpoint import Endpoint
from tests.neighbours.clamd import clamd
from tests.neighbours.spamd import spamd

HOST = "mx2.example.net"
LINE = b"a line of an ordinary message, as long as lines are\r\n"
CLIENT = Client("192.0.2.1", 40000, "mx1.sender.example", "mx1.sender.example", "ESMTP")
ENVELOPE = Envelope("alice@sender.example", (Recipient("bob@example.jp"),))
CONFIGURATION = f"""
hostname = "{HOST}"
[relay]
transport_map = "transport.map"
[checks.virus]
engine = "yara"
[checks.spam]
engine = "builtin"
"""


class Table(Resolver):
    """A DNS of four records."""

    def __init__(self, key: bytes) -> None:
        super().__init__(["127.0.0.1:1"])
        texts = {
            "sender.example": b"v=spf1 include:_spf.sender.example -all",
            "_spf.sender.example": b"v=spf1 ip4:192.0.2.0/24 ~all",
            "_dmarc.sender.example": b"v=DMARC1; p=reject",
            "s1._domainkey.sender.example": b"v=DKIM1; p=" + key,
        }
        self._answers = {name: Answer((text.decode(),), strings=(text,)) for name, text in texts.items()}

    def known(self, name: str, rdtype: str) -> Answer:
        return self._answers.get(name, Answer((), exists=False)) if rdtype == "TXT" else Answer((), exists=False)


def signed_by(private: bytes, body: bytes) -> Mail:
    headers = (
        b"Received: from mx1.sender.example (mx1.sender.example [192.0.2.1])\n\tby mx2.example.net with ESMTP id 4hX",
        b"From: Alice <alice@sender.example>",
        b"To: bob@example.jp",
        b"Subject: lunch",
        b"Date: Tue, 24 Nov 2026 04:00:00 +0000",
        b"Message-ID: <1@sender.example>",
        *(b"X-Header-%d: a value as long as values are" % n for n in range(6)),
    )
    message = Message(headers, (b"\r\n", memoryview(body)))
    raw = b"".join(message.chunks())
    signature = dkim.sign(raw, b"s1", b"sender.example", private, canonicalize=(b"relaxed", b"relaxed"))
    field = signature.replace(b"\r\n", b"\n").rstrip(b"\n")
    return Mail(replace(message, headers=(field, *headers)), ENVELOPE, CLIENT, "4hX")


def key_pair() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return private, base64.b64encode(key.public_key().public_bytes(*der))


async def measured(times: int, look: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """-> microseconds of CPU and of time, each."""
    await look()
    cpu, clock = time.process_time(), time.perf_counter()
    for _ in range(times):
        await look()
    return (time.process_time() - cpu) / times * 1e6, (time.perf_counter() - clock) / times * 1e6


async def table(times: int) -> None:
    private, public = key_pair()
    resolver = Table(public)
    checks = build(parse(CONFIGURATION, Path("backupmx.toml")), resolver, silent())
    seen = Virus([Yara(SHIPPED, 10)], HOST)
    virus, spam = Virus([Yara(SHIPPED, 10)], HOST), Spam(Builtin(read(RULES)), 17.0, HOST)
    for check in (virus, checks.virus):
        assert check
        check._remembered = Remembered(0.0)
    print(f"{'':34}{'CPU us':>10}{'time us':>10}")
    for size, lines, count in (("4 KB", 64, times), ("100 KB", 1_940, times // 5), ("5 MB", 99_000, times // 100)):
        sample, count = signed_by(private, LINE * lines), max(2, count)
        found = await checks.run(sample)

        async def stamped(sample: Mail = sample, found: Findings = found) -> Message:
            return apply(sample.message, found, 1, fields(found, HOST), HOST)

        rows: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("spf", lambda sample=sample: Spf(resolver).look(sample)),
            ("dkim", lambda sample=sample: Dkim(resolver).look(sample)),
            ("dmarc", lambda sample=sample, found=found: Dmarc(resolver).look(sample, found)),
            ("virus: yara", lambda sample=sample: virus.look(sample)),
            ("virus: the same again", lambda sample=sample: seen.look(sample)),
            ("spam: builtin", lambda sample=sample, found=found: spam.look(sample, found)),
            ("stamp", stamped),
            ("all checks, embedded engines", lambda sample=sample: checks.run(sample)),
        ]
        for name, look in rows:
            cpu, clock = await measured(count, look)
            print(f"{size + ', ' + name:34}{cpu:10.0f}{clock:10.0f}")


@contextmanager
def folder_of(program: str, client: str) -> Iterator[Path | None]:
    """Where its neighbour may live; None when one of the two is not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"
    if not (shutil.which(program, path=path) and shutil.which(client)):
        print(f"\n{program} and {client} are not installed")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        print(f"\n{f'{program}, microseconds a message':34}{'ours':>10}{client:>10}{'ratio':>10}")
        yield Path(name)


def sample(size: int, count: int) -> list[Message]:
    return [Message((b"Subject: %d" % n,), (b"\r\n", LINE * (size // len(LINE)))) for n in range(count)]


def beside_clamdscan(rounds: int = 9) -> None:
    with folder_of("clamd", "clamdscan") as folder, ExitStack() as stack:
        if folder is None:
            return
        address, _ = stack.enter_context(clamd(folder, 30 << 20, "DisableCache yes\n"))
        for size, count in ((4 << 10, 100), (100 << 10, 20), (5 << 20, 2)):
            messages, listed = sample(size, count), folder / "list"
            files = [folder / f"{size}-{n}.eml" for n in range(count)]
            for file, message in zip(files, messages, strict=True):
                file.write_bytes(b"From backupmx\r\n" + b"".join(message.chunks()))  # what tells clamd that it is mail
            listed.write_text("".join(f"{file}\n" for file in files))

            async def ours(messages: Sequence[Message] = messages) -> None:
                engine = Clamd(Endpoint.parse(address), 60)
                for message in messages:
                    await engine.scan(message)

            def theirs(listed: Path = listed, configured: Path = folder / "clamd.conf") -> None:
                command = ["clamdscan", "--stream", "-c", str(configured), "--no-summary", "-f", str(listed)]
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

            _in_turns(size, count, rounds, ours, theirs)


def beside_spamc(rounds: int = 5) -> None:
    with folder_of("spamd", "spamc") as folder, ExitStack() as stack:
        if folder is None:
            return
        address = stack.enter_context(spamd(folder))
        for size, count in ((4 << 10, 20), (100 << 10, 5), (500 << 10, 2)):
            messages, engine = sample(size, count), Spamd(Endpoint.parse(address), 60)
            asyncio.run(engine.ping())  # it learns the version once

            async def ours(messages: Sequence[Message] = messages, engine: Spamd = engine) -> None:
                for message in messages:
                    await engine.score(Mail(message, ENVELOPE, CLIENT), Findings())

            def theirs(messages: Sequence[Message] = messages) -> None:
                for message in messages:
                    raw = b"".join(message.chunks())
                    command = ["spamc", "-d", "127.0.0.1", "-p", address.rpartition(":")[2], "-y"]
                    subprocess.run(command, input=raw, stdout=subprocess.DEVNULL, check=True)

            _in_turns(size, count, rounds, ours, theirs)


def _in_turns(
    size: int, count: int, rounds: int, ours: Callable[[], Coroutine[None, None, None]], theirs: Callable[[], None]
) -> None:
    """The least seconds a message, ours and theirs."""
    least = [math.inf, math.inf]
    for _ in range(rounds):
        for which, work in enumerate((lambda: asyncio.run(ours()), theirs)):
            started = time.perf_counter()
            work()
            least[which] = min(least[which], (time.perf_counter() - started) / count)
    print(f"{f'{size >> 10} KB':34}{least[0] * 1e6:10.0f}{least[1] * 1e6:10.0f}{least[0] / least[1]:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What does it cost to look at a message?")
    parser.add_argument("--times", type=int, default=1000, help="messages a row (1000)")
    times = parser.parse_args().times
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {times} times")
    asyncio.run(table(times))
    beside_clamdscan()
    beside_spamc()


if __name__ == "__main__":
    main()
