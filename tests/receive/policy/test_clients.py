"""What is held against a client, said at RCPT in Postfix's words, with the setting that says so in the log."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backupmx.journal import Journal, silent
from backupmx.mail.envelope import Client
from backupmx.net.dns import Answer, DNSTrouble
from backupmx.receive.policy.access import parse
from backupmx.receive.policy.acquainted import Acquainted
from backupmx.receive.policy.clients import ClientRules, Clients
from backupmx.receive.policy.dnsbl import parse as sites
from tests.receive.doors import Running, running

HERE = "1.0.0.127"
OK = "250 2.1.5 Ok"
OURS = "mx2.example.net"
HELO = "Helo command rejected: "


class Zone:
    """A resolver without a memory: `records` by (name, type); a name that is not there does not exist."""

    def __init__(self, records: dict[tuple[str, str], tuple[str, ...] | None] | None = None, name: str = "unknown"):
        self.records = records or {}
        self.name = name
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def reverse(self, ip: str) -> str:
        return self.name

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
        return None

    async def lookup(self, name: str, rdtype: str) -> Answer:
        self.asked.append(name)
        await self.open.wait()
        found = self.records.get((name, rdtype), ())
        if found is None:
            raise DNSTrouble("SERVFAIL")
        return Answer(found, exists=bool(found))


async def said(door: Running, helo: str = "EHLO client.example", sender: str = "a@b.example") -> str:
    """What a client reads at RCPT."""
    talk = await door.connect()
    await talk.say(helo)
    await talk.say(f"MAIL FROM:<{sender}>")
    reply = await talk.say("RCPT TO:<user@example.jp>")
    await talk.say("QUIT")
    await talk.close()
    return reply


def policed(zone: Zone | None = None, met: Any = None, **rules: Any) -> Any:
    return running(resolver=zone or Zone(), rules=ClientRules("mx2.example.net", **rules), met=met, limit_exceptions=())


@pytest.mark.parametrize(
    ("setting", "helo", "sender", "reply"),
    [
        ("reject_invalid_helo_hostname", "EHLO a?b", "a@b.example", f"501 5.5.2 <a?b>: {HELO}Invalid name"),
        ("reject_invalid_helo_hostname", "EHLO a\x01b", "", f"501 5.5.2 <a?b>: {HELO}Invalid name"),
        ("reject_non_fqdn_helo_hostname", "HELO box", "", f"504 5.5.2 <box>: {HELO}need fully-qualified hostname"),
        ("reject_helo_as_us", f"EHLO {OURS}", "", f"554 5.7.1 <{OURS}>: {HELO}that is who we are"),
        ("reject_helo_as_us", "EHLO [127.0.0.1]", "", f"554 5.7.1 <[127.0.0.1]>: {HELO}that is who we are"),
        ("reject_non_fqdn_sender", "EHLO a.b", "a@b",
         "504 5.5.2 <a@b>: Sender address rejected: need fully-qualified address"),
        ("reject_unknown_client_hostname", "EHLO a.b", "",
         "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.1]"),
        ("reject_unknown_reverse_client_hostname", "EHLO a.b", "",
         "450 4.7.1 Client host rejected: cannot find your reverse hostname, [127.0.0.1]"),
    ],
)  # fmt: skip
async def test_each_switch(setting: str, helo: str, sender: str, reply: str) -> None:
    """Each switch refuses what it is named for, in Postfix's words, and the log names it; else nobody minds."""
    async with policed(**{setting: True}) as door:
        assert await said(door, helo, sender) == reply
    assert [line.rpartition(" ")[2] for line in door.lines if "reject: RCPT" in line] == [f"[smtp.{setting}]"]
    assert not any("\x01" in line for line in door.lines)
    async with policed(dnsbl_threshold=9) as door:
        assert await said(door, helo, sender) == OK


async def test_a_name_that_leads_nowhere_is_a_name() -> None:
    """reject_unknown_reverse_client_hostname is content with a PTR; the stricter switch wants it to lead back."""
    zone = Zone({(f"{HERE}.in-addr.arpa", "PTR"): ("elsewhere.example.",)})
    async with policed(zone, reject_unknown_reverse_client_hostname=True) as door:
        assert await said(door) == OK
    async with policed(zone, reject_unknown_client_hostname=True) as door:
        assert (await said(door)).startswith("450 4.7.25 ")
    async with policed(Zone(name="mail.example"), reject_unknown_client_hostname=True) as door:
        assert await said(door) == OK


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("127.0.0.1 OK", OK),
        ("127.0.0.0/8 REJECT not you", "554 5.7.1 <unknown[127.0.0.1]>: Client host rejected: not you"),
        ("127.0.0.1 DEFER", "450 4.7.1 <unknown[127.0.0.1]>: Client host rejected: Access denied"),
        ("127.0.0.1 DUNNO", "504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname"),
        ("192.0.2.1 OK", "504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname"),
    ],
)
async def test_own_list(line: str, reply: str) -> None:
    """What the operator's own list says comes first: OK skips all the rest."""
    async with policed(access=parse(line, "client_access"), reject_non_fqdn_helo_hostname=True) as door:
        assert await said(door, "EHLO box") == reply
    if "not you" in reply:
        assert any(each.endswith("[smtp.client_access=client_access:1]") for each in door.lines)


async def test_friends_are_spared() -> None:
    """limit_exceptions have nothing held against them, unless the own list says otherwise."""
    rules = ClientRules("mx2.example.net", reject_non_fqdn_helo_hostname=True, pregreet="enforce")
    async with running(resolver=Zone(), rules=rules) as door:
        assert await said(door, "EHLO box") == OK
    rules = ClientRules("mx2.example.net", access=parse("127.0.0.1 REJECT", "f"))
    async with running(resolver=Zone(), rules=rules) as door:
        assert (await said(door)).startswith("554 5.7.1 ")


LISTED = {(f"{HERE}.bl.example", "A"): ("127.0.0.2",), (f"{HERE}.key.example", "A"): ("127.0.0.4",)}
BLOCKED = "550 5.7.1 Service unavailable; client [127.0.0.1] blocked using {}"


@pytest.mark.parametrize(
    ("listed", "threshold", "reply"),
    [
        (("bl.example",), 1, BLOCKED.format("bl.example")),
        (("bl.example",), 2, OK),
        (("bl.example*2",), 2, BLOCKED.format("bl.example")),
        (("bl.example", "key.example*3"), 4, BLOCKED.format("public.example")),
        (("bl.example=127.0.0.3",), 1, OK),
        (("bl.example*2", "key.example*-2"), 1, OK),
        (("dead.example*5", "bl.example"), 2, OK),
        (("none.example",), 1, OK),
    ],
)
async def test_lists_in_the_dns(listed: tuple[str, ...], threshold: int, reply: str) -> None:
    """The sum of weights decides; a list that is away or does not know the client has no opinion."""
    zone = Zone({**LISTED, (f"{HERE}.dead.example", "A"): None})
    names = {"key.example": "public.example"} if any("key" in site for site in listed) else {}
    rules = {"sites": sites(listed, names), "dnsbl_threshold": threshold, "dnsbl_action": "enforce"}
    async with policed(zone, **rules) as door:
        assert await said(door) == reply
    assert not any("key.example" in line for line in door.lines)


async def test_listed_and_taken() -> None:
    """With "score" nobody is refused: the log says it once a connection, and whoever looks at the mail is told."""
    async with policed(Zone(dict(LISTED)), sites=sites(["bl.example*2"])) as door:
        talk = await door.connect()
        for _ in range(2):
            await talk.begin() if not door.recorder.messages else await talk.say(
                "MAIL FROM:<>", "RCPT TO:<u@example.jp>", "DATA"
            )
            await talk.say("x\r\n.")
        await talk.close()
    assert [taken.client.dnsbl for taken in door.recorder.messages] == [2, 2]
    assert sum("DNSBL rank 2 for [127.0.0.1]:" in line for line in door.lines) == 1


async def test_lists_are_asked_while_the_client_talks() -> None:
    """Greeting, EHLO and MAIL wait for no list; recipients that came meanwhile are answered in order."""
    zone = Zone(dict(LISTED))
    zone.open.clear()
    async with policed(zone, sites=sites(["bl.example", "none.example"]), dnsbl_action="enforce") as door:
        talk = await door.connect()
        assert await talk.say("EHLO a.b") != ""
        assert await talk.say("MAIL FROM:<a@b.example>") == "250 2.1.0 Ok"
        talk.writer.write(b"RCPT TO:<a@example.jp>\r\nRCPT TO:<b@example.jp>\r\nNOOP\r\n")
        zone.open.set()
        replies = [await talk.reply() for _ in range(3)]
        assert replies == [BLOCKED.format("bl.example")] * 2 + ["250 2.0.0 Ok"]
        assert sorted(zone.asked) == [f"{HERE}.bl.example", f"{HERE}.none.example"]
        await talk.close()


async def test_silent_lists_hold_nobody_up() -> None:
    """After dnsbl_timeout what has not answered has no opinion."""
    zone = Zone()
    zone.open.clear()
    async with policed(zone, sites=sites(["bl.example"]), dnsbl_action="enforce", dnsbl_timeout=0.05) as door:
        assert await said(door) == OK


async def test_pipelining_behind_the_first_greeting() -> None:
    """Who sends on without having read that we pipeline is refused by the switch, and always marked."""
    async with policed(reject_unauth_pipelining=True) as door:
        talk = await door.connect()
        reply = await talk.say("EHLO a.b", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.jp>")
        assert reply == "503 5.5.0 <a.b>: Helo command rejected: Improper use of SMTP command pipelining"
        await talk.close()
        assert await said(door) == OK
    async with policed(reject_non_fqdn_sender=True) as door:
        talk = await door.connect()
        await talk.begin()
        await talk.say("x\r\n.")
        await talk.close()
    assert door.recorder.messages[0].client.marks == ("PIPELINING",)


async def test_who_talks_before_the_greeting(tmp_path: Path) -> None:
    """A bot that does not wait is logged as postscreen does, and refused; one that waits is served and remembered."""
    met = Acquainted(tmp_path / "clients.db", silent())
    async with policed(met=met, pregreet="enforce", pregreet_wait=0.2) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"EHLO \x01bot\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.jp>\r\nQUIT\r\n")
        replies = (await reader.read()).decode().splitlines()
        writer.close()
        assert replies[0].startswith("220-mx2.example.net ESMTP")
        assert replies[1].startswith("220 mx2.example.net ESMTP")
        assert replies[-2:] == ["550 5.5.1 Protocol error", "221 2.0.0 Bye"]
        assert not met.knows("127.0.0.1")
        assert await said(door) == OK
        assert met.knows("127.0.0.1")
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.close()
        early = [line for line in door.lines if line.startswith("PREGREET ")]
        later = [line.partition(" after ")[2] for line in door.lines if line.startswith("COMMAND PIPELINING ")]
    assert later == [r"EHLO: MAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.jp>\r\nQUIT\r\n"]
    assert len(early) == 1
    assert early[0].endswith(r": EHLO \x01bot\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.jp>\r\nQUIT\r\n")
    met.close()
    assert Acquainted(tmp_path / "clients.db", silent()).knows("127.0.0.1")


async def test_talking_early_and_taken(tmp_path: Path) -> None:
    """With "score" a bot's mail is taken, and whoever looks at it knows."""
    met = Acquainted(tmp_path / "clients.db", silent())
    async with policed(met=met, pregreet="score", pregreet_wait=5.0) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"HELO bot\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.jp>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
        assert b"250 2.0.0 Ok: queued" in await reader.read()
        writer.close()
    assert door.recorder.messages[0].client.marks == ("PREGREET", "PIPELINING")
    assert not met.knows("127.0.0.1")


async def test_timeout_while_waiting(tmp_path: Path) -> None:
    """A wait longer than smtp.timeout ends with a whole greeting and 421, and nothing is said after it."""
    met = Acquainted(tmp_path / "clients.db", silent())
    rules = ClientRules(pregreet="enforce", pregreet_wait=0.5)
    async with running(resolver=Zone(), rules=rules, met=met, limit_exceptions=(), timeout=0.1) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        assert [line[:4] for line in (await reader.read()).splitlines()] == [b"220-", b"220 ", b"421 "]
        writer.close()
    assert not any("error" in line for line in door.lines)


async def test_clients_of_a_proxy_do_not_wait(tmp_path: Path) -> None:
    """Whom somebody speaks for by XCLIENT is judged by all but its manners, which nobody sees here."""
    met = Acquainted(tmp_path / "clients.db", silent())
    rules = ClientRules(pregreet="enforce", reject_non_fqdn_helo_hostname=True, reject_unauth_pipelining=True)
    async with running(resolver=Zone(), rules=rules, met=met, xclient_from=("127.0.0.1",)) as door:
        talk = await door.connect()
        await talk.say("EHLO proxy")
        assert (await talk.say("XCLIENT ADDR=192.0.2.1")).startswith("220 ")
        reply = await talk.say("EHLO box", "MAIL FROM:<>", "RCPT TO:<user@example.jp>")
        assert reply == "504 5.5.2 <box>: Helo command rejected: need fully-qualified hostname"
        await talk.close()
    assert not met.knows("192.0.2.1")


@pytest.mark.parametrize("together", [True, False])
async def test_talking_early_behind_a_proxy(together: bool, tmp_path: Path) -> None:
    """Behind a PROXY header a client waits as others do; what comes with the header has come too early."""
    met = Acquainted(tmp_path / "clients.db", silent())
    rules = ClientRules(pregreet="enforce", pregreet_wait=0.1)
    async with running(resolver=Zone(), rules=rules, met=met, proxy_protocol_from=("127.0.0.1",)) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 25\r\n"
        talk = b"HELO a.b\r\nMAIL FROM:<>\r\nRCPT TO:<user@example.jp>\r\nQUIT\r\n"
        writer.write(header + talk if together else header)
        if not together:
            assert (await reader.readline()).startswith(b"220-")
            assert (await reader.readline()).startswith(b"220 ")
            writer.write(talk)
        replies = [line[:9] for line in (await reader.read()).splitlines()]
        assert replies[-2] == (b"550 5.5.1" if together else b"250 2.1.5")
        assert (replies[0][:4], replies[1][:4]) == ((b"220-", b"220 ") if together else (b"250 ", b"250 "))
        writer.close()


@pytest.mark.parametrize("ending", ["hang up", "half", "stop"])
async def test_ends_while_waiting(ending: str, tmp_path: Path) -> None:
    """A client that goes while it waits leaves nothing behind, and a shutdown waits for nobody's greeting."""
    met = Acquainted(tmp_path / "clients.db", silent())
    async with policed(met=met, pregreet="enforce", pregreet_wait=60.0) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        assert (await reader.readline()).startswith(b"220-")
        if ending == "half":
            writer.write_eof()
            assert await reader.read() == b""
        if ending == "stop":
            await door.door.stop(2)
            replies = (await reader.read()).splitlines()
            assert [reply[:4] for reply in replies] == [b"220 ", b"421 "]
        writer.close()
        await door.gone()


def test_no_rules_no_policy() -> None:
    """With everything off there is nothing to ask: no visit, no cost."""
    assert not ClientRules("mx2.example.net").on
    assert ClientRules("mx2.example.net", reject_helo_as_us=True).on


async def test_a_visit_with_everything_known_waits_for_nothing() -> None:
    """What the resolver remembers is judged at once."""

    class Remembering(Zone):
        def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None:
            return Answer(self.records.get((name, rdtype)) or ())

    clients = Clients(
        ClientRules(sites=sites(["bl.example"]), dnsbl_action="enforce"), Remembering(dict(LISTED)), silent()
    )
    visit = clients.visit("127.0.0.1", trusted=False)
    assert visit is not None
    assert not visit.asks
    objection = visit.refusal(Client("127.0.0.1", 1), "")
    assert objection is not None
    assert str(objection.reply) == BLOCKED.format("bl.example")


async def test_a_list_that_lists_everybody() -> None:
    """It refuses nobody, and the log says why; asked with the client's own question, once its answer is kept."""
    log: list[bytes] = []
    every = {(name, "A"): ("127.0.0.2",) for name in ("7.2.0.192.dead.example", "1.0.0.127.dead.example")}
    zone = Zone({**every, ("7.2.0.192.bl.example", "A"): ("127.0.0.2",)})
    rules = ClientRules(sites=sites(["dead.example*3", "bl.example"]), dnsbl_action="enforce")
    visit = Clients(rules, zone, Journal(sink=log.append, stamped=False)).visit("192.0.2.7", trusted=False)
    assert visit is not None
    await visit.ask()
    assert (visit.listing.score, [site.zone for site in visit.listing.hits]) == (1, ["bl.example"])
    assert b"warning: dead.example lists 127.0.0.1" in b"".join(log)
