"""route, check config: what the policy files say, without a server."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backupmx.config import ConfigTrouble
from backupmx.operate.cli import cli

CONFIGURATION = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n'
MAP = "example.jp  smtp:[primary1.example.net]\n.example.jp  smtp:[primary2.example.net]:2525\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "transport.map").write_text(MAP)
    (tmp_path / "backupmx.toml").write_text(CONFIGURATION)
    return tmp_path / "backupmx.toml"


def says(config: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "-c", str(config)])


def test_route(config: Path) -> None:
    """The next hop of an address and the line that chose it."""
    result = says(config, "route", "bob@sub.example.jp")
    assert (result.exit_code, result.stdout) == (
        0, f"bob@sub.example.jp: smtp:[primary2.example.net]:2525 ({config.parent}/transport.map:2)\n",
    )  # fmt: skip
    told = json.loads(says(config, "route", "bob@example.jp", "--json").stdout)
    assert (told["ours"], told["next_hop"]) == (True, "smtp:[primary1.example.net]")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("bob@elsewhere.test", "Relay access denied"),
        ("bob%elsewhere.test@example.jp", "Relay access denied"),
        ("elsewhere.test!bob@example.jp", "Relay access denied"),
        ("bob@@example.jp", "bob@@example.jp: "),
    ],
)
def test_not_ours(config: Path, address: str, words: str) -> None:
    """A stranger's address and one that is none are status 1, with what a client would read."""
    result = says(config, "route", address)
    assert (result.exit_code, words in result.stderr) == (1, True)


BROKEN = '[smtp]\ntls_chain_files = ["none.pem"]\n[rules]\nheader_checks = "none"\n'


def test_what_a_command_does_not_need_does_not_stop_it(config: Path) -> None:
    """Without a certificate and rules that can be read one still learns where mail goes and what answers."""
    engines = '[checks.virus]\nengine = "off"\n[checks.spam]\nengine = "builtin"\n'
    config.write_text(CONFIGURATION + BROKEN + engines)
    assert says(config, "route", "bob@example.jp").exit_code == 0
    assert says(config, "check", "services").stdout.startswith("engine builtin")


@pytest.mark.parametrize(
    "wrong",
    ['[checks.spam]\nengine = "builtin"\nrules = "none"\n', '[[milter]]\nname = "x"\naddress = "nonsense"\n'],
)
def test_services_that_cannot_be_asked(config: Path, wrong: str) -> None:
    """Rules or an address that cannot be used: a sentence and status 2."""
    config.write_text(CONFIGURATION + wrong)
    assert isinstance(says(config, "check", "services").exception, ConfigTrouble)


def test_check_config(config: Path) -> None:
    """A usable configuration is status 1 while there is something to remark, each remark a line."""
    result = says(config, "check", "config")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == f"{config}: usable, 2 findings"
    told = json.loads(says(config, "check", "config", "--json").stdout)
    assert (told["usable"], len(told["findings"])) == (True, 2)


def test_check_config_finds_everything(config: Path) -> None:
    """A wrong key and a bad map are one list; for a program the same list with status 2."""
    config.write_text(CONFIGURATION + "[smtp]\nworkrs = 2\n")
    (config.parent / "transport.map").write_text("example.jp\n")
    result = says(config, "check", "config")
    assert isinstance(result.exception, ConfigTrouble)
    assert len(result.exception.errors) == 2
    as_json = says(config, "check", "config", "--json")
    told = json.loads(as_json.stdout)
    assert (as_json.exit_code, told["usable"], len(told["errors"])) == (2, False, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what the user cannot")
def test_what_the_user_cannot_read(config: Path) -> None:
    """Root's check says what the appliance, once it is its user, could not read again: a reload would fail."""
    config.write_text(CONFIGURATION.replace("[relay]", 'user = "nobody"\n[relay]\nrelay_recipients = "recipients"'))
    for path in config.parent.parents:
        if path.owner() == "root" and path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o001)
    config.parent.chmod(0o755)
    (config.parent / "recipients").write_text("bob@example.jp OK\n")
    (config.parent / "recipients").chmod(0o600)
    said = says(config, "check", "config")
    assert said.exit_code == 1
    assert f"{config.parent}/recipients: Permission denied; make it, and the folders above it, readable" in said.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs somebody to become")
def test_a_user_who_is_not_there_yet(config: Path) -> None:
    """`check config` names a user who does not exist, before `serve` does."""
    config.write_text(CONFIGURATION.replace("[relay]", 'user = "nobody-of-this-name"\n[relay]'))
    said = says(config, "check", "config")
    assert (said.exit_code, 'no user "nobody-of-this-name" here; create it' in said.stdout) == (1, True)
