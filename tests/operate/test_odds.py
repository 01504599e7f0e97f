"""Settings that cannot work together: each is one sentence with both names and what to write."""

from pathlib import Path

import pytest

from backupmx.config import Config, parse
from backupmx.operate.inspect.odds import odds, size, span

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
SHIPPED = Path(__file__).parents[2] / "policy" / "backupmx.toml"
MILTER = '[[milter]]\nname = "slow"\naddress = "inet:127.0.0.1:8891"\ncontent_timeout = '


def config(more: str) -> Config:
    return parse(TEXT + more, Path("/etc/backupmx/backupmx.toml"))


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ("[smtp]\ntimeout = 0", ("smtp.timeout (0s)", "RFC 5321 4.5.3.2.7")),
        ('[smtp]\ntimeout = "20s"\npregreet = "score"\npregreet_wait = "20s"',
         ("smtp.pregreet_wait (20s)", "smtp.timeout (20s)")),
        ('[smtp]\ntls_sni_map = "sni"', ("smtp.tls_sni_map", "smtp.tls_chain_files")),
        ('[smtp]\ndnsbl_sites = ["a.example*2", "b.example", "c.example*-4"]\ndnsbl_threshold = 4',
         ("smtp.dnsbl_threshold (4)", "smtp.dnsbl_sites", "(3)")),
        ("[smtp]\nconnection_limit = 9\nclient_connection_limit = 10",
         ("smtp.client_connection_limit (10)", "smtp.connection_limit (9)")),
        ("[smtp]\nconnection_limit = 2001", ("smtp.connection_limit (2001)", "2000 clients", "LimitNOFILE=")),
        ("[smtp]\nclient_new_tls_session_rate_limit = 5",
         ("smtp.client_new_tls_session_rate_limit (5)", "smtp.client_connection_limit (50)")),
        ("[smtp]\nclient_recipient_rate_limit = 100",
         ("smtp.client_recipient_rate_limit (100)", "smtp.recipient_limit (1000)")),
        ("[smtp]\nclient_recipient_rate_limit = 1000\nclient_message_rate_limit = 1001",
         ("smtp.client_message_rate_limit (1001)", "smtp.client_recipient_rate_limit (1000)")),
        ('[smtp]\nlimit_exceptions = ["::/0"]', ("smtp.limit_exceptions", "smtp.client_…_limit")),
        ('[smtp]\nxclient_from = ["0.0.0.0/0"]', ("smtp.xclient_from",)),
        ('[smtp]\nproxy_protocol_from = ["0.0.0.0/0"]', ("smtp.proxy_protocol_from",)),
        ('[checks]\ndeadline = 0\nvirus.engine = "off"\nspam.engine = "builtin"', ("checks.deadline (0s)", "60s")),
        ('[checks.virus]\ntimeout = "61s"', ("checks.virus.timeout (61s)", "checks.deadline (1m)")),
        ('[checks.spam]\ntimeout = "61s"', ("checks.spam.timeout (61s)", "checks.deadline (1m)")),
        ("[checks]\nspf.enabled = false\ndkim.enabled = false", ("checks.dmarc", "checks.spf", "checks.dkim")),
        ('[checks]\ndeadline = "20m"', ("checks.deadline (20m)", "RFC 5321 4.5.3.2.6")),
        (MILTER + '"10m"', ("milter slow: content_timeout (10m)", "9m")),
        ('[checks]\ndeadline = "6m"\n' + MILTER + '"5m"', ("checks.deadline (6m)", "content_timeout", "(5m ")),
        ("[smtp]\nmessage_size_limit = 0", ("smtp.message_size_limit is 0", "queue.min_free")),
        ('[smtp]\nmessage_size_limit = "32KiB"', ("smtp.message_size_limit (32 KiB)", "RFC 5321 4.5.3.1.7")),
        ('[quarantine]\nmax_size = "20MiB"', ("quarantine.max_size (20 MiB)", "smtp.message_size_limit (50 MiB)")),
        ('[smtp]\nmessage_size_limit = "801MiB"', ("smtp.message_size_limit (801 MiB)", "queue.min_free (200 MiB)")),
        ('[alarms]\ndisk_free = "200MiB"', ("alarms.disk_free (200 MiB)", "queue.min_free (200 MiB)")),
        ('[queue]\nretry_min = "2h"', ("queue.retry_min (2h)", "queue.retry_max (1h)")),
        ('[queue]\nlifetime = "59m"', ("queue.lifetime (59m)", "queue.retry_max (1h)")),
        ('[queue]\ndelay_warning = "5d"', ("queue.delay_warning (5d)", "queue.lifetime (5d)")),
        ('[relay.timeouts]\ndot = "31m"', ("relay.timeouts.dot (31m)", "relay.timeouts.message (30m)")),
        ('[recipients]\nmax_age = "10m"\n[[recipients.source]]\nname = "ldap"\ncommand = ["x"]\nevery = "1h"',
         ("recipients.max_age (10m)", "every (1h) of recipients.source ldap")),
    ],
)  # fmt: skip
def test_what_cannot_work_together(more: str, settings: tuple[str, ...]) -> None:
    """A pair at odds is told once, with both names, their values, and a remedy; nothing else is told."""
    told = list(odds(config(more), 1000 << 20, 4256))
    assert len(told) == 1, told
    assert [setting for setting in settings if setting not in told[0]] == []
    assert ";" in told[0]


@pytest.mark.parametrize(
    "more",
    [
        "",
        '[smtp]\ntimeout = "20s"\npregreet_wait = "30s"',  # nobody waits
        '[checks]\ndeadline = "5s"\nvirus.engine = "off"\nspam.engine = "builtin"',
        "[checks]\nspf.enabled = false\ndkim.enabled = false\ndmarc.enabled = false",
        '[quarantine]\nmax_size = 0\n[rules]\ndiscard = "drop"',
        '[alarms]\ndisk_free = 0\n[recipients]\nmax_age = 0\n[[recipients.source]]\nname = "x"\ncommand = ["x"]',
        f'{MILTER}"5m"\n',
    ],
)
def test_what_can(more: str) -> None:
    """What is off, or unlimited, is at odds with nothing."""
    assert list(odds(config(more), 1000 << 20, 4256)) == []
    assert list(odds(config(more))) == []


def test_the_shipped_file() -> None:
    """What init writes has nothing at odds with itself."""
    assert list(odds(parse(SHIPPED.read_text(), SHIPPED))) == []


def test_as_the_file_says_it() -> None:
    """Times and sizes are told in the largest unit that says them whole."""
    assert [span(s) for s in (0, 0.5, 90, 120, 86400, 90000)] == ["0s", "0.5s", "90s", "2m", "1d", "25h"]
    assert [size(n) for n in (0, 1023, 2048, 50 << 20)] == ["0 B", "1023 B", "2 KiB", "50 MiB"]
