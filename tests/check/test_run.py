"""All checks of a message at once, under one deadline."""

import asyncio
import base64
import re
import time
from collections.abc import Callable
from pathlib import Path

import authres
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupmx.check.consequence import consequence
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.run import Checks, build
from backupmx.check.spam import Score, Spam
from backupmx.check.spf import Spf
from backupmx.check.stamp import apply, fields
from backupmx.check.trouble import EngineAway, RulesTrouble
from backupmx.check.virus import Scan, Virus
from backupmx.config import Checks as Settings
from backupmx.config import Config, parse
from backupmx.journal import Journal, silent
from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Message, canonical
from backupmx.net.dns import Answer, DNSTrouble, Resolver
from tests.check.conftest import Key
from tests.check.faults import engine, hangs
from tests.check.messages import EICAR, GTUBE, MIXED, attached, mail
from tests.check.signing import sealed, signed
from tests.neighbours.unbound import free_port

HOST = "mx2.example.net"


def configuration(checks: str = "", folder: Path = Path("/nowhere")) -> Config:
    return parse(f'hostname = "{HOST}"\n[relay]\ntransport_map = "t"\n{checks}', folder / "backupmx.toml")


EMBEDDED = '[checks.virus]\nengine = "yara"\n[checks.spam]\nengine = "builtin"\n'
OFF = "".join(f"[checks.{check}]\nenabled = false\n" for check in ("spf", "dkim", "dmarc", "arc"))


class NoDns(Resolver):
    """Knows nothing, or is away."""

    def __init__(self, trouble: bool = False) -> None:
        super().__init__(["127.0.0.1:1"])
        self._trouble = trouble

    async def lookup(self, name: str, rdtype: str) -> Answer:
        if self._trouble:
            raise DNSTrouble(name)
        return Answer((), exists=False)


@pytest.mark.neighbours
async def test_everything(clamd_addresses: tuple[str, str], spamd_address: str, resolver: Resolver, key: Key) -> None:
    """Real engines and real DNS: every field, in order."""
    virus = f'[checks.virus]\nengine = ["clamd", "yara"]\naddress = "{clamd_addresses[0]}"\n'
    spam = f'[checks.spam]\naddress = "{spamd_address}"\nrequired_score = 5\n'
    checks = build(configuration(virus + spam), resolver, silent())
    sample = signed(sealed(mail(b"--b\r\n\r\n" + GTUBE + b"\r\n" + attached(EICAR), MIXED), key.private), key.private)
    findings = await checks.run(sample)
    assert [f.check for f in findings] == ["spf", "dkim", "dmarc", "arc", "virus", "spam"]
    told = [re.sub(rb"\b\d[\d./]*|\n\t| header\.b=[^;]+", b"", field) for field in fields(findings, HOST)]
    assert told == [
        b"Authentication-Results: mx2.example.net; spf=pass smtp.mailfrom=sender.test;"
        b"dkim=pass header.d=sender.test header.s=s1 header.a=rsa-sha256;"
        b"dmarc=pass policy.dmarc=reject header.from=sender.test; arc=pass",
        b"X-Virus-Scanned: ClamAV  + YARA-X  on mx2.example.net",
        b"X-Virus-Status: Yes (Eicar-Test-Signature.UNOFFICIAL)",
        b"X-Spam-Checker-Version: SpamAssassin  on mx2.example.net",
        b"X-Spam-Level: " + b"*" * 50,
        b"X-Spam-Status: Yes, score= required= tests=GTUBE",
        b"X-Spam-Flag: YES",
    ]
    assert [engine.name for engine in checks.engines] == ["clamd", "yara", "spamd"]


async def test_embedded_engines_without_any_dns() -> None:
    """The embedded engines need nothing; a DNS that is away makes temperror, not trouble."""
    findings = await build(configuration(EMBEDDED), NoDns(trouble=True), silent()).run(mail())
    assert findings.results() >= {"spf=temperror", "helo=temperror", "dkim=none", "dmarc=temperror"}
    assert [f.seen for f in findings][-2:] == [Seen.CLEAN, Seen.CLEAN]
    assert consequence(findings, Settings()) is None


async def test_builtin_sees_what_the_others_found() -> None:
    """The builtin spam engine waits for SPF and its kin."""
    client = Client("192.0.2.7", 1, "unknown", "192.0.2.7")
    findings = await build(configuration(EMBEDDED), NoDns(), silent()).run(mail(client=client))
    spam = findings.of("spam")
    assert spam is not None
    assert spam.facts["tests"] == ("NO_REVERSE_NAME", "HELO_IS_AN_ADDRESS")


async def test_everything_off() -> None:
    """Checks that are off are not asked and not mentioned."""
    off = '[checks.virus]\nengine = "off"\n[checks.spam]\nengine = "off"\n' + OFF
    checks = build(configuration(off), NoDns(), silent())
    assert (await checks.run(mail()), checks.engines) == (Findings(), ())


async def test_engines_away() -> None:
    """Nobody listens: found AWAY, no fields; after three messages the journal tells it, and an operator sees it."""
    lines: list[bytes] = []
    port = free_port()
    away = f'[checks.virus]\naddress = "tcp:127.0.0.1:{port}"\n[checks.spam]\naddress = "tcp:127.0.0.1:{port}"\n'
    checks = build(configuration(away + OFF), NoDns(), Journal(sink=lines.append))
    findings = await checks.run(mail())
    assert [(f.check, f.engine, f.seen, f.fields) for f in findings] == [
        ("virus", "clamd", Seen.AWAY, ()),
        ("spam", "spamd", Seen.AWAY, ()),
    ]
    assert (lines, {state.up for state in checks.states}) == ([], {True})
    for _ in range(5):
        await checks.run(mail())
    assert sorted(line.partition(b"warning: ")[2].split()[0] for line in lines) == [b"clamd", b"spamd"]
    assert {(state.name, state.up) for state in checks.states} == {("clamd", False), ("spamd", False)}


class Engine:
    """A virus engine and a spam engine that do what `act` does."""

    name = "clamd"
    too_old = ""
    largest = 1 << 20

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    async def scan(self, message: Message) -> Scan:
        await asyncio.sleep(0)
        if self.act():
            await asyncio.sleep(3600)
        return Scan("", "Engine 1")

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        await self.scan(mail.message)
        return Score(1.0, (), "Engine 1")

    def depends_on(self, mail: Mail) -> None:
        """Never remembered."""

    async def signatures(self) -> str:
        return "Engine 1"

    async def ping(self) -> str:
        if self.act is gone:
            raise EngineAway("gone")
        return "Engine 1"


def hang() -> bool:
    return True


def fail() -> bool:
    raise LookupError("a bug")


def gone() -> bool:
    raise EngineAway("gone")


async def test_deadline() -> None:
    """What is not done in time is cancelled and found AWAY; what is done counts."""
    checks = Checks(
        Settings(deadline=0.2),
        silent(),
        virus=Virus([Engine(hang)], HOST),
        spam=Spam(Engine(bool), 17.0, HOST),
    )
    started = time.monotonic()
    findings = await checks.run(mail())
    assert [(f.check, f.seen, f.detail) for f in findings] == [
        ("virus", Seen.AWAY, "deadline"),
        ("spam", Seen.CLEAN, "score 1.0 of 17.0: none"),
    ]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("settled", [True, False])
async def test_a_virus_that_is_thrown_away_spares_the_spam_check(tmp_path: Path, settled: bool) -> None:
    """Nobody waits for a score that no rule will see; one that a rule may want is waited for."""
    async with engine(tmp_path, hangs) as address:
        text = f'[checks]\ndeadline = "{60 if settled else 0.5}s"\n[checks.virus]\nengine = "yara"\n'
        text += f'[checks.spam]\nengine = "spamd"\naddress = "{address}"\n'
        checks = build(configuration(text), NoDns(), silent())
        findings = await checks.run(
            mail(EICAR), lambda virus: settled and virus.fields[1].startswith(b"X-Virus-Status: Yes")
        )
    seen = {finding.check: finding.seen for finding in findings}
    assert (seen["virus"], seen["spam"] is Seen.SKIPPED) == (Seen.FOUND, settled)


async def test_deadline_of_authentication() -> None:
    """An authentication check that is not done says temperror, and those that wait for it are let go."""

    class Slow(NoDns):
        async def lookup(self, name: str, rdtype: str) -> Answer:
            await asyncio.sleep(3600)
            return Answer(())

    config = configuration(EMBEDDED).checks.model_copy(update={"deadline": 0.2})
    checks = build(configuration(EMBEDDED).model_copy(update={"checks": config}), Slow(), silent())
    findings = await checks.run(mail())
    assert [(f.check, f.seen) for f in findings] == [
        ("spf", Seen.AWAY),
        ("dkim", Seen.NEUTRAL),
        ("dmarc", Seen.AWAY),
        ("virus", Seen.CLEAN),
        ("spam", Seen.AWAY),
    ]
    assert fields(findings, HOST)[0] == (
        b"Authentication-Results: mx2.example.net; spf=temperror (deadline); dkim=none;\n\tdmarc=temperror (deadline)"
    )


class DeadDns(NoDns):
    """Says nothing for a while; what was asked by then is remembered as trouble, what is asked later is noted."""

    def __init__(self) -> None:
        super().__init__(trouble=True)
        self.over, self.all_asked = asyncio.Event(), asyncio.Event()
        self.asked: list[str] = []
        self.later: list[str] = []

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
        return DNSTrouble(name) if self.over.is_set() and name in self.asked else None

    async def lookup(self, name: str, rdtype: str) -> Answer:
        if trouble := self.known(name, rdtype):
            raise trouble  # type: ignore[misc]
        (self.later if self.over.is_set() else self.asked).append(name)
        if len(self.asked) == 5:
            self.all_asked.set()
        await self.over.wait()
        raise DNSTrouble(name)


async def test_a_dead_dns_costs_one_wait(key: Key) -> None:
    """Everything that needs the DNS asks at once; when nobody answered, nothing more is asked."""
    dns = DeadDns()
    sample = signed(sealed(mail(), key.private), key.private, selector=b"s2")
    running = asyncio.create_task(build(configuration(EMBEDDED), dns, silent()).run(sample))
    await dns.all_asked.wait()
    dns.over.set()
    findings = await running
    assert sorted(set(dns.asked)) == [
        "_dmarc.sender.test",
        "mx1.sender.test",
        "s1._domainkey.sender.test",
        "s2._domainkey.sender.test",
        "sender.test",
    ]
    assert dns.later == []
    assert [finding.facts.get("result") for finding in findings][:4] == ["temperror"] * 4


async def test_a_bug_is_one_finding() -> None:
    """A bug in a check is a traceback in the log; the other checks and the message go on."""
    lines: list[bytes] = []
    checks = Checks(
        Settings(), Journal(sink=lines.append), virus=Virus([Engine(fail)], HOST), spam=Spam(Engine(bool), 17.0, HOST)
    )
    findings = await checks.run(mail())
    assert [f.seen for f in findings] == [Seen.UNSCANNABLE, Seen.CLEAN]
    assert b"LookupError" in b"".join(lines)


async def test_a_client_that_hangs_up() -> None:
    """Cancelled from outside, no check is left running."""
    checks = Checks(Settings(), silent(), virus=Virus([Engine(hang)], HOST), spf=Spf(NoDns()))
    running = asyncio.create_task(checks.run(mail()))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


def test_wrong_files_are_refused_at_start(tmp_path: Path) -> None:
    """A rule file that cannot be used is found when the server starts, not with the first message."""
    (tmp_path / "spam.toml").write_text("[[rule]]\nname = 'X'\n")
    own = '[checks.virus]\nengine = "off"\n[checks.spam]\nengine = "builtin"\nrules = "spam.toml"\n'
    with pytest.raises(RulesTrouble, match="rule X"):
        build(configuration(own, tmp_path), NoDns(), silent())
    (tmp_path / "yara").mkdir()
    (tmp_path / "yara" / "x.yar").write_text("rule X {")
    with pytest.raises(RulesTrouble, match=r"x\.yar"):
        build(configuration(EMBEDDED, tmp_path), NoDns(), silent())
    with pytest.raises(ValueError, match="write unix:"):
        build(configuration('[checks.virus]\naddress = "clamd"\n'), NoDns(), silent())


async def test_own_yara_rules(tmp_path: Path) -> None:
    """A folder yara/ beside backupmx.toml takes the place of the shipped rules."""
    (tmp_path / "yara").mkdir()
    (tmp_path / "yara" / "x.yar").write_text('rule Own { strings: $a = "Hello" condition: $a }')
    findings = await build(configuration(EMBEDDED + OFF, tmp_path), NoDns(), silent()).run(mail())
    virus = findings.of("virus")
    assert virus is not None
    assert virus.fields[1] == b"X-Virus-Status: Yes (Own)"


NAMES = [b"From", b"DKIM-Signature", b"ARC-Seal", b"Date"]
CHECKS = build(configuration(EMBEDDED), NoDns(), silent())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    headers=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b" ")), max_size=8),
    named=st.lists(
        st.tuples(st.sampled_from([b"From", b"DKIM-Signature", b"ARC-Seal", b"Date"]), st.binary(max_size=60))
    ),
    body=st.binary(max_size=200),
    sender=st.text(max_size=30),
    helo=st.text(max_size=30),
)
def test_any_message(
    headers: list[bytes], named: list[tuple[bytes, bytes]], body: bytes, sender: str, helo: str
) -> None:
    """Any bytes as a message give findings, and fields without a control byte that others can parse."""
    fields_of = tuple(headers) + tuple(name + b": " + value.replace(b"\n", b"\n ") for name, value in named)
    message = Message(fields_of, (b"\r\n", canonical(body)))
    sample = Mail(message, Envelope(sender, ()), Client("192.0.2.1", 1, helo, helo), "4hTESTz1")
    findings = asyncio.run(CHECKS.run(sample))
    assert len(findings.all) >= 5
    added = fields(findings, HOST)
    for field in added:
        assert re.fullmatch(rb"[\x20-\x7e]+(\n\t[\x20-\x7e]+)*", field)
    for finding in findings:
        assert "internal error" not in finding.detail
        assert finding.detail.isprintable()
    authres.AuthenticationResultsHeader.parse(added[0].replace(b"\n\t", b" ").decode())
    stamped = apply(message, findings, 0, added, HOST)
    assert stamped.headers[: len(added)] == added


class Absurd(NoDns):
    """Every name has this, as every type."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self.answer = Answer((octets.decode("utf-8", "surrogateescape"),), strings=(octets,))

    def known(self, name: str, rdtype: str) -> Answer:
        return self.answer if rdtype == "TXT" else Answer((), exists=False)


_TAGS = st.sampled_from(
    [b"v=spf1 ", b"v=DMARC1; ", b"v=DKIM1; ", b"p=", b"k=rsa; ", b"include:%{", b"exists:", b"redirect=", b"a:",
     b" -all", b"reject;", b"\0", b"\r\n", b"\x1b[2J", b"\xff", b"; dkim=pass", b"(", b")", b"AAAA", b" " * 70, b"sp=",
     b"psd=y;"]
)  # fmt: skip


@given(st.lists(_TAGS, max_size=30).map(b"".join))
def test_any_record(key: Key, octets: bytes) -> None:
    """Whatever stands in the DNS as SPF, DMARC and DKIM records: findings, and nothing of it as a control byte."""
    checks = build(configuration(EMBEDDED), Absurd(octets), silent())
    findings = asyncio.run(checks.run(signed(mail(), key.private)))
    for field in fields(findings, HOST):
        assert re.fullmatch(rb"[\x20-\x7e]+(\n\t[\x20-\x7e]+)*", field)
    assert all(finding.detail.isprintable() and "internal error" not in finding.detail for finding in findings)
    assert "dkim=pass" not in findings.results()


async def test_mime_bombs_are_bounded() -> None:
    """Deep nesting, a hundred thousand parts, base64 of base64, ten thousand headers: an answer within seconds."""
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(20_000))
    parts = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n" * 100_000
    headers = tuple(b"X-Header-%d: x" % n for n in range(10_000))
    encoded = bytes(500_000)
    for _ in range(6):
        encoded = base64.encodebytes(encoded).replace(b"\n", b"\r\n")
    base64_of_base64 = mail(encoded, b"Content-Transfer-Encoding: base64")
    words = mail(b"", b"Subject: " + b"=?utf-8?B?8J+=?= =?x?Q?=FF=0A=0D?=\n " * 5_000 + b"x")
    started = time.process_time()
    for sample in (mail(nested), mail(parts, MIXED), mail(b"", *headers), base64_of_base64, words):
        assert isinstance(await CHECKS.run(sample), Findings)
    assert time.process_time() - started < 20


async def test_a_thousand_signatures(key: Key) -> None:
    """A thousand DKIM signatures and ARC sets cost what eight and none cost."""
    sample = signed(mail(), key.private)
    junk = [b"DKIM-Signature: v=1; a=rsa-sha256; d=d%d.test; s=s; h=from; bh=x; b=y" % n for n in range(1000)]
    junk += [b"ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=d%d.test; s=s; b=y" % (n % 60, n) for n in range(1000)]
    headers = (sample.message.headers[0], *junk, *sample.message.headers[1:])
    dns = Counting()
    findings = await build(configuration(EMBEDDED), dns, silent()).run(
        Mail(Message(headers, sample.message.body), sample.envelope, sample.client)
    )
    dkim, arc = findings.of("dkim"), findings.of("arc")
    assert dkim is not None
    assert arc is not None
    assert (len(dkim.results), "the first 8 of 1001" in dkim.detail, arc.facts["result"]) == (8, True, "fail")
    assert len([name for name in dns.asked if "_domainkey" in name]) == 8


class Counting(NoDns):
    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def lookup(self, name: str, rdtype: str) -> Answer:
        self.asked.append(name)
        return await super().lookup(name, rdtype)


def test_finding_lookups() -> None:
    """A finding is found by its check; a check that is off has none."""
    finding = Finding("virus", "clamd", Seen.CLEAN, "clean")
    assert (Findings((finding,)).of("virus"), Findings((finding,)).of("spam")) == (finding, None)
