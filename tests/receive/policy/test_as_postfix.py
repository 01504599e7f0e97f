"""What is held against clients is what Postfix's restrictions of the same names hold, word for word."""

import asyncio
import smtplib
from pathlib import Path

import pytest

from backupmx.receive.policy.access import parse
from backupmx.receive.policy.clients import ClientRules
from tests.neighbours.postfix import postfix
from tests.receive.doors import running
from tests.receive.policy.test_clients import Zone

pytestmark = pytest.mark.neighbours

GREETINGS = [
    "a", "a.b", "a_b.c", "a..b", "-a.b", "a.b-", "a.b.", "a.b..", ".", "1.2", "a.1", "123", "*.b", "1.2.3.4", "::1",
    "[1.2.3.4]", "[1.2.3]", "[IPv6:::1]", "[::1]", "[foo]", "[1.2.3.4", f"{'x' * 64}.b", "a@b", "a b", "a\x01.b",
]  # fmt: skip
SENDERS = ["", "a@b", "a@b.c", "a@[1.2.3.4]"]
LIST = {
    "192.0.2.1": "REJECT", "192.0.2.2": "REJECT go away", "192.0.2.3": "DEFER", "192.0.2.4": "DEFER later",
    "192.0.2.5": "450 4.7.1 own words", "192.0.2.6": "550 own words", "192.0.2.7": "DUNNO", "192.0.2.8": "OK",
    "192.0.2.9": "521 bye",
}  # fmt: skip


def told(port: int, scripts: list[tuple[str, str, str]]) -> list[tuple[int, bytes]]:
    """For each (address, greeting, sender), given by XCLIENT, what is said to RCPT."""
    replies = []
    for address, greeting, sender in scripts:
        with smtplib.SMTP("127.0.0.1", port, "here.example", 30) as client:
            client.ehlo()
            client.docmd(
                "XCLIENT",
                f"ADDR={address} NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]",
            )
            client.docmd("EHLO", greeting)
            client.docmd("MAIL", f"FROM:<{sender}>")
            replies.append(client.docmd("RCPT", "TO:<user@example.jp>"))
    return replies


async def both(
    folder: Path, restriction: str, rules: ClientRules, scripts: list[tuple[str, str, str]]
) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """-> what Postfix says, what we say"""
    settings = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1", "smtpd_client_restrictions": restriction,
        "local_header_rewrite_clients": "", "append_at_myorigin": "no", "append_dot_mydomain": "no",
    }  # fmt: skip
    with postfix(folder, settings=settings) as real:
        theirs = await asyncio.to_thread(told, real.port, scripts)
    async with running(resolver=Zone(), rules=rules, limit_exceptions=(), xclient_from=("127.0.0.1",)) as door:
        ours = await asyncio.to_thread(told, door.port, scripts)
    return theirs, ours


@pytest.mark.parametrize(
    "name",
    ["reject_invalid_helo_hostname", "reject_non_fqdn_helo_hostname", "reject_unknown_client_hostname",
     "reject_unknown_reverse_client_hostname", "reject_non_fqdn_sender"],
)  # fmt: skip
async def test_restrictions(name: str, tmp_path: Path) -> None:
    """Each switch against Postfix's restriction of its name."""
    if "helo" in name:
        scripts = [("192.0.2.1", greeting, "a@b.example") for greeting in GREETINGS]
    else:
        scripts = [("192.0.2.1", "a.example", sender) for sender in SENDERS]
    theirs, ours = await both(tmp_path, name, ClientRules("mx2.example.net", **{name: True}), scripts)  # type: ignore[arg-type]
    assert dict(zip(scripts, theirs, strict=True)) == dict(zip(scripts, ours, strict=True))


async def test_own_list(tmp_path: Path) -> None:
    """client_access against check_client_access cidr:, line for line."""
    text = "".join(f"{network} {action}\n" for network, action in LIST.items())
    inline = ", ".join(f"{{{network} {action}}}" for network, action in LIST.items())
    scripts = [(f"192.0.2.{n}", "a.example", "a@b.example") for n in range(1, 11)]
    rules = ClientRules("mx2.example.net", access=parse(text, "f"))
    theirs, ours = await both(tmp_path, f"check_client_access cidr:{{ {inline} }}", rules, scripts)
    assert dict(zip(scripts, theirs, strict=True)) == dict(zip(scripts, ours, strict=True))
