"""relay/returns.py: who is told that mail failed, and what becomes of mail whose sender may not be told."""

from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.queue.entry import State
from backupmx.relay import returns
from backupmx.relay.returns import NULL_SENDER, UNVOUCHED, Returns
from backupmx.relay.settings import RelaySettings
from tests.net.peers import Peer
from tests.relay.samples import claim, outcome
from tests.relay.scene import scene

SETTINGS = RelaySettings("mx2.example.net", bounce_rate=3)
NO_SUCH_USER = {"RCPT": "550 5.1.1 no such user"}


@pytest.mark.parametrize(
    ("sender", "vouched", "bounce_to", "why"),
    [
        ("a@client.example", True, "vouched", ""),
        ("a@client.example", False, "vouched", UNVOUCHED),
        ("a@client.example", False, "all", ""),
        ("", False, "vouched", NULL_SENDER),
        ("", False, "all", NULL_SENDER),
        ("postmaster", True, "all", NULL_SENDER),
    ],
)
def test_who_is_told(sender: str, vouched: bool, bounce_to: str, why: str) -> None:
    """Only who SPF or DKIM stands for, unless the operator wants otherwise; a null sender never."""
    assert returns.silence(sender, vouched, bounce_to) == why


def test_rate() -> None:
    """No hour has more notices to one sender domain than bounce_rate; another domain has its own."""
    told, mail, other = Returns(), claim(), claim(sender="b@other.example")
    times = [0.0, 1000.0, 2000.0, 3000.0, 3599.0, 3600.0, 3700.0, 4600.0]
    assert [told.silence(mail, SETTINGS, now) == "" for now in times] == [
        True, True, True, False, False, True, False, True]  # fmt: skip
    assert told.silence(other, SETTINGS, 4600.0) == ""
    assert told.silence(mail, SETTINGS, 4601.0) == "3 notices within an hour went to client.example"


def test_no_rate() -> None:
    """bounce_rate = 0: no limit."""
    told = Returns()
    assert {told.silence(claim(), replace(SETTINGS, bounce_rate=0), 1.0) for _ in range(1000)} == {""}


def test_case_of_a_domain() -> None:
    """A domain is the same in any case."""
    told, settings = Returns(), replace(SETTINGS, bounce_rate=1)
    assert told.silence(claim(sender="a@Client.Example"), settings, 1.0) == ""
    assert told.silence(claim(sender="b@client.example"), settings, 2.0) != ""


def test_memory() -> None:
    """What is remembered is what was sent within the hour, however many domains there were before."""
    told = Returns()
    for n in range(5000):
        told.silence(claim(sender=f"a@d{n}.example"), SETTINGS, n * 10.0)
    assert len(told._told) == 360


def test_kept() -> None:
    """Who failed and would have been told is kept with the reason; nobody else is."""
    outcomes = (
        outcome("a@x", State.BOUNCED, "host p1 said: 550 no"), outcome("b@x", State.EXPIRED, "busy"),
        outcome("c@x", State.DELIVERED), outcome("d@x", State.BOUNCED, "asked for silence"),
    )  # fmt: skip
    a, b, c, d = returns.kept(outcomes, {"a@x", "b@x", "c@x"}, UNVOUCHED, 5.0)
    assert (a.state, a.reason, a.next_attempt) == (
        State.UNRETURNED, "not returned, nobody vouched for the sender: host p1 said: 550 no", 5.0)  # fmt: skip
    assert (b.state, b.reason) == (
        State.UNRETURNED, "not returned, nobody vouched for the sender: too old: busy")  # fmt: skip
    assert (c, d) == outcomes[2:]


async def test_forged_sender(tmp_path: Path) -> None:
    """A sender nobody vouched for hears nothing: the mail is in quarantine, and the account balances."""
    async with Peer(NO_SUCH_USER) as primary, Peer() as victim:
        map = f"example.jp smtp:[127.0.0.1]:{primary.port}\nclient.example smtp:[127.0.0.1]:{victim.port}\n"
        async with scene(tmp_path, map, on_refusal="bounce") as s:
            id = await s.put("u@example.jp", vouched=False)
            await s.settled()
            kept = (await s.quarantined())["u@example.jp"]
            assert (kept.state, await s.states()) == (State.UNRETURNED, {})
            assert kept.reason.startswith(
                "not returned, nobody vouched for the sender: host 127.0.0.1[127.0.0.1] said:"
            )
            assert s.events(id, "status=unreturned") == 1
            (sheet,) = await s.queue.account()
            assert (sheet.waiting, sheet.missing) == ({"unreturned": 1}, 0)
    assert victim.taken == []


async def test_everybody_is_told(tmp_path: Path) -> None:
    """bounce_to = "all": the operator takes the risk."""
    async with Peer(NO_SUCH_USER) as primary, Peer() as sender:
        map = f"example.jp smtp:[127.0.0.1]:{primary.port}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map, on_refusal="bounce", bounce_to="all") as s:
            await s.put("u@example.jp", vouched=False)
            await s.settled()
            assert await s.quarantined() == {}
    assert len(sender.taken) == 1


async def test_flood(tmp_path: Path) -> None:
    """Of thirty bounces to one domain twenty are told, ten are kept; a reload does not begin a new hour."""
    async with Peer(NO_SUCH_USER) as primary, Peer() as sender:
        map = f"example.jp smtp:[127.0.0.1]:{primary.port}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map, on_refusal="bounce") as s:
            for n in range(25):
                await s.put(f"u{n}@example.jp", sender=f"s{n}@client.example")
            await s.settled()
            await s.relay.reload(s.routes)
            for n in range(25, 30):
                await s.put(f"u{n}@example.jp")
            await s.settled()
            kept = await s.quarantined()
            assert len(kept) == 10
            assert all("20 notices within an hour went to client.example" in r.reason for r in kept.values())
            assert [sheet.missing for sheet in await s.queue.account()] == [0, 0]
    assert len(sender.taken) == 20


async def test_our_own_mail(tmp_path: Path) -> None:
    """A notice that the primary refuses ends; one that cannot be brought ends after its lifetime."""
    async with Peer(NO_SUCH_USER) as primary, Peer({"RCPT": "450 4.2.1 busy"}) as busy:
        map = f"example.jp smtp:[127.0.0.1]:{primary.port}\nexample.net smtp:[127.0.0.1]:{busy.port}\n"
        async with scene(tmp_path, map) as s:
            await s.put("u@example.jp", sender="", client=None)
            await s.put("u@example.net", sender="", client=None, age=5 * 86400.0)
            await s.settled()
            assert (await s.states(), await s.quarantined()) == ({}, {})
            assert (s.events("status=bounced"), s.events("status=expired")) == (1, 1)
            sheets = {sheet.domain: sheet for sheet in await s.queue.account()}
            assert (sheets["example.jp"].own, sheets["example.jp"].ended) == (True, {"bounced": 1})
            assert (sheets["example.net"].ended, sheets["example.net"].missing) == ({"expired": 1}, 0)


async def test_relayed_is_no_way_to_write_to_anybody(tmp_path: Path) -> None:
    """NOTIFY=SUCCESS in the name of another: the mail is delivered, and he is not told."""
    async with Peer() as primary, Peer() as victim:
        map = f"example.jp smtp:[127.0.0.1]:{primary.port}\nclient.example smtp:[127.0.0.1]:{victim.port}\n"
        async with scene(tmp_path, map) as s:
            await s.put("u@example.jp", notify="SUCCESS", vouched=False)
            await s.settled()
            assert (await s.states(), await s.quarantined()) == ({}, {})
    assert (len(primary.taken), victim.taken) == (1, [])


async def test_too_old_and_unproven(tmp_path: Path) -> None:
    """Mail that waited for weeks and may not be returned is kept from now on, not from its arrival on."""
    async with (
        Peer({"RCPT": "450 4.2.1 busy"}) as primary,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{primary.port}") as s,
    ):
        await s.put("u@example.jp", vouched=False, age=30 * 86400.0)
        await s.settled()
        assert "sender: too old: host" in (await s.quarantined())["u@example.jp"].reason
        assert await s.queue.overdue(s.clock() - 86400.0, 1 << 30) == []
        assert len(await s.queue.overdue(s.clock() + 1.0, 1 << 30)) == 1
