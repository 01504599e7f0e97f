"""check primary: a real Postfix as the primary, ready for us or not; a fake only for what it will not do."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from backupmx.net.dns import Answer
from backupmx.net.smtp import Timeouts
from backupmx.operate.cli import cli
from backupmx.operate.inspect import stanzas
from backupmx.operate.inspect.finding import Finding
from backupmx.operate.inspect.primary import Question, check
from backupmx.operate.inspect.stanzas import Software
from backupmx.recipients.probe import ProbeSettings
from tests.neighbours.postfix import postfix
from tests.neighbours.unbound import unbound
from tests.net.peers import CLOSE, STALL, Peer, Say

ZONE = (
    "mx2.test. 60 IN A 127.0.0.1", "example.com. 60 IN TXT \"v=spf1 -all\"", "soft.test. 60 IN TXT \"v=spf1 ~all\"",
)  # fmt: skip

CLIENT = "check_client_access inline:{{ 127.0.0.1 ="


def asked(folder: Path, port: int, *words: str) -> Result:
    with unbound(folder, ZONE) as resolver:
        (folder / "transport.map").write_text(f"example.jp smtp:[127.0.0.1]:{port}\n")
        (folder / "backupmx.toml").write_text(
            f'hostname = "mx2.test"\n[dns]\nservers = ["{resolver}"]\n[relay]\ntransport_map = "transport.map"\n'
        )
        return CliRunner().invoke(cli, ["check", "primary", "-c", str(folder / "backupmx.toml"), *words])


def found(result: Result) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in map(json.loads, result.output.splitlines())}


@pytest.mark.neighbours
def test_a_primary_that_is_ready(tmp_path: Path) -> None:
    """It knows us by XCLIENT, takes mail for its postmaster and refuses names that do not exist."""
    pem = tmp_path / "primary.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    settings = {
        "smtpd_authorized_xclient_hosts": "127.0.0.1", "message_size_limit": "100000000",
        "smtpd_recipient_restrictions": "check_recipient_access inline:{postmaster@example.jp=OK}, reject",
    }  # fmt: skip
    with postfix(tmp_path, settings=settings, tls=pem) as primary:
        result = asked(tmp_path, primary.port, "--json")
        assert primary.arrived() == []
    told = found(result)
    assert result.exit_code == 0, result.output
    assert "XCLIENT offered" in told["client"]["text"]
    assert "refuses names that do not exist" in told["who-exists"]["text"]
    assert "TLSv1.3" in told["tls"]["text"]
    assert {"recipient", "spf", "rate", "extensions"} <= told.keys()


@pytest.mark.neighbours
@pytest.mark.parametrize(
    ("settings", "check", "words", "remedy"),
    [
        (
            {"smtpd_sender_restrictions": "check_sender_access inline:{{example.com = 550 5.7.23 SPF fail}}"},
            "spf", "checks SPF on us", "policyd-spf.conf: skip_addresses",
        ),
        (
            {"smtpd_recipient_restrictions": CLIENT + " 450 4.2.0 Greylisted for 300 seconds }}, reject"},
            "greylisting", "Greylisted for 300 seconds", "secondary.cidr",
        ),
        (
            {"smtpd_recipient_restrictions": CLIENT + " 554 5.7.1 on a block list }}, reject"},
            "recipient", "refuses us: 554 5.7.1", "permit_auth_destination",
        ),
        (
            {"smtpd_client_connection_count_limit": "2", "smtpd_client_event_limit_exceptions": ""},
            "rate", "were refused", "event_limit",
        ),
        ({"message_size_limit": "1000000"}, "size", "takes 1000000 octets", "message_size_limit"),
    ],
)  # fmt: skip
def test_a_primary_that_is_not(
    tmp_path: Path, settings: Mapping[str, str], check: str, words: str, remedy: str
) -> None:
    """SPF, greylisting, block lists, limits: each found, with what its postmaster must write."""
    with postfix(tmp_path, settings=settings) as primary:
        result = asked(tmp_path, primary.port, "--json")
    told = found(result)[check]
    assert (result.exit_code, told["grade"]) == (1, "finding")
    assert words in told["text"]
    assert remedy in told["remedy"]


@pytest.mark.neighbours
def test_the_spf_probe_needs_a_domain_that_forbids(tmp_path: Path) -> None:
    """With a sender whose domain has no -all nothing is asked, and it says so."""
    with postfix(tmp_path) as primary:
        told = found(asked(tmp_path, primary.port, "--json", "--spf-sender", "a@soft.test"))
    assert "not asked" in told["spf"]["text"]


QUICK = Timeouts(connect=0.5, greeting=0.5, tls=0.5, hello=0.5, mail=0.5, rcpt=0.5)


class Nothing:
    """A resolver that knows of no record."""

    async def lookup(self, name: str, rdtype: str) -> Answer:
        return Answer((), exists=False)


async def looked(answers: Mapping[str, Say]) -> dict[str, Finding]:
    async with Peer(dict(answers)) as peer:
        question = Question(["example.jp"], ProbeSettings("mx2.test", timeouts=QUICK), ["192.0.2.7"], 1000, "")
        hop = f"smtp:[127.0.0.1]:{peer.port}"
        return {finding.check: finding async for finding in check(Nothing(), hop, question)}


@pytest.mark.parametrize(
    ("answers", "check"),
    [
        ({"GREETING": STALL}, "connect"),
        ({"GREETING": CLOSE}, "connect"),
        ({"EHLO": STALL}, "connect"),
        ({"MAIL": STALL}, "dialogue"),
        ({"RCPT": CLOSE}, "dialogue"),
        ({"RSET": "999 what"}, "recipient"),
        ({"GREETING": "554 5.7.1 we know you"}, "connect"),
        ({"GREETING": "220 \x1b[31mred\x07 Postfix"}, "recipient"),
    ],
)
async def test_servers_that_stall_break_off_or_talk_nonsense(answers: Mapping[str, Say], check: str) -> None:
    """Each wait has its limit, and whatever a server does is a finding."""
    async with asyncio.timeout(30):
        told = await looked(answers)
    assert check in told
    assert told[check].wrong is (check != "recipient")


def test_stanzas_by_software() -> None:
    """The greeting chooses; who says nothing gets all of them."""
    assert stanzas.software("primary.test ESMTP Exim 4.96") is Software.EXIM
    assert "hostlist secondary = 192.0.2.7 : 2001:db8::7" in stanzas.trust(Software.EXIM, ["192.0.2.7", "2001:db8::7"])
    every = stanzas.trust(Software.OTHER, ["192.0.2.7"])
    assert all(word in every for word in ("Postfix", "Exim", "OpenSMTPD"))
    assert 'ip_map = ["192.0.2.7"]' in stanzas.spf(Software.POSTFIX, ["192.0.2.7"])
