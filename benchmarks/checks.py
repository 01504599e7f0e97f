"""checks: what does it cost to look at a message?

    python -m benchmarks.checks [--times N]

Each row is one check, alone, on one core: microseconds of CPU of this process
for a message, and the time it takes, both with a warm DNS cache and (but for
the row that says so) as if no message had been seen before.  The last rows are
all checks together as the shipped configuration runs them.

    small    4 KB, 12 headers, one DKIM signature (2,048 bits of RSA)
    large    10 MB, in one slice, the signature relaxed/relaxed

Then clamd, if it is installed: the time of a message through our check beside
that through `clamdscan --stream` with a list of files, which starts once and
makes a connection for each file, as we do.  They take turns; the least of each
counts.  clamd knows one signature and its cache is off.

BUGS
    The DNS is a table in memory: a real one adds its round trips to the time,
    not to the CPU.  spamd and rspamd are not here: their time is theirs.
    With a real database clamd needs longer, and our share is smaller.
"""

import argparse
import asyncio
import base64
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
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
from tests.neighbours import clamd as neighbour

HOST = "mx2.example.net"
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
    client = Client("192.0.2.1", 40000, "mx1.sender.example", "mx1.sender.example", "ESMTP")
    message = replace(message, headers=(field, *headers))
    return Mail(message, Envelope("alice@sender.example", (Recipient("bob@example.jp"),)), client, "4hX")


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
    small = signed_by(private, b"a line of an ordinary message, as long as lines are\r\n" * 64)
    large = signed_by(private, b"a line of an ordinary message, as long as lines are\r\n" * 190_000)
    print(f"{'':34}{'CPU us':>10}{'time us':>10}")
    for size, sample, count in (("small", small, times), ("large", large, max(2, times // 200))):
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


def beside_clamdscan(rounds: int = 9) -> None:
    if not (shutil.which("clamd", path="/usr/sbin:/usr/bin:/usr/local/sbin") and shutil.which("clamdscan")):
        print("\nclamd and clamdscan are not installed")
        return
    print(f"\n{'clamd, microseconds a message':34}{'ours':>10}{'clamdscan':>10}{'ratio':>10}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        address, _ = stack.enter_context(neighbour.clamd(folder, 30 << 20, "DisableCache yes\n"))
        for size, count in ((4 << 10, 100), (100 << 10, 20), (1 << 20, 4)):
            ours, theirs = _in_turns(folder, address, size, count, rounds)
            print(f"{f'{size >> 10} KB':34}{ours * 1e6:10.0f}{theirs * 1e6:10.0f}{ours / theirs:10.2f}")


def _in_turns(folder: Path, address: str, size: int, count: int, rounds: int) -> tuple[float, float]:
    """-> the least seconds a message, ours and clamdscan's."""
    line = b"a line of an ordinary message\r\n"
    messages = [Message((b"Subject: %d" % n,), (b"\r\n", line * (size // len(line)))) for n in range(count)]
    files = [folder / f"{size}-{n}.eml" for n in range(count)]
    for file, message in zip(files, messages, strict=True):
        file.write_bytes(b"From backupmx\r\n" + b"".join(message.chunks()))  # what tells clamd that it is mail
    (folder / "list").write_text("".join(f"{file}\n" for file in files))

    async def scan() -> None:
        clamd = Clamd(Endpoint.parse(address), 60)
        for message in messages:
            await clamd.scan(message)

    command = ["clamdscan", "--stream", "-c", str(folder / "clamd.conf"), "--no-summary", "-f", str(folder / "list")]
    ours, theirs = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        asyncio.run(scan())
        ours.append((time.perf_counter() - started) / count)
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        theirs.append((time.perf_counter() - started) / count)
    return min(ours), min(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description="What does it cost to look at a message?")
    parser.add_argument("--times", type=int, default=1000, help="messages a row (1000)")
    times = parser.parse_args().times
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {times} times")
    asyncio.run(table(times))
    beside_clamdscan()


if __name__ == "__main__":
    main()
