"""A flood of one message against real engines, which count: one scan."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.check.finding import Finding, Mail
from backupmx.check.run import Checks, build
from backupmx.config import load
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.net.dns import Resolver
from tests.check.messages import mail
from tests.neighbours.clamd import clamd
from tests.neighbours.spamd import spamd

pytestmark = pytest.mark.neighbours

OTHER = Client("198.51.100.7", 25, "unknown", "other.test", "ESMTP")


def checks(folder: Path, clamd_address: str, spamd_address: str) -> Checks:
    (folder / "backupmx.toml").write_text(
        'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
        f'[checks.virus]\naddress = "{clamd_address}"\n[checks.spam]\naddress = "{spamd_address}"\n'
        + "".join(f"[checks.{name}]\nenabled = false\n" for name in ("spf", "dkim", "dmarc", "arc"))
    )
    return build(load(folder / "backupmx.toml"), Resolver(["127.0.0.1:1"]), silent())


def copy(number: int, message: Mail) -> Mail:
    """The same content to somebody else: with a queue id, a Received and a recipient of its own."""
    received = b"Received: by mx2.example.net with ESMTP id %d" % number
    envelope = Envelope(message.envelope.sender, (Recipient(f"user{number}@example.jp"),))
    headers = (received, *message.message.headers)
    return replace(
        message, message=replace(message.message, headers=headers), envelope=envelope, queue_id=str(number), own=1
    )


async def flood(checks: Checks, message: Mail, times: int) -> list[Sequence[Finding]]:
    """Half of them at once, half one after another."""
    found = await asyncio.gather(*(checks.run(copy(n, message)) for n in range(times // 2)))
    return [each.all for each in (*found, *[await checks.run(copy(n, message)) for n in range(times // 2, times)])]


async def test_one_message_costs_one_scan(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A hundred copies are one scan for clamd and one for spamd; what was not scanned says "remembered"."""
    new = tmp_path_factory.mktemp
    engine, spam = new("clamd"), new("spamd")
    with clamd(engine, more="LogClean yes\n") as (clamd_address, _), spamd(spam) as spamd_address:
        ours = checks(tmp_path, clamd_address, spamd_address)
        found = await flood(ours, mail(), 100)
        await flood(ours, mail(client=OTHER), 20)
        await flood(ours, mail(b"Another\r\n"), 20)
    assert (engine / "log").read_bytes().count(b": OK\n") == 2
    scanned = [line for line in (spam / "log").read_bytes().splitlines() if b"result: " in line]
    assert len([line for line in scanned if b"<1@sender.test>" in line]) == 3
    told = [", remembered" in finding.detail for findings in found for finding in findings]
    assert (len(told), told.count(False)) == (200, 2)
