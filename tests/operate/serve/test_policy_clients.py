"""What [smtp] holds against clients is read with all other files, and its mistakes are told with theirs."""

from dataclasses import fields
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble, load
from backupmx.config.clients import ClientPolicy
from backupmx.operate.serve.policy import read_policy
from backupmx.receive.policy.clients import ClientRules


def written(folder: Path, smtp: str) -> Path:
    (folder / "transport.map").write_text("example.jp smtp:[127.0.0.1]:1\n")
    path = folder / "backupmx.toml"
    path.write_text(
        f'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n[smtp]\n{smtp}\n'
        '[checks.virus]\nengine = "off"\n[checks.spam]\nengine = "off"\n'
    )
    return path


def test_nothing_is_nothing(tmp_path: Path) -> None:
    """Without a word in [smtp] no client is asked about."""
    assert not read_policy(load(written(tmp_path, ""))).clients.on


def test_everything_is_there(tmp_path: Path) -> None:
    """Each setting reaches the door."""
    (tmp_path / "access").write_text("192.0.2.1 OK\n")
    text = 'client_access = "cidr:access"\ndnsbl_sites = ["a.example*2"]\npregreet = "score"\nreject_helo_as_us = true'
    rules = read_policy(load(written(tmp_path, text))).clients
    assert rules.on
    assert rules.hostname == "mx2.example.net"
    assert (rules.access.lookup("192.0.2.1") or rules).__class__.__name__ == "Entry"
    assert [site.zone for site in rules.sites] == ["a.example"]
    assert (rules.pregreet, rules.reject_helo_as_us, rules.reject_non_fqdn_sender) == ("score", True, False)


def test_the_door_and_the_configuration_agree() -> None:
    """Each point has the same name and default in both, so that neither is forgotten in the other."""
    settings = {name: field.get_default(call_default_factory=True) for name, field in ClientPolicy.model_fields.items()}
    read = {"client_access": "access", "dnsbl_sites": "sites", "dnsbl_reply_map": "sites"}
    rules = {field.name: getattr(ClientRules(), field.name) for field in fields(ClientRules)}
    assert {read.get(name, name) for name in settings} | {"hostname"} == set(rules)
    assert {name: rules[name] for name in settings if name not in read} == {
        name: value for name, value in settings.items() if name not in read
    }


@pytest.mark.parametrize(
    ("smtp", "told"),
    [
        ('client_access = "none"', "none: No such file or directory"),
        ('client_access = "access"', "access:2: unknown action 'FOO'"),
        ('dnsbl_sites = ["x"]', "smtp.dnsbl_sites: 'x': no name of a zone"),
    ],
)
def test_mistakes(tmp_path: Path, smtp: str, told: str) -> None:
    """A file that is not there, a bad line, a list that is none: each with where and why."""
    (tmp_path / "access").write_text("192.0.2.1 OK\n192.0.2.2 FOO\n")
    with pytest.raises(ConfigTrouble) as caught:
        read_policy(load(written(tmp_path, smtp)))
    assert told in caught.value.errors[0]
