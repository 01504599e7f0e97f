"""What becomes of a message: the look ahead that spares an engine its work."""

from pathlib import Path

import pytest

from backupmx.check.finding import Seen
from backupmx.check.run import build
from backupmx.config import parse
from backupmx.journal import silent
from backupmx.mail.message import Content, canonical
from backupmx.mail.verdict import Fate
from backupmx.net.dns import Resolver
from backupmx.receive.assess import Policy, assess
from backupmx.route.routes import Routes
from backupmx.route.transport_map import parse as transport_map
from backupmx.rules.engine import Tables
from backupmx.rules.table import load
from tests.check.faults import engine, hangs
from tests.check.messages import EICAR, mail

CONFIGURATION = """\
hostname = "mx2.example.net"
[relay]
transport_map = "transport.map"
[checks.virus]
engine = "yara"
[checks.spam]
engine = "spamd"
timeout = "{seconds}s"
address = "{address}"
"""
OFF = "".join(f"[checks.{check}]\nenabled = false\n" for check in ("spf", "dkim", "dmarc", "arc"))


@pytest.mark.parametrize(
    ("rule", "fate", "spam"),
    [
        ("/^X-Virus-Status: Yes/ DISCARD", Fate.DISCARD, Seen.SKIPPED),
        ("/^X-Virus-Status: Yes/ REJECT", Fate.REJECT, Seen.SKIPPED),
        ("/^X-Virus-Status: Yes/ PREPEND X-A: b", Fate.ACCEPT, Seen.UNSCANNABLE),
    ],
)
async def test_a_virus_that_ends_the_message(tmp_path: Path, rule: str, fate: Fate, spam: Seen) -> None:
    """A rule discards or rejects it: nobody waits for a spam check that hangs.  Otherwise its own time ends it."""
    table = load(rule.encode() + b"\n", "header_checks")
    tables = Tables(header=table, milter=table)
    routes = Routes(transport_map("example.test smtp:[p]\n", "t"))
    message = mail(EICAR)
    content = Content(canonical(b"".join(message.message.chunks())))
    async with engine(tmp_path, hangs) as address:
        seconds = 60 if spam is Seen.SKIPPED else 0.3
        config = parse(CONFIGURATION.format(address=address, seconds=seconds) + OFF, Path("b.toml"))
        checks = build(config, Resolver(["127.0.0.1:1"]), silent())
        policy = Policy("mx2.example.net", tables, routes, checks)
        assessed = await assess(policy, silent(), message.client, message.envelope, content, "4hX", 0.0)
    found = assessed.findings.of("spam")
    assert found
    assert (assessed.verdict.fate, found.seen) == (fate, spam)
