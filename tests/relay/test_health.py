"""relay/health.py and the probes of runner and feed: what is known of primaries, and how it is found out."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from backupmx.queue.entry import HopState
from backupmx.route.primaries import Offer
from tests.net.peers import CLOSE, STALL, Peer
from tests.relay.scene import Scene, scene
from tests.relay.test_runner import down_peer, until


async def state_of(s: Scene, domain: str = "example.jp") -> HopState:
    """As every other process reads it."""
    return (await s.queue.hop_states())[s.routes.next_hop(f"u@{domain}")]


async def reaches(s: Scene, met: Callable[[HopState], bool]) -> HopState:
    async with asyncio.timeout(10):
        while True:
            states = await s.queue.hop_states()
            state = states.get(s.routes.next_hop("u@example.jp"))
            if state is not None and met(state):
                return state
            await asyncio.sleep(0.02)


async def test_known_without_mail(tmp_path: Path) -> None:
    """A primary that no mail waits for is looked at all the same, once in an interval, with EHLO and QUIT."""
    async with (
        Peer() as peer,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0, keep_idle=0.1) as s,
    ):
        state = await reaches(s, lambda state: state.up is True)
        assert (state.addresses, state.error) == (("127.0.0.1",), "")
        await until(lambda: peer.said == ["EHLO mx2.example.net", "QUIT"])
        s.pass_time(61)
        await until(lambda: len(peer.said) == 4)
        assert (peer.connections, peer.taken) == (2, [])


async def test_down_without_mail(tmp_path: Path) -> None:
    """A primary that goes away is known to be down within an interval, though nobody sends anything."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0) as s:
        await reaches(s, lambda state: state.up is True)
        await peer.stop()
        await s.relay._feeds[s.routes.next_hop("u@example.jp")].connections.close()
        s.pass_time(61)
        state = await reaches(s, lambda state: state.up is False)
        assert "Connection refused" in state.error
        await peer.start()


async def test_no_probe_without_mail(tmp_path: Path) -> None:
    """With probe_interval = 0 a primary hears of us only when there is mail for it."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=0.0) as s:
        s.pass_time(600)
        await s.settled()
        await asyncio.sleep(0.1)
        assert peer.connections == 0
        await s.put("u@example.jp")
        await s.settled()
    assert len(peer.taken) == 1


async def test_mail_goes_before_it_is_up(tmp_path: Path) -> None:
    """Mail goes out with the first answer; `up` is said after three, five seconds apart."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0) as s:
        await s.put("u@example.jp")
        await reaches(s, lambda state: state.up is False)
        async with peer:
            s.pass_time(31)
            await until(lambda: len(peer.taken) == 1)
            assert (await state_of(s)).up is False
            for successes in (2, 3):
                s.pass_time(6)
                await reaches(s, lambda state, n=successes: state.up is True or state.successes == n)  # type: ignore[misc]
            state = await state_of(s)
            assert (state.up, state.error) == (True, "")
            assert (s.journal.counters["hop_answers"], s.journal.counters["hop_up"]) == (1, 1)


async def test_flapping(tmp_path: Path) -> None:
    """A primary that boots in a loop: what it takes is delivered while it lives, and nobody is told that it is up."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0, keep_idle=0.05) as s:
        for round in range(1, 5):
            await s.put("u@example.jp")
            await reaches(s, lambda state: state.up is False and not state.successes)
            await peer.start()
            s.pass_time(400)
            await until(lambda n=round: len(peer.taken) == n)  # type: ignore[misc]
            await reaches(s, lambda state: state.successes > 0)
            await peer.stop()
            await s.settled()
            s.pass_time(6)
        await reaches(s, lambda state: state.up is False and not state.successes)
        assert (s.journal.counters["hop_answers"], s.journal.counters["hop_up"]) == (4, 0)


async def test_it_called_us(tmp_path: Path) -> None:
    """A worker whom the primary calls has the relay look at once, not when the probe is due."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await s.put("u@example.jp")
        await s.settled()
        async with peer:
            await s.queue.look_again([s.routes.next_hop("u@example.jp")])
            s.relay.wake()
            await until(lambda: len(peer.taken) == 1)


async def test_what_trouble_put_off_goes_too(tmp_path: Path) -> None:
    """Mail that a dying primary put off for its hour goes with the first answer after the outage."""
    async with (
        Peer({"RCPT": "451 4.3.0 going down"}) as peer,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s,
    ):
        await s.put("u@example.jp", age=86400.0)
        await s.settled()
        assert next(iter((await s.recipients()).values())).next_attempt > s.clock() + 3000
        await peer.stop()
        await s.put("v@example.jp")
        await reaches(s, lambda state: state.up is False)
        peer.answers = {}
        await peer.start()
        s.pass_time(31)
        await s.settled()
        assert await s.states() == {}


async def test_slow_start(tmp_path: Path) -> None:
    """A primary that has just come back sees one or two messages first, and more with each that it takes."""
    most: list[int] = []

    def taken(line: str) -> str:
        most.append(peer.open)
        return "250 2.0.0 ok"

    peer = await down_peer()
    peer.answers = {"DOT": taken}
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(100)))
        await s.settled()
        async with peer:
            s.pass_time(31)
            await s.settled()
            assert (len(peer.taken), await s.states()) == (100, {})
    # The probe's own connection and two messages.
    assert max(most[:2]) <= 3


async def test_full_disk_is_not_run_over(tmp_path: Path) -> None:
    """A primary that comes back with a full disk says so to a handful, not to all that waits."""
    peer = await down_peer()
    peer.answers = {"MAIL": "452 4.3.1 Insufficient system storage"}
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(*(s.put(f"u{n}@example.jp") for n in range(100)))
        await s.settled()
        async with peer:
            s.pass_time(31)
            await until(lambda: "MAIL" in " ".join(peer.said))
            await asyncio.sleep(0.5)
            tried = sum(r.attempts for r in (await s.recipients()).values())
            assert 2 <= tried <= 5
            # The disk has room again: one that goes well brings the others.
            peer.answers = {}
            await until(lambda: len(peer.taken) >= 95)


async def test_hundred_dead_hops(tmp_path: Path) -> None:
    """A hundred primaries that are away cost one probe each; the mail of a good one passes beside them."""
    dead = (await down_peer()).port
    async with Peer() as good:
        map = "".join(f"dead{n}.jp smtp:[127.0.1.{n}]:{dead}\n" for n in range(1, 101))
        map += f"good.jp smtp:[127.0.0.1]:{good.port}\n"
        async with scene(tmp_path, map, probe_min=1000.0, probe_max=1000.0) as s:
            await asyncio.gather(*(s.put(f"u{m}@dead{n}.jp") for n in range(1, 101) for m in range(3)))
            await asyncio.gather(*(s.put("u@good.jp") for _ in range(200)))
            await s.settled()
            assert len(good.taken) == 200
            attempts = [r.attempts for r in (await s.recipients()).values()]
            assert (len(attempts), sum(attempts), s.journal.counters["hop_down"]) == (300, 100, 100)


async def test_hundred_slow_hops(tmp_path: Path) -> None:
    """A hundred primaries that hang in the greeting hold no mail but their own."""
    async with Peer({"GREETING": STALL}) as slow, Peer() as good:
        # One server in a hundred maps' eyes: every hop has its own list of places.
        map = "".join(f"slow{n}.jp smtp:[127.0.0.1]:{slow.port}, [127.0.1.{n}]:9\n" for n in range(1, 101))
        async with scene(tmp_path, f"{map}good.jp smtp:[127.0.0.1]:{good.port}\n", probe_interval=60.0) as s:
            await asyncio.gather(*(s.put(f"u@slow{n}.jp") for n in range(1, 101)))
            await until(lambda: slow.open >= 100)
            await asyncio.gather(*(s.put("u@good.jp") for _ in range(200)))
            await until(lambda: len(good.taken) == 200)


async def test_probe_of_a_name_that_is_gone(tmp_path: Path) -> None:
    """When DNS denies a next hop that was down, mail asks for it: it is put off with that reason, not left to rest."""
    peer = await down_peer()
    records = {("mx.jp", "MX"): ("10 p.mx.jp",), ("p.mx.jp", "A"): ("127.0.0.1",)}
    async with scene(tmp_path, f"example.jp smtp:mx.jp:{peer.port}", records=records) as s:
        await s.put("u@example.jp")
        await s.settled()
        records.clear()
        s.pass_time(31)
        await until(lambda: s.events("no such domain mx.jp") >= 1)
        await s.settled()
        assert (await state_of(s)).up is None


@pytest.mark.parametrize("at", ["GREETING", "EHLO"])
async def test_probe_meets(tmp_path: Path, at: str) -> None:
    """A primary that drops us before it has said what it can is down."""
    async with (
        Peer({at: CLOSE}) as peer,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0) as s,
    ):
        state = await reaches(s, lambda state: state.up is False)
        assert "lost connection" in state.error


async def test_gently_after_a_restart_too(tmp_path: Path) -> None:
    """A relay that begins while a primary is coming back goes on gently."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        hop = s.routes.next_hop("u@example.jp")
        await s.queue.set_hop_state(HopState(hop, False, s.clock() - 60, "Connection refused", s.clock() + 5, 3, 1))
        await s.relay.health.refresh()
        await s.put("u@example.jp")
        await s.settled()
        assert len(peer.taken) == 1
        assert s.relay._feeds[hop].ramp.slow


async def test_what_it_offers(tmp_path: Path) -> None:
    """What a primary's EHLO says of sizes and UTF-8 is there for every process, and changes when it does."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", probe_interval=60.0) as s:
        state = await reaches(s, lambda state: bool(state.offers))
        hop, health = s.routes.next_hop("u@example.jp"), s.relay.health
        assert [offer.address for offer in state.offers] == ["127.0.0.1"]
        for size, limit in (("1000", 1000), ("", 0), ("many", 0), ("9" * 99, 0), ("\u0663", 0)):
            await health.heard(hop, "127.0.0.1", {"SIZE": size, "SMTPUTF8": ""})
            assert (await state_of(s)).offers == (Offer("127.0.0.1", limit, smtputf8=True),)
        await health.heard(hop, "192.0.2.9", {})  # no longer one of its hosts
        assert (await state_of(s)).offers == (Offer("127.0.0.1"),)
        await health.heard(hop, "127.0.0.1", {})
        assert not (await state_of(s)).offers[0].smtputf8
