"""The builtin spam engine with the shipped rules."""

import base64
from pathlib import Path

import pytest

from backupmx.check.finding import Finding, Findings, Seen
from backupmx.check.spam_builtin import SHIPPED, Builtin, has_gtube, read
from backupmx.check.trouble import RulesTrouble
from backupmx.mail.envelope import Client
from tests.check.messages import GTUBE, attached, mail

NOW = 1795492800.0


@pytest.fixture
def builtin() -> Builtin:
    return Builtin(read(SHIPPED), clock=lambda: NOW)


def authentication(**results: str) -> Findings:
    policy = results.pop("policy", "")
    findings = [
        Finding(check, check, Seen.NEUTRAL, "", facts={"result": result} | ({"policy": policy} if policy else {}))
        for check, result in results.items()
    ]
    return Findings(tuple(findings))


async def test_honest_mail(builtin: Builtin) -> None:
    """Mail its author's domain stands by scores below zero."""
    score = await builtin.score(mail(), authentication(spf="pass", dmarc="pass", policy="reject"))
    assert (score.score, score.tests, score.version.startswith("backupmx ")) == (-1.0, ("DMARC_PASS",), True)


async def test_gtube(builtin: Builtin) -> None:
    """The line every spam filter knows is a thousand points."""
    score = await builtin.score(mail(GTUBE), Findings())
    assert (score.score, score.tests) == (1000.0, ("GTUBE",))


async def test_forged_sender_from_a_nameless_host(builtin: Builtin) -> None:
    """A forged author whose domain asks for rejection, from a host without a name: over the threshold."""
    client = Client("192.0.2.66", 1, "unknown", "192.0.2.66")
    score = await builtin.score(
        mail(client=client), authentication(spf="fail", dkim="none", dmarc="fail", policy="reject")
    )
    assert score.tests == ("DMARC_REJECT", "SPF_FAIL", "NO_REVERSE_NAME", "HELO_IS_AN_ADDRESS")
    assert score.score >= 17.0


async def test_no_single_rule_is_enough() -> None:
    """Every shipped rule alone stays below the shipped threshold."""
    assert [rule.name for rule in read(SHIPPED) if rule.score >= 17.0] == []
    assert [rule.name for rule in read(SHIPPED) if not rule.describe] == []


async def test_subject_in_capitals(builtin: Builtin) -> None:
    """A shouted subject; one in Japanese is not shouted."""
    shouted = mail(b"", b"Subject: BUY THIS NOW OR NEVER")
    japanese = mail(b"", "Subject: お知らせ ABCDEFGHIJKLMNOP".encode())
    encoded = mail(b"", b"Subject: =?UTF-8?B?44GK55+l44KJ44GbQUJDREVGR0hJSktMTU5PUA==?=")
    assert "SUBJECT_ALL_CAPITALS" in (await builtin.score(shouted, Findings())).tests
    for honest in (japanese, encoded):
        assert "SUBJECT_ALL_CAPITALS" not in (await builtin.score(honest, Findings())).tests


def test_gtube_anywhere() -> None:
    """Encoded, quoted or after a long text; not beyond 512 KiB."""
    assert has_gtube(mail(attached(b"x" * 1000 + GTUBE)).message)
    assert has_gtube(mail(b"x" * 100_000 + GTUBE).message)
    body = base64.b64encode(GTUBE)
    assert has_gtube(mail(body, b"Content-Transfer-Encoding: base64").message)
    assert not has_gtube(mail(b"x" * (513 << 10) + GTUBE).message)
    assert not has_gtube(mail().message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing or binary rule file is named."""
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("none", "binary"):
        with pytest.raises(RulesTrouble, match=name):
            read(tmp_path / name)


async def test_ping(builtin: Builtin) -> None:
    """An operator sees how many rules there are."""
    assert (await builtin.ping()).endswith(f", {len(read(SHIPPED))} rules")
