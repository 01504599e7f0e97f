"""[relay] and [queue] as the relay reads them."""

from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble, parse
from backupmx.net.smtp import Timeouts
from backupmx.operate.serve import courier
from backupmx.operate.serve.courier import relay_settings
from backupmx.operate.serve.policy import read_all
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


def test_timeouts() -> None:
    """What is not set is as RFC 5321 has it, in the file and in the relay."""
    usual = Timeouts()
    assert relay_settings(parse(TEXT, Path("backupmx.toml")), TlsPolicies()).timeouts == usual
    settings = relay_settings(parse(TEXT + '[relay.timeouts]\ndot = "20m"\n', Path("backupmx.toml")), TlsPolicies())
    assert settings.timeouts == replace(usual, dot=1200.0)


@pytest.mark.parametrize(
    ("value", "v4", "v6"),
    [
        ("", "", ""),
        ("192.0.2.1", "192.0.2.1", ""),
        ("2001:db8::1", "", "2001:db8::1"),
        ("192.0.2.1, 2001:db8::1", "192.0.2.1", "2001:db8::1"),
    ],
)
def test_bind_address(value: str, v4: str, v6: str) -> None:
    """An outgoing connection begins at our address of its own family, if one is named."""
    settings = relay_settings(parse(f'{TEXT}bind_address = "{value}"\n', Path("backupmx.toml")), TlsPolicies())
    assert (settings.bind("198.51.100.1"), settings.bind("2001:db8::2")) == (v4, v6)


@pytest.mark.parametrize("value", ["mx2.example.net", "192.0.2.1, 192.0.2.2", "192.0.2.300"])
def test_bad_bind_address(value: str) -> None:
    """What is no address is told when the file is read, not at the first delivery."""
    with pytest.raises(ConfigTrouble, match=r"relay\.bind_address: "):
        parse(f'{TEXT}bind_address = "{value}"\n', Path("backupmx.toml"))


def test_a_disk_that_lets_no_relay_begin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A relay that is started on a disk which became read-only says so in a line, and is tried again."""
    (tmp_path / "backupmx.toml").write_text(TEXT)
    (tmp_path / "transport.map").write_text("example.jp smtp:[127.0.0.1]\n")
    (tmp_path / "wake").mkdir()  # what stands in the way of its pipe, also when we are root
    config, files = read_all(tmp_path / "backupmx.toml")
    assert courier.main(config, files, -1) == 75
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "the relay cannot run: " in said
