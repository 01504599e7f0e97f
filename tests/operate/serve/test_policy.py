"""The operator's files, read and checked together."""

import re
from pathlib import Path

import pytest

from backupmx.config import ConfigTrouble
from backupmx.operate.serve.policy import Files, read_all

GOOD = """\
hostname = "mx2.example.net"
[relay]
transport_map = "transport.map"
[rules]
header_checks = "header_checks"
"""


def folder(tmp_path: Path, config: str = GOOD, rules: str = "/^Subject: x/ REJECT\n", routes: str = "") -> Path:
    (tmp_path / "backupmx.toml").write_text(config)
    (tmp_path / "header_checks").write_text(rules)
    (tmp_path / "transport.map").write_text(routes or "example.jp smtp:[primary1.example.net]\n")
    return tmp_path / "backupmx.toml"


def errors(path: Path) -> list[str]:
    with pytest.raises(ConfigTrouble) as caught:
        read_all(path)
    return [error.removeprefix(f"{path.parent}/") for error in caught.value.errors]


def test_good_files(tmp_path: Path) -> None:
    """What is right is read: routes, tables, engines; nobody named is everybody, no certificate no STARTTLS."""
    config, files = read_all(folder(tmp_path))
    assert isinstance(files, Files)
    assert config.hostname == "mx2.example.net"
    assert files.routes.next_hop("bob@example.jp") == "smtp:[primary1.example.net]"
    assert (files.known, files.tls, files.warnings) == (None, None, ())
    assert [engine.name for engine in files.engines.virus] == ["clamd"]


def test_every_file_at_once(tmp_path: Path) -> None:
    """A broken rule, a bad route, a missing certificate and a bad engine address are one list."""
    extra = '[smtp]\ntls_chain_files = ["none.pem"]\n[checks.virus]\naddress = "nonsense"\n'
    told = errors(folder(tmp_path, GOOD + extra, "/x\n", "example.jp\n"))
    assert [error.partition(": ")[0] for error in told] == [
        "header_checks:1", "transport.map:1", "none.pem", "checks.virus",
    ]  # fmt: skip


def test_the_files_of_a_wrong_configuration(tmp_path: Path) -> None:
    """A wrong key does not hide a wrong rule: both are told."""
    told = errors(folder(tmp_path, GOOD + '[queue]\nlifetim = "5d"\n', "/x\n"))
    assert [error.partition(": ")[0] for error in told] == ["backupmx.toml", "header_checks:1"]


def test_a_bad_tls_policy(tmp_path: Path) -> None:
    """A mistake in the TLS policy is told with its line; a CA file that is missing with its name."""
    (tmp_path / "tls_policy").write_text("# mine\n[primary1.example.net] verify\nexample.jp encrpt\n")
    told = errors(folder(tmp_path, GOOD.replace("[rules]", 'tls_policy_map = "hash:tls_policy"\n[rules]')))
    assert told == [
        'tls_policy:3: unknown level "encrpt"; write one of none, may, encrypt, fingerprint, verify, secure'
    ]
    told = errors(folder(tmp_path, GOOD.replace("[rules]", 'tls_level = "verify"\ntls_ca_file = "none.pem"\n[rules]')))
    assert [error.rpartition("/")[2] for error in told] == ["none.pem: No such file or directory"]


@pytest.mark.parametrize("rule", ["/x", "/x/q REJECT", "/(x/ REJECT"])
def test_rules_that_are_strict(tmp_path: Path, rule: str) -> None:
    """A rule that cannot be used is an error that does not speak of going on without it."""
    (told,) = errors(folder(tmp_path, rules=f"{rule}\n"))
    assert re.fullmatch(r"header_checks:1: .+: this rule cannot be used", told)


def test_rules_that_are_not_strict(tmp_path: Path) -> None:
    """With rules.strict = false a rule that cannot be used is a warning, as in Postfix."""
    _, files = read_all(folder(tmp_path, GOOD + "strict = false\n", "/x\n/^Subject: x/ REJECT\n"))
    (warning,) = files.warnings
    assert warning.startswith(f"{tmp_path}/header_checks:1: ")


def test_a_map_without_a_domain(tmp_path: Path) -> None:
    """A transport.map that names no domain would take mail for nobody."""
    assert errors(folder(tmp_path, routes="* smtp:[primary1.example.net]\n")) == [
        "transport.map: names no domain, so we would take mail for none; add a line for each"
    ]
