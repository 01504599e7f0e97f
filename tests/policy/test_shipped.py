"""The shipped policy is tested like code: it loads, it means what its comments say, it travels with the package."""

import re
from operator import attrgetter
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from backupmx.config import Checks, Config, load
from backupmx.config.sections import Relay
from backupmx.mail.message import Content, canonical
from backupmx.operate.cli.init import SHIPPED, command, shipped
from backupmx.operate.serve.tables import read_table
from backupmx.rules.engine import Tables, judge, judge_added

FIRST_USERS_RULES = [
    r"/^From:\s*<>/m                  DISCARD",
    r"/^X\-Spam\-Flag:\s+YES/m        DISCARD",
    r"/^X\-Virus\-Status:\s+Yes/m     DISCARD",
    r"/^X\-Spam\-Level:/m             IGNORE",
    r"/^X\-Spam\-Checker\-Version:/m  IGNORE",
    r"/^X\-Spam\-Status:\s+No/m       IGNORE",
    r"/^X\-Virus\-Scanned:/m          IGNORE",
    r"/^X\-Virus\-Status:\s+Clean/m   IGNORE",
]


@pytest.fixture(scope="module")
def tables() -> Tables:
    table = read_table(str(SHIPPED / "header_checks"))
    return Tables(header=table, mime=read_table(""), nested=read_table(""), body=read_table(""), milter=table)


def test_configuration_loads() -> None:
    """The shipped backupmx.toml is usable as it stands."""
    config = load(SHIPPED / "backupmx.toml")
    assert (config.state_dir, config.user) == ("/var/spool/backupmx", "backupmx")


def sections() -> list[tuple[str, type[BaseModel]]]:
    """The tables of the file: [smtp], [checks.virus] ..."""
    names = ("smtp", "relay", "recipients", "rules", "queue", "quarantine", "ledger", "dns", "log")
    plain = [(name, Config.model_fields[name].annotation) for name in names]
    checks = Checks.model_fields.items()
    inner = [(f"checks.{name}", f.annotation) for name, f in checks if isinstance(f.default, BaseModel)]
    inner += [("relay.timeouts", Relay.model_fields["timeouts"].annotation)]
    return [(name, model) for name, model in (*plain, *inner) if isinstance(model, type)]


def test_configuration_names_every_supported_key() -> None:
    """Each key that this version honours stands in the shipped file, set or in a comment."""
    text = (SHIPPED / "backupmx.toml").read_text("utf-8")
    for section, model in sections():
        for key in set(model.model_fields) - {"timeouts", "source"}:  # sections of their own
            body = text.split(f"\n[{section}]\n")[1].split("\n[")[0]
            assert re.search(rf"^(# )?{key} = ", body, re.MULTILINE), f"{section}.{key}"


def test_configuration_comments_tell_the_default() -> None:
    """A value in the shipped file is the default, unless its line says "CHANGE" or "Default"."""
    config, defaults = (
        load(SHIPPED / "backupmx.toml"),
        Config.model_validate({"hostname": "a.example", "relay": {"transport_map": "t"}}),
    )
    text = (SHIPPED / "backupmx.toml").read_text("utf-8")
    for section, _ in sections():
        mine, theirs = attrgetter(section)(config), attrgetter(section)(defaults)
        for key in type(mine).model_fields:
            if getattr(mine, key) != getattr(theirs, key):
                assert re.search(rf"^{key} = .*[Dd]efault", text, re.MULTILINE), f"{section}.{key}"


def test_header_checks_are_the_first_users_word_for_word() -> None:
    """The shipped rules are the eight lines that somebody's server has had for years."""
    lines = (SHIPPED / "header_checks").read_text("utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == FIRST_USERS_RULES


def test_tables_load_without_a_warning(tables: Tables) -> None:
    """Every rule of the shipped table can be used."""
    assert tables.header.warnings == ()


@pytest.mark.parametrize(
    ("sample", "fate"),
    [
        ("clean", "accept"), ("signed", "accept"), ("forged-headers", "accept"), ("large", "accept"),
        ("gtube", "accept"), ("eicar", "accept"),  # their words are harmless: the checks find them
        ("flagged-elsewhere", "discard"), ("from-empty", "discard"),
    ],
)  # fmt: skip
def test_rules_on_what_the_samples_say(tables: Tables, sample: str, fate: str) -> None:
    """Before any check, the rules make of each sample what samples/README.md says."""
    content = canonical((SHIPPED / "samples" / f"{sample}.eml").read_bytes())
    assert judge(Content(content), tables).verdict.fate == fate


@pytest.mark.parametrize(
    ("field", "kept", "fate"),
    [
        (b"X-Virus-Scanned: clamd 1.4 on mx2.example.net", False, "accept"),
        (b"X-Virus-Status: Clean", False, "accept"),
        (b"X-Virus-Status: Yes (Eicar)", True, "discard"),
        (b"X-Spam-Status: No, score=0.1 required=17.0 tests=NONE", False, "accept"),
        (b"X-Spam-Flag: YES", True, "discard"),
        (b"Authentication-Results: mx2.example.net; spf=fail", True, "accept"),
    ],
)
def test_rules_on_what_our_checks_add(tables: Tables, field: bytes, kept: bool, fate: str) -> None:
    """Our own marks meet the same lines: "clean" goes, "yes" discards."""
    clean = judge(Content(b"From: a@b.example\r\n\r\n"), tables).verdict
    added = judge_added([field], tables, clean)
    assert added.verdict.fate == fate
    assert fate == "discard" or (field in added.fields) == kept


def test_samples_are_stored_as_people_store_them() -> None:
    """Every sample has LF line ends: bytes that no line-end setting may touch."""
    samples = sorted((SHIPPED / "samples").glob("*.eml"))
    assert [p.name for p in samples if b"\r" in p.read_bytes()] == []
    assert "*.eml -text" in (SHIPPED / "samples" / ".gitattributes").read_text()


def test_signed_sample_is_good() -> None:
    """The DKIM signature of signed.eml fits the key in demo.zone."""
    import dkim
    import dns.zone

    zone = dns.zone.from_text(
        (SHIPPED / "samples" / "demo.zone").read_text(), origin=".", relativize=False, check_origin=False
    )

    def key(name: bytes, timeout: int = 5) -> bytes:
        return b"".join(zone.find_rdataset(name.decode(), "TXT")[0].strings)

    message = canonical((SHIPPED / "samples" / "signed.eml").read_bytes())
    assert dkim.verify(message, dnsfunc=key)
    assert not dkim.verify(message.replace(b"two  blanks", b"two blanks"), dnsfunc=key)


def test_init_writes_the_set_and_never_over_a_file(tmp_path: Path) -> None:
    """`backupmx init` writes what is missing and leaves what is there."""
    (tmp_path / "header_checks").write_text("# mine\n")
    first = CliRunner().invoke(command, [str(tmp_path)])
    assert first.exit_code == 0
    assert f"kept {tmp_path / 'header_checks'}: it exists\n" in first.output
    assert (tmp_path / "header_checks").read_text() == "# mine\n"
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(shipped())
    second = CliRunner().invoke(command, [str(tmp_path)])
    assert (second.exit_code, "wrote" in second.output) == (0, False)
    assert load(tmp_path / "backupmx.toml").relay.transport_map == "transport.map"


def test_init_where_nobody_may_write(tmp_path: Path) -> None:
    """A directory that cannot be made is said in a sentence, status 1."""
    (tmp_path / "file").write_text("")
    ran = CliRunner().invoke(command, [str(tmp_path / "file" / "sub")])
    assert (ran.exit_code, ran.output) == (1, f"backupmx: {tmp_path / 'file' / 'sub'}: Not a directory\n")


def test_policy_travels_with_the_package() -> None:
    """The files are where the package is: by a link in a checkout, as copies in a wheel."""
    names = set(shipped())
    assert {"backupmx.toml", "header_checks", "transport.map", "spam.toml", "samples/clean.eml"} <= names
