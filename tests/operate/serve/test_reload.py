"""What a reload applies, and what it names because it cannot."""

from pathlib import Path

import pytest

from backupmx.config import Config, parse
from backupmx.operate.serve.reload import changed, held, read_again

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
PATH = Path("/etc/backupmx/backupmx.toml")


def config(more: str = "") -> Config:
    return parse(TEXT + more, PATH)


@pytest.mark.parametrize(
    ("more", "fixed"),
    [
        ("", []),
        ('on_refusal = "bounce"\n[checks]\ndeadline = "5s"\n[rules]\nstrict = false\n', []),
        (
            "[smtp]\nworkers = 7\ntimeout = 9\n[queue]\nmin_free = 1\n",
            ["smtp.workers", "smtp.timeout", "queue.min_free"],
        ),
        ('[queue]\nlifetime = "9d"\nretry_max = "2h"\n', []),
        ('[log]\nformat = "json"\n[dns]\nservers = ["192.0.2.53"]\n', ["dns.servers", "log.format"]),
        ('[smtp]\nclient_access = "clients"\npregreet = "score"\nreject_unknown_sender_domain = true\n', []),
        ('[smtp]\nproxy_protocol_from = ["192.0.2.1"]\nxclient_from = ["192.0.2.1"]\netrn_from = ["192.0.2.1"]\n', []),
        ('[smtp]\ntls_chain_files = ["x.pem"]\nlimit_exceptions = []\nstop_timeout = "9s"\n', []),
    ],
)
def test_what_a_reload_cannot_apply(more: str, fixed: list[str]) -> None:
    """Ports, limits, the queue's file and the log want a restart; rules, routes, checks and whom we trust do not."""
    assert changed(config(), config(more)) == fixed


def test_what_is_held() -> None:
    """Of one section a key that wants a restart stays as it was, and its neighbour follows the file."""
    old, new = config(), config('[smtp]\nworkers = 7\netrn_from = ["192.0.2.1"]\n[log]\nformat = "json"\n')
    kept = held(old, new, changed(old, new))
    assert (kept.smtp.workers, kept.smtp.etrn_from, kept.log.format) == (0, ("192.0.2.1",), "postfix")
    assert changed(old, kept) == []


def test_files_are_read_by_what_holds(tmp_path: Path) -> None:
    """A name that wants a restart does not reach the client policy before the greeting has it."""
    path = tmp_path / "backupmx.toml"
    (tmp_path / "transport.map").write_text("example.jp smtp:[192.0.2.1]\n")
    path.write_text(TEXT)
    now, _, _ = read_again(parse(TEXT, path))
    path.write_text(TEXT.replace("mx2", "mx3"))
    then, files, fixed = read_again(now)
    assert (then.hostname, files.clients.hostname, fixed) == ("mx2.example.net", "mx2.example.net", ["hostname"])
