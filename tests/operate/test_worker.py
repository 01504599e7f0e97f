"""[smtp] as the door reads it."""

from pathlib import Path

from backupmx.config import parse
from backupmx.operate.worker import smtp_settings

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'


def test_every_limit_reaches_the_door() -> None:
    """What the configuration says of sizes, times and numbers is what sessions go by."""
    more = (
        '[smtp]\nmessage_size_limit = "1MiB"\nrecipient_limit = 200\ntimeout = "1m"\nconnection_limit = 9\n'
        'client_connection_limit = 3\nlimit_exceptions = ["192.0.2.0/24"]\n[queue]\nmin_free = "1GiB"\n'
    )
    settings = smtp_settings(parse(TEXT + more, Path("backupmx.toml")), "/var/spool/backupmx/bodies")
    assert (settings.hostname, settings.spool_folder) == ("mx2.example.net", "/var/spool/backupmx/bodies")
    assert (settings.message_size_limit, settings.recipient_limit) == (1 << 20, 200)
    assert (settings.timeout, settings.connection_limit, settings.limit_exceptions) == (60.0, 9, ("192.0.2.0/24",))
    assert (settings.client_connection_limit, settings.min_free) == (3, 1 << 30)
    kinds = ("connection", "message", "recipient", "new_tls_session")
    more = "[smtp]\n" + "".join(f"client_{kind}_rate_limit = {n}\n" for n, kind in enumerate(kinds, 1))
    settings = smtp_settings(parse(TEXT + more, Path("backupmx.toml")), "")
    assert [getattr(settings, f"client_{kind}_rate_limit") for kind in kinds] == [1, 2, 3, 4]


def test_limits_at_odds() -> None:
    """check config says which limits cannot work together, and why."""
    from backupmx.operate.cli.check import at_odds

    assert list(at_odds(parse(TEXT, Path("backupmx.toml")).smtp)) == []
    more = (
        "[smtp]\nconnection_limit = 9\nclient_connection_limit = 10\nclient_new_tls_session_rate_limit = 5\n"
        "client_recipient_rate_limit = 100\n"
    )
    words = [said.partition(" is ")[0] for said in at_odds(parse(TEXT + more, Path("backupmx.toml")).smtp)]
    assert words == [
        "smtp.client_connection_limit (10)", "smtp.client_new_tls_session_rate_limit (5)",
        "smtp.client_recipient_rate_limit (100)",
    ]  # fmt: skip


def test_impossible_limits() -> None:
    """check config names limits that nobody can keep: times that are over at once, mail that the disk cannot hold."""
    from backupmx.operate.cli.check import impossible

    config = parse(TEXT, Path("backupmx.toml"))
    assert list(impossible(config, 1 << 40)) == []
    assert list(impossible(config, None)) == []
    assert [said.partition(" (")[0] for said in impossible(config, 220 << 20)] == ["smtp.message_size_limit"]
    more = TEXT + "[smtp]\ntimeout = 0\nmessage_size_limit = 0\n[checks]\ndeadline = 0\n"
    said = [words.partition(" ")[0] for words in impossible(parse(more, Path("backupmx.toml")), 1)]
    assert said == ["smtp.timeout", "checks.deadline", "smtp.message_size_limit"]
    long = parse(TEXT + '[checks]\ndeadline = "20m"\n', Path("backupmx.toml"))
    assert [words.partition(" ")[0] for words in impossible(long, None)] == ["checks.deadline"]
