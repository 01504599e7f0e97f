"""checks: what does it cost to look at a message?

    python benchmarks/checks.py [--times N]

Each row is one check, alone, on one core: microseconds of CPU of this process
for a message, and the time it takes, both with a warm DNS cache.  The last rows
are all checks together as the shipped configuration runs them.

    small    4 KB, 12 headers, one DKIM signature (2,048 bits of RSA)
    large    10 MB, in one slice, the signature relaxed/relaxed

BUGS
    The DNS is a table in memory: a real one adds its round trips to the time,
    not to the CPU.  clamd and spamd are not here: their time is theirs; what we
    add to it is one connection and one copy of the message into a socket.
"""

import argparse
import asyncio
import base64
import os
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from backupmx.check.dkim import Dkim
from backupmx.check.dmarc import Dmarc
from backupmx.check.finding import Findings, Mail
from backupmx.check.run import build
from backupmx.check.spam import Spam
from backupmx.check.spam_builtin import SHIPPED as RULES
from backupmx.check.spam_builtin import Builtin, read
from backupmx.check.spf import Spf
from backupmx.check.stamp import apply, fields
from backupmx.check.virus import Virus
from backupmx.check.virus_yara import SHIPPED, Yara
from backupmx.config import parse
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.net.dns import Answer, Resolver

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
    virus, spam = Virus([Yara(SHIPPED, 10)], HOST), Spam(Builtin(read(RULES)), 17.0, HOST)
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
            ("spam: builtin", lambda sample=sample, found=found: spam.look(sample, found)),
            ("stamp", stamped),
            ("all checks, embedded engines", lambda sample=sample: checks.run(sample)),
        ]
        for name, look in rows:
            cpu, clock = await measured(count, look)
            print(f"{size + ', ' + name:34}{cpu:10.0f}{clock:10.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="What does it cost to look at a message?")
    parser.add_argument("--times", type=int, default=1000, help="messages a row (1000)")
    times = parser.parse_args().times
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {times} times")
    asyncio.run(table(times))


if __name__ == "__main__":
    main()
