"""Clients that nobody knows, at the real appliance: own list, lists in the DNS, the wait before the greeting."""

import smtplib
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to
from tests.journeys.client import ADDRESS, message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import Primary, real_primary
from tests.neighbours.unbound import free_port, unbound

pytestmark = pytest.mark.neighbours

LISTS = [
    "5.0.0.127.bl.test. 300 IN A 127.0.0.2",
    "6.0.0.127.bl.test. 300 IN A 127.0.0.2",
    "6.0.0.127.wl.test. 300 IN A 127.0.9.3",
    "7.0.0.127.bl.test. 300 IN A 127.0.0.10",
    "client.sender.test. 300 IN A 127.0.0.5",
    "5.0.0.127.in-addr.arpa. 300 IN PTR client.sender.test.",
    "6.0.0.127.in-addr.arpa. 300 IN PTR elsewhere.test.",
]
SITES = ["bl.test=127.0.0.[2..9]*2", "wl.test=127.0.[0..255].[1..3]*-2", "dead.test*9", "silent.test*9"]
EVERYBODY = ["::1"]


@pytest.fixture
def lists(tmp_path: Path) -> Iterator[str]:
    """unbound with block and welcome lists; one whose servers are dead, one that never answers."""
    (tmp_path / "lists").mkdir()
    with unbound(tmp_path / "lists", LISTS, servfail=["dead.test."], silent=["silent.test."]) as server:
        yield server


def reply(port: int, address: str, *, helo: str = "client.sender.test", sender: str = "a@sender.test") -> str:
    """What this client reads at RCPT."""
    with smtplib.SMTP("127.0.0.1", port, helo, 30, (address, 0)) as smtp:
        smtp.ehlo()
        smtp.mail(sender)
        code, text = smtp.rcpt("bob@example.jp")
        return f"{code} {text.decode()}"


def test_lists_in_the_dns(serve: Serve, lists: str) -> None:
    """Listed is refused, listed and welcomed is not; lists that are dead or silent hold nobody up for long."""
    smtp = {"limit_exceptions": EVERYBODY, "dnsbl_sites": SITES, "dnsbl_threshold": 2, "dnsbl_action": "enforce",
            "dnsbl_timeout": "2s", "reject_unknown_client_hostname": True}  # fmt: skip
    mx = serve(bound_to(["example.jp"], free_port()), smtp=smtp, dns={"servers": [lists]})
    blocked = "550 5.7.1 Service unavailable; client [127.0.0.5] blocked using bl.test"
    assert reply(mx.port, "127.0.0.5") == blocked
    assert reply(mx.port, "127.0.0.6") == "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.6]"
    assert reply(mx.port, "127.0.0.7").startswith("450 4.7.25 ")
    mx.logged(r"reject: RCPT from client\.sender\.test\[127\.0\.0\.5\].* \[smtp\.dnsbl_sites: 2 by bl\.test\*2\]")


def test_own_list_is_read_again(serve: Serve, lists: str) -> None:
    """The operator's own list comes before all else and follows a reload; a mistake in it keeps the old one."""
    smtp = {
        "limit_exceptions": EVERYBODY,
        "client_access": "clients",
        "dnsbl_sites": SITES[:1],
        "dnsbl_action": "enforce",
    }
    mx = serve(bound_to(["example.jp"], free_port()), started=False, smtp=smtp, dns={"servers": [lists]})
    (mx.folder / "clients").write_text("127.0.0.5 OK\n127.0.0.0/8 REJECT go away\n")
    mx.start()
    assert reply(mx.port, "127.0.0.5") == "250 2.1.5 Ok"
    assert reply(mx.port, "127.0.0.8") == "554 5.7.1 <unknown[127.0.0.8]>: Client host rejected: go away"
    (mx.folder / "clients").write_text("127.0.0.0/8 DUNNO\n")
    mx.reload()
    eventually(lambda: reply(mx.port, "127.0.0.8") == "250 2.1.5 Ok")
    assert reply(mx.port, "127.0.0.5").startswith("550 5.7.1 ")
    (mx.folder / "clients").write_text("127.0.0.8/8 REJECT\nfoo OK\n")
    mx.reload()
    mx.logged(
        r"the old policy stays: \S+clients:1: 127\.0\.0\.8/8 is an address within a network; write 127\.0\.0\.0/8"
    )
    mx.logged(r"clients:2: 'foo' is no network")
    assert reply(mx.port, "127.0.0.8") == "250 2.1.5 Ok"


def test_the_wait_before_the_greeting(serve: Serve) -> None:
    """A bot is refused; a server waits once, and not again at another worker or after kill -9."""
    smtp = {"limit_exceptions": EVERYBODY, "pregreet": "enforce", "pregreet_wait": "1s", "workers": 2}
    mx = serve(bound_to(["example.jp"], free_port()), smtp=smtp)
    with socket.create_connection(("127.0.0.1", mx.port), 30, (ADDRESS, 0)) as bot:
        bot.sendall(b"EHLO bot\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<bob@example.jp>\r\nQUIT\r\n")
        lines = bot.makefile("rb").read().splitlines()
    assert [line[:4] for line in lines[:2]] == [b"220-", b"220 "]
    assert lines[-2:] == [b"550 5.5.1 Protocol error", b"221 2.0.0 Bye"]
    mx.logged(r"postscreen\[\d+\]: PREGREET \d+ after \S+ from \[127\.0\.0\.5\]:\d+: EHLO bot")
    assert send(mx.port, message("waits"), sender="alice@sender.test").code == 250
    eventually(lambda: remembered(mx.folder / "state" / "clients.db") == [ADDRESS], 20)
    mx.kill_all()
    mx.start()
    assert not any(waits(mx.port) for _ in range(4))


def remembered(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [client for (client,) in db.execute("SELECT client FROM met")]


def waits(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 30, (ADDRESS, 0)) as client:
        return client.recv(4) == b"220-"


@pytest.fixture
def modest() -> Iterator[Primary]:
    """A primary that takes 100 KB and no UTF-8."""
    with real_primary(message_size_limit="100000", virtual_mailbox_limit="0", smtputf8_enable="no") as running:
        yield running


def test_what_the_primary_would_not_take(serve: Serve, modest: Primary) -> None:
    """The real Postfix's limits are ours for its domains, once it has been spoken to, and also while it is away."""
    mx = serve(bound_to(["example.jp"], modest.port), relay={"transport_map": "transport.map", "probe_interval": "10s"})

    def told(size: int) -> str:
        with smtplib.SMTP("127.0.0.1", mx.port, "client.sender.test", 30, (ADDRESS, 0)) as smtp:
            smtp.ehlo()
            code, text = smtp.mail("alice@sender.test", [f"SIZE={size}"])
            return f"{code} {text.decode()}"

    eventually(lambda: told(100_001) == "552 5.3.4 Message size exceeds fixed limit", 30)
    assert told(100_000) == "250 2.1.0 Ok"
    modest.stop()
    assert told(100_001).startswith("552 5.3.4 ")
    with smtplib.SMTP("127.0.0.1", mx.port, "client.sender.test", 30, (ADDRESS, 0)) as smtp:
        smtp.ehlo()
        smtp.mail("alice@sender.test", ["SMTPUTF8"])
        smtp.command_encoding = "utf-8"
        code, text = smtp.rcpt("bärbel@example.jp")
        assert (code, text[:5]) == (550, b"5.6.7")
        assert smtp.rcpt("bob@example.jp")[0] == 250
