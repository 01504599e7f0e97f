"""init --from-postfix: somebody's Postfix becomes a configuration of ours that can be used."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from backupmx.config import load
from backupmx.operate.cli import cli
from backupmx.operate.serve.policy import read_policy

CASE = Path(__file__).parents[1] / "cases" / "first_user_postfix" / "postfix"


def init(directory: Path, postfix: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["init", str(directory), "--from-postfix", str(postfix), *words])


@pytest.fixture
def postfix(tmp_path: Path) -> Path:
    """The first user's server, with a certificate that is there."""
    folder = tmp_path / "postfix"
    shutil.copytree(CASE, folder)
    pem = tmp_path / "all.pem"
    trustme.CA().issue_cert("mx2.example.net").private_key_and_cert_chain_pem.write_to_path(pem)
    for file in (folder / "main.cf", folder / "vmail_ssl.map"):
        text = file.read_text()
        for name in ("privkey", "fullchain"):
            for host in ("mx2.example.net", "mx2.example.jp"):
                text = text.replace(f"/usr/local/etc/letsencrypt/live/{host}/{name}.pem", str(pem))
        file.write_text(text)
    return folder


def test_the_first_users_server(tmp_path: Path, postfix: Path) -> None:
    """A folder copied from a FreeBSD machine: what is written there can be used at once."""
    result = init(tmp_path / "ours", postfix)
    assert result.exit_code == 0, result.output
    assert "not usable" not in result.output
    config = load(tmp_path / "ours" / "backupmx.toml")
    files = read_policy(config)
    assert files.routes.next_hop("bob@example.jp") == "smtp:[primary1.example.net]"
    assert files.routes.relay_domains == ("example.jp", "example.net")
    assert (tmp_path / "ours" / "header_checks").read_bytes() == (postfix / "header_checks").read_bytes()
    assert (config.milter[0].name, config.milter[0].on_error) == ("milter-manager", "accept")
    assert config.recipients.source[0].attributes == ("mail",)
    mode = stat.S_IMODE((tmp_path / "ours" / "ldap-1.password").stat().st_mode)
    assert mode == 0o600


def test_what_is_not_here_is_said(tmp_path: Path) -> None:
    """Certificates that stayed on the other machine: status 2, and which file is missing."""
    result = init(tmp_path / "ours", CASE)
    assert result.exit_code == 2
    assert "/usr/local/etc/letsencrypt/live/mx2.example.net/privkey.pem: No such file" in result.output


def test_nothing_is_overwritten(tmp_path: Path, postfix: Path) -> None:
    """A file that is there stays as it is, and the status says so."""
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "transport.map").write_text("mine.example smtp:[mine.example.net]\n")
    result = init(ours, postfix)
    assert result.exit_code == 1
    assert f"kept {ours}/transport.map" in result.output
    assert (ours / "transport.map").read_text().startswith("mine.example")


def test_json(tmp_path: Path, postfix: Path) -> None:
    """The same as an object."""
    told = json.loads(init(tmp_path / "ours", postfix, "--json").output)
    assert told["usable"]
    assert {"fate": "taken", "postfix": "myhostname", "ours": "hostname", "why": ""} in told["settings"]


@pytest.mark.parametrize("there", [False, True], ids=["none", "a pipe"])
def test_no_main_cf(tmp_path: Path, there: bool) -> None:
    """A folder without main.cf, or with something that is no file: a sentence, and nothing written."""
    (tmp_path / "postfix").mkdir()
    if there:
        os.mkfifo(tmp_path / "postfix" / "main.cf")
    result = init(tmp_path / "ours", tmp_path / "postfix")
    assert (result.exit_code, "main.cf: " in result.output) == (1, True)
    assert not (tmp_path / "ours").exists()


def test_values_cannot_leave_their_line(tmp_path: Path) -> None:
    """Control characters and quotes in main.cf are text in ours."""
    folder = tmp_path / "postfix"
    folder.mkdir()
    (folder / "main.cf").write_bytes(
        b"myhostname = mx2.example.net\nrelay_domains = example.jp\n"
        b'recipient_delimiter = "\\\x1b[31m\nrelayhost = [a\xff\x7f"]\n'
    )
    result = init(tmp_path / "ours", folder)
    assert "\x1b" not in result.output
    assert load(tmp_path / "ours" / "backupmx.toml").hostname == "mx2.example.net"


def test_what_only_looks_like_a_file(tmp_path: Path) -> None:
    """A pipe, a device, the kernel's log among the tables: each is said, and nothing waits for them."""
    folder = tmp_path / "postfix"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "main.cf").write_text(
        "myhostname = mx2.example.net\nrelay_domains = $mydomain\n"
        f"transport_maps = hash:{folder}/pipe, hash:/dev/zero, hash:/proc/kmsg, hash:\nheader_checks = $header_checks\n"
    )
    result = init(tmp_path / "ours", folder)
    assert result.output.count("cannot be read") == 4
    assert "header_checks is empty" not in result.output
    assert load(tmp_path / "ours" / "backupmx.toml").relay.relay_domains == ("example.net",)
