"""[relay] and [queue] as the relay reads them."""

from pathlib import Path

from backupmx.config import parse
from backupmx.operate.courier import relay_settings
from backupmx.relay.settings import RelaySettings
from backupmx.route.tls_policy import TlsPolicies

TEXT = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'


def test_defaults() -> None:
    """Our own name greets; waits and limits are those of the relay."""
    settings = relay_settings(parse(TEXT, Path("backupmx.toml")), TlsPolicies())
    usual = RelaySettings("mx2.example.net")
    assert (settings.helo, settings.on_refusal, settings.lifetime) == ("mx2.example.net", "hold", 5 * 86400.0)
    assert (settings.probe_min, settings.probe_max) == (usual.probe_min, usual.probe_max)


def test_short_waits() -> None:
    """Who wants mail tried every two seconds has next hops that are down looked after every two seconds."""
    more = 'helo_name = "out.example.net"\nmax_rate = 5\n[queue]\nretry_min = "2s"\nretry_max = "3s"\n'
    settings = relay_settings(parse(TEXT + more, Path("backupmx.toml")), TlsPolicies())
    assert (settings.helo, settings.max_rate) == ("out.example.net", 5.0)
    assert (settings.retry_min, settings.retry_max, settings.probe_min, settings.probe_max) == (2.0, 3.0, 2.0, 3.0)
