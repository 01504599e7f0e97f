"""[smtp] as the door reads it."""

from pathlib import Path

from backupmx.config import parse
from backupmx.operate.serve.worker import smtp_settings

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
