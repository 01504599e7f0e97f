"""recipients: what an operator sees and does."""

import json
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backupmx.config import ConfigTrouble, load
from backupmx.operate.cli import cli
from backupmx.operate.cli.check import nobody_knows, stale_lists, strangers
from backupmx.operate.serve.policy import read_routes
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import Store

CONFIGURATION = """\
hostname = "mx2.example.net"
[relay]
transport_map = "transport.map"
[recipients]
unknown_for = {{ "open.jp" = "accept" }}
[[recipients.source]]
name = "hr"
domains = ["example.jp"]
command = ["{python}", "-c", "print(open('people').read())"]
[[recipients.source]]
name = "given"
domains = ["given.jp"]
suffixes = ["-request"]
"""
MAP = "example.jp smtp:[p]\ngiven.jp smtp:[p]\nopen.jp smtp:[p]\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "transport.map").write_text(MAP)
    (tmp_path / "people").write_text("".join(f"u{n}@example.jp\n" for n in range(10)))
    (tmp_path / "backupmx.toml").write_text(CONFIGURATION.format(python=sys.executable))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "backupmx.toml"


def says(config: Path, *words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ["recipients", *words, "-c", str(config)], input=stdin)


def test_before_the_first_sync(config: Path) -> None:
    """Nobody is refused on the word of a list that was never fetched."""
    result = says(config, "show", "u1@example.jp")
    assert (result.exit_code, "put off, 450" in result.stdout) == (1, True)


def test_sync_and_show(config: Path) -> None:
    """Fetched, known, and a stranger is refused."""
    assert says(config, "sync").stdout == "hr: 10 addresses, 10 new, 0 gone\n"
    assert says(config, "show", "U1@example.jp").exit_code == 0
    told = json.loads(says(config, "show", "x@example.jp", "--json").stdout)
    assert (told["standing"], told["source"], told["decision"]) == ("absent", "hr", "reject")


def test_a_list_that_shrank(config: Path) -> None:
    """diff shows who would go; sync refuses until confirmed."""
    says(config, "sync")
    (config.parent / "people").write_text("u1@example.jp\nnew@example.jp\n")
    shown = says(config, "diff", "hr").stdout.splitlines()
    assert shown[:3] == ["hr: 2 addresses, 1 new, 9 gone", "  + new@example.jp", "  - u0@example.jp"]
    refused = says(config, "sync", "hr")
    assert (refused.exit_code, "9 of 10 addresses would vanish" in refused.stderr) == (1, True)
    assert says(config, "show", "u5@example.jp").exit_code == 0
    assert says(config, "sync", "--confirm", "hr").exit_code == 0
    assert says(config, "show", "u5@example.jp").exit_code == 1


def test_what_strangers_say_is_harmless(config: Path) -> None:
    """A primary's words and a program's cannot move the cursor of who reads them."""
    with Store(config.parent / "recipients.db") as store:
        store.teach({"x@open.jp": Taught(False, time.time(), "550 5.1.1 \x1b[2Jgone")})
    write = config.read_text().replace('"open.jp" = "accept"', '"open.jp" = "auto"')
    config.write_text(write.replace("print(open('people').read())", "import sys; sys.exit('\\\\x1b[2Jgone')"))
    assert "550 5.1.1 \\x1b[2Jgone" in says(config, "show", "x@open.jp").stdout
    assert "ended with status 1: \\x1b[2Jgone" in says(config, "sync").stderr
    assert "; hr: " in says(config, "list", "example.jp").stdout
    assert "\x1b" not in says(config, "list").stdout


def test_import(config: Path) -> None:
    """A list that somebody brings, as a Postfix map is written."""
    result = says(config, "import", "given", "-", stdin="list@given.jp a@x.jp\nx@other.jp OK\n")
    assert (result.exit_code, result.stdout) == (0, "given: 2 addresses, 2 new, 0 gone\n")
    assert says(config, "show", "list-request@given.jp").exit_code == 0


def test_list(config: Path) -> None:
    """Each domain: how many, from where, how old, and what happens to an unknown address."""
    says(config, "sync")
    told = {(one := json.loads(line))["domain"]: one for line in says(config, "list", "--json").stdout.splitlines()}
    assert (told["example.jp"]["known"], told["example.jp"]["unknown"]) == (10, "reject")
    assert (told["given.jp"]["known"], told["given.jp"]["unknown"]) == (0, "defer")
    assert (told["open.jp"]["sources"], told["open.jp"]["unknown"]) == ([], "accept")
    assert "no source" in says(config, "list", "open.jp").stdout
    assert says(config, "list", "--addresses", "example.jp").stdout.splitlines()[0] == "u0@example.jp"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("sync", "nobody"), 1),
        (("show", "x@elsewhere.test"), 1),
        (("show", "nonsense"), 2),
        (("import", "given", "/nonexistent"), 2),
        (("list", "elsewhere.test"), 1),
    ],
)
def test_wrong(config: Path, words: tuple[str, ...], status: int) -> None:
    """One sentence and its status."""
    result = says(config, *words)
    assert (result.exit_code, result.exception.__class__) == (status, SystemExit)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ('[[recipients.source]]\nname = "hr"\n', "two sources are called 'hr'"),
        ('[[recipients.source]]\nname = "x"\nldap = "ldap://h"\n', "ldap needs base"),
        ('[[recipients.source]]\nname = "x"\nldap = "ldap://h"\ncommand = ["c"]\n', "not both"),
    ],
)
def test_a_wrong_configuration(config: Path, more: str, error: str) -> None:
    """Said with its key."""
    config.write_text(config.read_text() + more)
    result = says(config, "sync")
    assert isinstance(result.exception, ConfigTrouble)
    assert error in str(result.exception)


def test_a_key_that_is_misspelt(config: Path) -> None:
    """Also one in a list of sections is asked about."""
    config.write_text(config.read_text() + 'domain = ["x.jp"]\n')
    result = says(config, "sync")
    assert "recipients.source.1.domain: unknown key; did you mean domains?" in str(result.exception)


def test_verify_and_when_primary_up(config: Path) -> None:
    """The list says who is asked, and what clients hear while the primary is up."""
    text = config.read_text().replace("[recipients]\n", '[recipients]\nverify_for = { "open.jp" = true }\n')
    text = text.replace("[relay]\n", '[relay]\nwhen_primary_up_for = { "given.jp" = "defer" }\n')
    config.write_text(text.replace('unknown_for = { "open.jp" = "accept" }\n', ""))
    told = says(config, "list").stdout
    assert "open.jp: 0 listed, 0 taken by the primary lately; an unknown address is asked of the primary" in told
    assert "no list; the primary is asked while it is not down" in told
    assert "while the primary is up: clients are told to use it, 450" in told
    assert "asked of the primary" in says(config, "show", "x@open.jp").stdout


def test_domains_that_are_not_ours(config: Path) -> None:
    """A setting for a domain that is misspelt is a finding of check config, with the setting's name."""
    loaded = load(config)
    assert list(strangers(loaded, read_routes(loaded))) == []
    text = config.read_text().replace("[recipients]\n", '[recipients]\nverify_for = { "opne.jp" = true }\n')
    text = text.replace("[relay]\n", '[relay]\nwhen_primary_up_for = { "given.jp" = "defer", "old.jp" = "defer" }\n')
    config.write_text(text.replace('domains = ["given.jp"]', 'domains = ["given.jp", "gievn.jp"]'))
    told = list(strangers(load(config), read_routes(loaded)))
    assert told[0].startswith("relay.when_primary_up_for: old.jp: no relay domain of ours")
    assert told[1].startswith("recipients.verify_for: opne.jp: no relay domain of ours")
    assert told[2].startswith("recipients.source given: domains: gievn.jp: no relay domain of ours")
    assert len(told) == 3


def test_lists_that_are_old_are_told(config: Path) -> None:
    """A list past max_age, or never fetched, is a note of status; domains without any source one of check config."""
    loaded = load(config)
    assert nobody_knows(loaded, read_routes(loaded)) == ["open.jp"]
    says(config, "sync")
    assert [note.partition(":")[0] for note in stale_lists(loaded, time.time())] == ["recipients.source given"]
    notes = stale_lists(loaded, time.time() + 8 * 86400)
    assert "recipients.source hr: 8d 0h old, more than recipients.max_age" in notes[0]
