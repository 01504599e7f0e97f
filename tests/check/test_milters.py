"""Milters one after another: scripted ones for what real ones do not do on demand, and Debian's own."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupmx.check.finding import Mail
from backupmx.check.milter_listed import Milter
from backupmx.check.milters import Milked, Milters, build
from backupmx.config import OnError, parse
from backupmx.journal import Journal, silent
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.verdict import Fate, Verdict
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import Timeouts
from tests.check.conftest import Key
from tests.check.messages import EICAR, GTUBE, MIXED, attached, mail
from tests.check.signing import signed
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.opendkim import opendkim
from tests.neighbours.rspamd import rspamd
from tests.neighbours.spamass_milter import spamass_milter
from tests.neighbours.spamd import spamd
from tests.net.scripted_milter import CLOSE, HANG, Raw, Script, ScriptedMilter, add, change, insert, reply

HOSTNAME = "mx2.example.net"
BOB, CAROL = Recipient("bob@example.test"), Recipient("carol@example.test")


class Open:
    """No rules.  `drop`: beginnings of headers that are ignored; `ends`: of one that is discarded."""

    def __init__(self, drop: bytes = b"\0", ends: bytes = b"\0") -> None:
        self.verdict = Verdict()
        self.seen: list[bytes] = []
        self._drop, self._ends = drop, ends

    def show(self, header: bytes) -> bytes | None:
        self.seen.append(header)
        if header.startswith(self._ends):
            self.verdict = Verdict(Fate.DISCARD, reason="rule")
        return None if header.startswith(self._drop) or self.verdict.ends else header


class Places:
    def is_ours(self, address: str) -> bool:
        return address.endswith("@example.test")

    def is_routed(self, address: str) -> bool:
        return "%" in address

    def next_hop(self, address: str) -> str:
        return "smtp:[primary1.example.net]"


class Run:
    """Messages shown to milters in their order."""

    def __init__(self, milters: Sequence[Milter], journal: Journal | None = None) -> None:
        self.milters = Milters(milters, HOSTNAME, journal or silent())

    async def __call__(self, message: Mail, shown: Open | None = None, hidden: int = 0) -> Milked:
        return await self.milters.run(message, hidden, min(hidden, 1), shown or Open(), Places())


def milter(address: str, name: str = "x", on_error: OnError = "accept", seconds: float = 20.0) -> Milter:
    return Milter(name, Endpoint.parse(address, "inet"), Timeouts(seconds, seconds, seconds), on_error)


def to_both() -> Mail:
    return replace(mail(), envelope=Envelope("alice@sender.test", (BOB, CAROL)))


async def asked(script: Script, message: Mail | None = None, edits: Sequence[bytes | Raw] = ()) -> Milked:
    async with ScriptedMilter(script, edits=edits) as fake:
        return await Run([milter(fake.address)])(message or mail())


async def test_a_milter_with_nothing_to_say() -> None:
    """The message goes on as it is."""
    message = mail()
    milked = await asked({}, message)
    assert (milked.message, milked.envelope, milked.verdict) == (message.message, message.envelope, Verdict())


async def test_each_sees_what_the_one_before_made() -> None:
    """Headers and body of the first are what the second is shown; ours neither of them."""
    message = mail(b"old\r\n", b"Received: ours", b"X-Own: 1")
    async with (
        ScriptedMilter(edits=[add(b"X-One", b"1"), change(1, b"Subject", b"dinner"), b"bnew\r\n"]) as one,
        ScriptedMilter(edits=[insert(1, b"X-Two", b"2")]) as two,
    ):
        milked = await Run([milter(one.address, "one"), milter(two.address, "two")])(message, hidden=2)
    assert two.of(b"L") == [
        b"From\0Alice <alice@sender.test>\0", b"To\0bob@example.test\0", b"Subject\0dinner\0",
        b"Date\0Tue, 24 Nov 2026 04:00:00 +0000\0", b"Message-ID\0<1@sender.test>\0", b"X-One\x001\0",
    ]  # fmt: skip
    assert two.of(b"B") == [b"new\r\n"]
    assert milked.message.headers[:3] == (b"Received: ours", b"X-Own: 1", b"X-Two: 2")
    assert [bytes(piece) for piece in milked.message.body] == [b"\r\n", b"new\r\n"]


async def test_the_envelope_as_it_came() -> None:
    """Sender and recipients with the parameters the client gave."""
    envelope = Envelope("", (Recipient("bob@example.test", "NEVER", "rfc822;bob"),), "8BITMIME", True, "HDRS", "id")
    async with ScriptedMilter() as fake:
        await Run([milter(fake.address)])(replace(mail(), envelope=envelope))
    assert fake.of(b"M") == [b"<>\0BODY=8BITMIME\0RET=HDRS\0ENVID=id\0SMTPUTF8\0"]
    assert fake.of(b"R") == [b"<bob@example.test>\0NOTIFY=NEVER\0ORCPT=rfc822;bob\0"]
    assert fake.of(b"H") == [b"mx1.sender.test\0"]
    assert fake.of(b"C") == [b"mx1.sender.test\x004\x9c\x40192.0.2.1\0"]


@pytest.mark.parametrize("command", [b"C", b"H", b"M", b"T", b"L", b"N", b"B", b"E"])
@pytest.mark.parametrize(
    ("word", "fate", "said"),
    [
        (b"r", Fate.REJECT, "550 5.7.1 Command rejected"),
        (b"t", Fate.DEFER, "451 4.7.1 Service unavailable - try again later"),
        (reply("554 5.6.0 not this"), Fate.REJECT, "554 5.6.0 not this"),
        (reply("421 4.3.2 later"), Fate.DEFER, "451 4.3.2 later"),
    ],
)
async def test_a_refusal_is_ours(command: bytes, word: bytes, fate: Fate, said: str) -> None:
    """Whenever it says so, the milter's reply is the client's, and nothing it asked for is done."""
    milked = await asked({command: [word]}, edits=[add(b"X-A", b"1")])
    assert (milked.verdict.fate, str(milked.verdict.reply)) == (fate, said)
    assert milked.message == mail().message


@pytest.mark.parametrize("command", [b"M", b"R", b"B", b"E"])
async def test_discard_is_the_rules_discard(command: bytes) -> None:
    """250 to the client, quarantine or nothing: as policy says."""
    milked = await asked({command: [b"d"]})
    assert (milked.verdict.fate, milked.verdict.reply, milked.envelope.recipients) == (Fate.DISCARD, None, (BOB,))


async def test_accept_is_the_end() -> None:
    """ACCEPT before the end: as it is, and the next milter is asked."""
    async with ScriptedMilter({b"M": [b"a"]}, edits=[add(b"X-A", b"1")]) as one, ScriptedMilter() as two:
        milked = await Run([milter(one.address, "one"), milter(two.address, "two")])(mail())
    assert milked.message == mail().message
    assert (one.of(b"E"), two.of(b"E")) == ([], [b""])


async def test_one_recipient_of_two_is_refused() -> None:
    """The other gets the message; later milters and the primary never hear of the refused one."""
    async with ScriptedMilter({b"R": [b"c", reply("550 5.1.1 no Carol"), b"c"]}) as one, ScriptedMilter() as two:
        milked = await Run([milter(one.address, "one"), milter(two.address, "two")])(to_both())
    assert milked.verdict == Verdict()
    assert milked.envelope.recipients == (BOB,)
    assert milked.refused == ((CAROL, "milter one said: 550 5.1.1 no Carol"),)
    assert two.of(b"R") == [b"<bob@example.test>\0"]


@pytest.mark.parametrize(
    ("words", "fate", "said"),
    [
        ([reply("550 5.1.1 no"), reply("551 5.1.1 no")], Fate.REJECT, "550 5.1.1 no"),
        ([reply("550 5.1.1 no"), b"t"], Fate.DEFER, "451 4.7.1 Service unavailable - try again later"),
        ([b"c", reply("451 4.2.0 greylisted")], Fate.DEFER, "451 4.2.0 greylisted"),
    ],
)
async def test_recipients_decide_together(words: list[bytes], fate: Fate, said: str) -> None:
    """All refused: the reply is ours.  One to be tried again: the whole message comes again, nobody gets it twice."""
    milked = await asked({b"R": words}, to_both())
    assert (milked.verdict.fate, str(milked.verdict.reply), milked.refused) == (fate, said, ())


async def test_two_milters_refuse_one_each() -> None:
    """When the second refuses whom the first left, the message is refused."""
    async with (
        ScriptedMilter({b"R": [b"r", b"c"]}) as one,
        ScriptedMilter({b"R": [reply("550 5.1.1 no Carol")]}) as two,
    ):
        milked = await Run([milter(one.address, "one"), milter(two.address, "two")])(to_both())
    assert (milked.verdict.fate, str(milked.verdict.reply)) == (Fate.REJECT, "550 5.1.1 no Carol")


async def test_the_envelope_is_changed() -> None:
    """Recipients and sender as the milter wants them, outside our domains nobody."""
    edits = [b"+<dave@example.test>\0", b"+<spy@elsewhere.test>\0", b"+<spy%elsewhere@example.test>\0",
             b"-<bob@example.test>\0", b"e<b@sender.test>\0"]  # fmt: skip
    lines: list[bytes] = []
    async with ScriptedMilter(edits=edits) as fake:
        milked = await Run([milter(fake.address)], Journal(sink=lines.append))(mail())
    assert milked.envelope == Envelope("b@sender.test", (Recipient("dave@example.test"),))
    assert [line.split(b"warning: ")[1] for line in lines if b"warning" in line] == [
        b"milter x: recipient <spy@elsewhere.test> not added: not in a domain we relay\n",
        b"milter x: recipient <spy%elsewhere@example.test> not added: not in a domain we relay\n",
    ]


async def test_without_recipients_it_is_discarded() -> None:
    """A milter that deletes everybody discards the message; quarantine knows whom it was meant for."""
    milked = await asked({}, edits=[b"-<bob@example.test>\0"])
    assert (milked.verdict.fate, milked.envelope.recipients) == (Fate.DISCARD, (BOB,))


async def test_quarantine_holds_and_ends_the_chain() -> None:
    """As in Postfix: held with its reason, what it changed is kept, no further milter is asked."""
    async with ScriptedMilter(edits=[add(b"X-A", b"1"), b"qvirus\0"]) as one, ScriptedMilter() as two:
        milked = await Run([milter(one.address, "one"), milter(two.address, "two")])(mail())
    assert (milked.verdict.fate, milked.verdict.reason) == (Fate.HOLD, "milter one: virus")
    assert milked.message.headers[-1] == b"X-A: 1"
    assert two.connections == 0


async def test_a_rule_ends_the_chain() -> None:
    """A header that a rule discards: no further milter is asked."""
    shown = Open(ends=b"X-Spam-Flag: YES")
    async with ScriptedMilter(edits=[add(b"X-Spam-Flag", b"YES")]) as one, ScriptedMilter() as two:
        await Run([milter(one.address, "one"), milter(two.address, "two")])(mail(), shown)
    assert (shown.verdict.fate, two.connections) == (Fate.DISCARD, 0)


LOST: list[Script] = [
    {b"O": [CLOSE]}, {b"O": [HANG]}, {b"M": [HANG]}, {b"B": [CLOSE]}, {b"E": [HANG]}, {b"E": [CLOSE]},
    {b"E": [Raw(b"\0\0\0\0")]}, {b"R": [b"?"]},
]  # fmt: skip


@pytest.mark.parametrize("script", LOST)
@pytest.mark.parametrize(
    ("on_error", "fate", "said"),
    [
        ("accept", Fate.ACCEPT, "None"),
        ("defer", Fate.DEFER, "451 4.7.1 Service unavailable - try again later"),
        ("quarantine", Fate.HOLD, "None"),
        ("reject", Fate.REJECT, "550 5.7.1 Service unavailable"),
    ],
)
async def test_lost_in_the_middle(script: Script, on_error: OnError, fate: Fate, said: str) -> None:
    """on_error decides; of what it had asked for nothing is done; while there is a message the next one is asked."""
    edits = [add(b"X-A", b"1"), b"-<bob@example.test>\0", b"bhalf a body", b"qheld\0"]
    async with ScriptedMilter(script, edits=edits) as one, ScriptedMilter() as two:
        milked = await Run([milter(one.address, "one", on_error, 0.2), milter(two.address, "two")])(mail())
    assert (milked.verdict.fate, str(milked.verdict.reply)) == (fate, said)
    assert (milked.message, milked.envelope) == (mail().message, mail().envelope)
    assert two.connections == (0 if milked.verdict.ends else 1)


async def test_its_absence_is_told_once() -> None:
    """One line when it goes away, however many messages pass, and one when it answers again."""
    lines: list[bytes] = []
    async with ScriptedMilter({b"M": [CLOSE, CLOSE, CLOSE, b"c"]}) as fake:
        run = Run([milter(fake.address, "opendkim")], Journal(sink=lines.append))
        for _ in range(4):
            await run(mail())
    told = [line.split(b": ", 1)[1] for line in lines if b"check: " not in line]
    assert told == [
        b"warning: opendkim is away: after MAIL: it closed the connection\n", b"opendkim answers again\n",
    ]  # fmt: skip


async def test_a_milter_may_be_called_as_an_engine_is() -> None:
    """rspamd, listed as a milter beside the engine of that name: alarms and status tell them apart."""
    text = 'hostname = "mx2.example.net"\n[relay]\ntransport_map = "t"\n[checks.spam]\nengine = "rspamd"\n'
    text += (
        '[[milter]]\nname = "rspamd"\naddress = "unix:/none"\n[[milter]]\nname = "opendkim"\naddress = "unix:/none"\n'
    )
    journal = silent()
    milters = build(parse(text, Path("b.toml")), journal)
    await milters.run(mail(), 0, 0, Open(), Places())
    assert [state.name for state in milters.states] == ["milter rspamd", "opendkim"]
    assert sorted(alarm.key for alarm in journal.alarms) == ["engine milter rspamd", "engine opendkim"]


async def test_what_it_did_is_in_the_log() -> None:
    """Refused, held or discarded: a line in Postfix's shape with the milter's name."""
    lines: list[bytes] = []
    async with ScriptedMilter({b"E": [reply("550 5.7.1 spam")]}) as fake:
        await Run([milter(fake.address, "rspamd")], Journal(sink=lines.append))(mail())
    assert lines[-1].split(b": ", 1)[1] == (
        b"4hTESTz1: milter-reject: END-OF-MESSAGE from mx1.sender.test[192.0.2.1]: 550 5.7.1 spam;"
        b" from=<alice@sender.test> to=<bob@example.test> proto=ESMTP helo=<mx1.sender.test> [rspamd]\n"
    )


async def test_all_together_have_a_limit() -> None:
    """A milter that is at work for ever is given up in time for our reply."""
    clock = iter([0.0, 539.9, 540.0])
    async with ScriptedMilter({b"E": [HANG]}) as fake:
        run = Run([Milter("x", Endpoint.parse(fake.address, "inet"), on_error="defer")])
        run.milters._clock = lambda: next(clock)
        async with asyncio.timeout(10):
            assert (await run(mail())).verdict.fate is Fate.DEFER


async def test_many_messages_at_once() -> None:
    """Each has a dialogue of its own."""
    async with ScriptedMilter(edits=[add(b"X-A", b"1")]) as fake:
        run = Run([milter(fake.address)])
        milked = await asyncio.gather(*(run(mail(b"%d\r\n" % n)) for n in range(100)))
    assert [m.message.body[-1] for m in milked] == [b"%d\r\n" % n for n in range(100)]
    assert {m.message.headers[-1] for m in milked} == {b"X-A: 1"}


def test_names_are_told_apart() -> None:
    """Two milters of one name cannot be told apart in the log: refused with the configuration."""
    section = '[[milter]]\nname = "x"\naddress = "unix:/x"\n'
    text = f'hostname = "mx2.example.net"\n[relay]\ntransport_map = "t"\n{section}'
    assert [m.name for m in build(parse(text, Path("b.toml")), silent()).all] == ["x"]
    with pytest.raises(ValueError, match="x is there twice"):
        build(parse(text + section, Path("b.toml")), silent())


# Debian's own


def values(milked: Milked, name: bytes) -> list[bytes]:
    return milked.message.values(name)


@pytest.fixture(scope="module")
def dkim(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Iterator[str]:
    with opendkim(tmp_path_factory.mktemp("opendkim"), [("s1._domainkey.sender.test", key.record.decode())]) as address:
        yield address


@pytest.fixture(scope="module")
def clamav(tmp_path_factory: pytest.TempPathFactory, clamd_addresses: tuple[str, str]) -> Iterator[str]:
    with clamav_milter(tmp_path_factory.mktemp("clamav"), clamd_addresses[0]) as address:
        yield address


@pytest.fixture(scope="module")
def spamass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        spamd(tmp_path_factory.mktemp("spamd")) as daemon,
        spamass_milter(tmp_path_factory.mktemp("spamass"), daemon) as address,
    ):
        yield address


def real(address: str, name: str, on_error: OnError = "reject") -> Milter:
    return Milter(name, Endpoint.parse(address, "inet"), on_error=on_error)


@pytest.mark.neighbours
async def test_opendkim_verifies(dkim: str, key: Key) -> None:
    """A good signature is a pass on top of our Received, a broken one a fail; the message is as it was."""
    run = Run([real(dkim, "opendkim")])
    good = signed(mail(b"Hello\r\n"), key.private)
    message = replace(good, message=replace(good.message, headers=(b"Received: ours", *good.message.headers)))
    milked = await run(message, hidden=1)
    assert b"dkim=pass" in milked.message.headers[0]
    assert milked.message.headers[1:] == message.message.headers
    broken = replace(good, message=replace(good.message, body=(b"\r\n", b"Hallo\r\n")))
    assert b"dkim=fail" in (await run(broken)).message.headers[0]


@pytest.mark.neighbours
async def test_clamav_milter_replaces_what_it_finds(clamav: str) -> None:
    """Every outside copy of X-Virus-* goes, its own comes: Clean, or Infected with the name."""
    forged = (b"X-Virus-Status: Clean", b"X-Virus-Scanned: forged", b"X-Virus-Status: Clean too")
    run = Run([real(clamav, "clamav-milter")])
    clean = await run(mail(b"Hello\r\n", *forged))
    assert values(clean, b"X-Virus-Status") == [b"Clean"]
    assert [value[:13] for value in values(clean, b"X-Virus-Scanned")] == [b"clamav-milter"]
    infected = await run(mail(attached(EICAR), MIXED, *forged))
    assert [value[:10] for value in values(infected, b"X-Virus-Status")] == [b"Infected ("]
    assert infected.verdict == Verdict()


@pytest.mark.neighbours
async def test_nobody_buries_a_milter_under_its_own_headers(clamav: str) -> None:
    """Eleven thousand forged fields are taken away, and what is attached below them is found."""
    forged = (b"X-Virus-Status: Clean",) * 11_000
    infected = await Run([real(clamav, "clamav-milter")])(mail(attached(EICAR), *forged, MIXED))
    assert [value[:10] for value in values(infected, b"X-Virus-Status")] == [b"Infected ("]
    assert infected.verdict == Verdict()


@pytest.mark.neighbours
async def test_clamav_milter_quarantines(tmp_path: Path, clamd_addresses: tuple[str, str]) -> None:
    """Its default, OnInfected Quarantine: held, and the client reads 250."""
    with clamav_milter(tmp_path, clamd_addresses[0], on_infected="Quarantine") as address:
        milked = await Run([real(address, "clamav-milter")])(mail(EICAR + b"\r\n"))
    assert milked.verdict.fate is Fate.HOLD
    assert milked.verdict.reason.startswith("milter clamav-milter: ")


@pytest.mark.neighbours
async def test_clamav_milter_rejects(tmp_path: Path, clamd_addresses: tuple[str, str]) -> None:
    """OnInfected Reject: its reply is the client's."""
    with clamav_milter(tmp_path, clamd_addresses[0], on_infected="Reject") as address:
        milked = await Run([real(address, "clamav-milter")])(mail(EICAR + b"\r\n"))
    assert (milked.verdict.fate, milked.verdict.reply and milked.verdict.reply.code) == (Fate.REJECT, 550)


@pytest.mark.neighbours
async def test_spamass_milter_marks(spamass: str) -> None:
    """Its headers are added; a forged X-Spam-Status from outside is gone."""
    milked = await Run([real(spamass, "spamass-milter")])(mail(GTUBE + b"\r\n", b"X-Spam-Status: No, forged"))
    assert values(milked, b"X-Spam-Status") == []  # this spamd writes none
    assert [value[:12] for value in values(milked, b"X-Spam-Checker-Version")] == [b"SpamAssassin"]
    assert b"GTUBE" in values(milked, b"X-Spam-Report")[0]


@pytest.mark.neighbours
async def test_rspamd_s_proxy(tmp_path: Path) -> None:
    """Marks what is good, rejects GTUBE in its own words."""
    with rspamd(tmp_path) as address:
        run = Run([real(address, "rspamd")])
        good = await run(mail(b"Hello\r\n", b"X-Spam-Status: No, forged"))
        bad = await run(mail(GTUBE + b"\r\n"))
    assert [value[:2] for value in values(good, b"X-Spam-Status")] == [b"No"]
    assert str(bad.verdict.reply) == "554 5.7.1 Gtube pattern"


@pytest.mark.neighbours
async def test_a_large_message_goes_through_all(dkim: str, clamav: str, spamass: str) -> None:
    """A few megabytes, in frames, to one after another."""
    body = (b"x" * 76 + b"\r\n") * 50_000
    milked = await Run([real(dkim, "opendkim"), real(clamav, "clamav"), real(spamass, "spamass")])(mail(body))
    assert milked.verdict == Verdict()
    assert values(milked, b"X-Virus-Status") == [b"Clean"]


FRAMES = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.tuples(st.sampled_from([b"h", b"+", b"2", b"-", b"e", b"q", b"b", b"y", b"y550 "]), st.binary(max_size=40))
    .map(lambda parts: parts[0] + parts[1] + b"\0"),
    st.tuples(st.sampled_from([b"i", b"m"]), st.integers(0, 1 << 32), st.binary(max_size=30))
    .map(lambda parts: parts[0] + (parts[1] % (1 << 32)).to_bytes(4, "big") + b"X-A\0" + parts[2] + b"\0"),
)  # fmt: skip


@given(st.sampled_from([b"C", b"R", b"L", b"B", b"E"]), st.lists(FRAMES, max_size=5), FRAMES)
@settings(max_examples=80, deadline=None)
def test_a_hostile_milter_is_a_verdict(command: bytes, edits: list[bytes], word: bytes) -> None:
    """Whatever it says, there is a message with our Received in its place, or a reply; never an exception."""

    async def ask() -> Milked:
        async with ScriptedMilter({command: [word, b"a"]}, edits=edits) as fake:
            listed = Milter("x", Endpoint.parse(fake.address, "inet"), Timeouts(1, 0.05, 0.05), "defer")
            run = Run([listed], Journal(sink=lambda line: None))
            return await run(mail(b"Hello\r\n", b"Received: ours"), hidden=1)

    milked = asyncio.run(ask())
    assert milked.message.headers.count(b"Received: ours") == 1
    assert milked.verdict.refuses == (milked.verdict.reply is not None)
    assert milked.envelope.recipients
