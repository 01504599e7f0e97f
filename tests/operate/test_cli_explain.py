"""explain: the whole policy on one message from a file."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backupmx.config import load
from backupmx.mail.message import Content
from backupmx.operate.cli import cli
from backupmx.operate.cli.explain import lines
from backupmx.operate.explain import Said, _changes, explained
from backupmx.operate.serve.policy import read_policy
from tests.neighbours.unbound import unbound
from tests.net.scripted_milter import ScriptedMilter, add, reply

ZONE = [
    'sender.test. 300 IN TXT "v=spf1 ip4:198.51.100.1 -all"',
    '_dmarc.sender.test. 300 IN TXT "v=DMARC1; p=reject"',
    "7.100.51.198.in-addr.arpa. 300 IN PTR mx7.elsewhere.test.",
    "mx7.elsewhere.test. 300 IN A 198.51.100.7",
    "7.100.51.198.bl.test. 300 IN A 127.0.0.2",
    "sender.test. 300 IN MX 10 mx.sender.test.",
]
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + b"ANTI-UBE-TEST-EMAIL*C.34X"
HEAD = (
    b"Return-Path: <a@sender.test>\nFrom: Alice <alice@sender.test>\nTo: u@example.jp\nSubject: lunch\n"
    b"X-Spam-Status: No, forged\nDate: Tue, 24 Nov 2026 04:00:00 +0000\nMessage-ID: <1@sender.test>\n\n"
)
RULES = "/^Subject: drop/ DISCARD\n/^X-Spam-Flag: YES/ DISCARD\n/^X-Spam-Level:/ IGNORE\n/^Subject: lunch/ WARN food\n"
CONFIGURATION = """\
hostname = "mx2.example.net"
[relay]
transport_map = "transport.map"
relay_recipients = "recipients"
[rules]
header_checks = "header_checks"
[checks.virus]
engine = "yara"
[checks.spam]
engine = "builtin"
[dns]
servers = ["{dns}"]
"""


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unbound(tmp_path_factory.mktemp("unbound"), ZONE) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path, dns: str) -> Path:
    files = {
        "backupmx.toml": CONFIGURATION.format(dns=dns),
        "transport.map": "example.jp smtp:[primary1.example.net]\n",
        "recipients": "u@example.jp OK\nv@example.jp OK\n",
        "header_checks": RULES,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def explain(folder: Path, content: bytes, *words: str) -> Result:
    (folder / "m.eml").write_bytes(content)
    return CliRunner().invoke(cli, ["explain", str(folder / "m.eml"), "-c", str(folder / "backupmx.toml"), *words])


CLIENT = ("--client", "198.51.100.7", "--helo", "mx7.elsewhere.test", "--to", "u@example.jp")


@pytest.mark.neighbours
class TestExplain:
    def test_the_story(self, folder: Path) -> None:
        """Who sends it, the rules, every finding, the DNS records, our fields, the verdict, the reply, the way."""
        told = explain(folder, HEAD + b"Hello\n", *CLIENT, "--to", "x@example.jp", "--to", "y@elsewhere.test")
        assert told.exit_code == 0
        for line in (
            "client     mx7.elsewhere.test[198.51.100.7] helo=mx7.elsewhere.test",
            "from       <a@sender.test>",
            "to         <u@example.jp>",
            "           <x@example.jp>: 550 5.1.1 <x@example.jp>: Recipient address rejected:"
            " User unknown in relay recipient table",
            "           <y@elsewhere.test>: 554 5.7.1 <y@elsewhere.test>: Relay access denied",
            "assumed    from <a@sender.test>",
            "virus      clean [yara]",
            "adds       Authentication-Results: mx2.example.net; spf=fail smtp.mailfrom=sender.test; dkim=none;"
            " dmarc=fail policy.dmarc=reject header.from=sender.test",
            "           X-Virus-Status: Clean",
            "verdict    accept",
            "reply      250 2.0.0 Ok: queued as EXPLAIN",
            "goes to    <u@example.jp> by smtp:[primary1.example.net], queued",
        ):
            assert line in told.output
        assert "sender.test TXT: v=spf1 ip4:198.51.100.1 -all\n" in told.output
        assert "_dmarc.sender.test TXT: v=DMARC1; p=reject\n" in told.output
        assert "header_checks:4 WARN food: Subject: lunch\n" in told.output
        assert "header_checks:3 IGNORE: X-Spam-Level: *" in told.output
        assert "removes    X-Spam-Status: No, forged\n" in told.output
        assert "adds too   Received: from mx7.elsewhere.test (mx7.elsewhere.test [198.51.100.7])" in told.output
        assert "\nbecomes" not in told.output
        assert "x@example.jp> by" not in told.output

    def test_json(self, folder: Path) -> None:
        """The same for programs: one object."""
        told = json.loads(explain(folder, HEAD + GTUBE + b"\n", *CLIENT, "--json").output)
        assert (told["action"], told["code"], told["text"]) == ("discard", 250, "2.0.0 Ok: queued as EXPLAIN")
        assert told["reason"].endswith("header_checks:2")
        (recipient,) = told["recipients"]
        assert recipient.pop("at") > 0
        assert recipient == {
            "address": "u@example.jp", "reply": "250 2.1.5 Ok", "standing": "listed", "source": "recipients:1",
            "primary": "smtp:[primary1.example.net] is unknown",
        }  # fmt: skip
        assert {finding["check"]: finding["seen"] for finding in told["findings"]} == {
            "spf": "neutral", "dkim": "neutral", "dmarc": "neutral", "virus": "clean", "spam": "found",
        }  # fmt: skip
        assert [(d["line"], d["action"]) for d in told["rules_on_ours"]] == [(3, "IGNORE"), (2, "DISCARD")]
        assert {
            "name": "sender.test",
            "type": "TXT",
            "exists": True,
            "records": ["v=spf1 ip4:198.51.100.1 -all"],
            "secure": False,
        } in told["dns"]
        assert told["destinations"] == [
            {"address": "u@example.jp", "next_hop": "smtp:[primary1.example.net]", "state": "discarded"}
        ]

    def test_a_rule_settles_it(self, folder: Path) -> None:
        """DISCARD on the client's own headers: no check runs, no DNS is asked for one."""
        told = json.loads(explain(folder, HEAD.replace(b"lunch", b"drop") + b"x\n", *CLIENT, "--json").output)
        assert (told["action"], told["findings"], told["adds"]) == ("discard", [], [])
        assert {record["type"] for record in told["dns"]} == {"PTR", "A"}

    def test_nobody_is_taken(self, folder: Path) -> None:
        """When every recipient is refused the client reads that, and the message goes nowhere."""
        told = json.loads(explain(folder, HEAD + b"x\n", "--to", "y@elsewhere.test", "--json").output)
        assert (told["code"], told["destinations"]) == (554, [])

    def test_what_is_assumed(self, folder: Path) -> None:
        """A client that is nobody's, the sender of Return-Path or From, our postmaster; all of it told."""
        told = json.loads(explain(folder, HEAD.partition(b"\n")[2] + b"x\n", "--json").output)
        assert told["assumed"] == [
            "from <alice@sender.test>", "to <postmaster@example.jp>", "client 192.0.2.1", "helo [192.0.2.1]",
        ]  # fmt: skip

    def test_a_bounce(self, folder: Path) -> None:
        """--from with nothing is the null sender."""
        told = json.loads(explain(folder, b"Subject: x\n\n", *CLIENT, "--from", "", "--json").output)
        assert (told["sender"], told["assumed"]) == ("", [])

    def test_nothing_is_written(self, folder: Path) -> None:
        """There is no queue afterwards, nor anything else that was not there."""
        before = sorted(path.name for path in folder.iterdir())
        explain(folder, HEAD + b"x\n", *CLIENT)
        assert sorted(path.name for path in folder.iterdir()) == sorted([*before, "m.eml"])

    def test_hostile_content(self, folder: Path) -> None:
        """No octet of a message reaches the terminal as a control."""
        told = explain(folder, b"Subject: lunch \x1b[31m\xff\r\nFrom: \x07<\x1b@\x1b>\n\n\0\x1b", *CLIENT)
        assert told.exit_code == 0
        assert all(line.isprintable() for line in told.output.splitlines())

    def test_wrong_usage(self, folder: Path) -> None:
        """An address that is none, a file that is not there, a configuration with an error: status 2."""
        config = str(folder / "backupmx.toml")
        assert explain(folder, HEAD, "--client", "localhost").exit_code == 2
        assert explain(folder, HEAD, "--to", "nobody").exit_code == 2
        assert CliRunner().invoke(cli, ["explain", str(folder / "none.eml"), "-c", config]).exit_code == 2

    def test_a_field_that_stands_there_twice(self, folder: Path) -> None:
        """Of equal fields each counts: what a rule takes once is told once."""
        assert _changes((b"A: 1", b"A: 1", b"B: 2"), (b"R: x", b"A: 1", b"C: 3"), (b"C: 3",)) == (
            (b"A: 1", b"B: 2"), (b"R: x",),
        )  # fmt: skip

    async def test_milters(self, folder: Path) -> None:
        """What milters say and add is told, and a refusal is the reply."""
        async with (
            ScriptedMilter(edits=[add(b"X-Seen", b"yes"), b"e<b@sender.test>\0", b"bnew\r\n"]) as first,
            ScriptedMilter({b"E": [reply("550 5.7.1 no, thank you")]}) as second,
        ):
            path = folder / "backupmx.toml"
            listed = "".join(
                f'[[milter]]\nname = "{name}"\naddress = "{milter.address}"\n'
                for name, milter in (("one", first), ("two", second))
            )
            path.write_text(path.read_text() + listed)
            config = load(path)
            content = Content((HEAD + b"x\n").replace(b"\n", b"\r\n"))
            result = await explained(
                config, read_policy(config), content, Said("198.51.100.7", recipients=("u@example.jp",))
            )
        assert str(result.reply) == "550 5.7.1 no, thank you"
        assert [line.partition(")")[0] for line in result.milters if line.startswith("check")] == [
            "check: milter=neutral engine=one (END-OF-MESSAGE: continue, 3 changes",
            "check: milter=neutral engine=two (END-OF-MESSAGE: refuse",
        ]
        assert any(line.startswith("milters    check: milter=neutral engine=one") for line in lines("m", result))
        assert "           X-Seen: yes" in lines("m", result)
        assert result.becomes == ("from <b@sender.test>", "another body, 7 octets with its blank line")
        assert any(line.startswith("verdict    reject (milter two") for line in lines("m", result))
