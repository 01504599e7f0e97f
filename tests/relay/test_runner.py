"""relay/runner.py, feed.py, health.py, connections.py: what is due goes out, and what is down costs little."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.queue.entry import NewEntry, NewRecipient, QueueTrouble, State, new_id
from backupmx.relay import runner
from backupmx.route import transport_map
from backupmx.route.routes import Routes
from tests.net.peers import CLOSE, STALL, Peer
from tests.relay.scene import scene


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what a peer sees."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.02)


async def down_peer() -> Peer:
    """A port that nobody listens on, until it is started."""
    peer = Peer()
    async with peer:
        pass
    return peer


async def test_many_messages(tmp_path: Path) -> None:
    """A backlog goes out over a few kept connections, each message once."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        ids = await asyncio.gather(*(s.put("u@example.jp") for _ in range(300)))
        await s.settled()
        assert await s.states() == {}
    assert sorted(t.content[6:23].decode() for t in peer.taken) == sorted(ids)
    assert 1 < peer.connections <= 20


async def test_many_clients(tmp_path: Path) -> None:
    """A primary that wants XCLIENT gets a connection for each client, and every message as its own client's."""
    extensions = ("PIPELINING", "XCLIENT NAME ADDR PORT")
    async with Peer(extensions=extensions) as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(
            *(
                s.put(f"u{n % 7}@example.jp", client=Client(f"192.0.2.{n % 7}", 1) if n % 7 else None)
                for n in range(100)
            )
        )
        await s.settled()
        assert await s.states() == {}
    assert len(peer.taken) == 100
    shown: dict[int, set[str]] = {}
    for taken in peer.taken:
        shown.setdefault(taken.connection, set()).add(taken.rcpts[0])
    assert all(len(who - {"RCPT TO:<u0@example.jp>"}) <= 1 for who in shown.values())


async def test_handfuls_bounded_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue hands out few large messages at a time; the rest follows at once, not half a minute later."""
    monkeypatch.setattr("backupmx.queue.stock._AT_ONCE", 1)
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(50)))
        await until(lambda: len(peer.taken) == 50)
        await s.settled()
        assert await s.states() == {}


async def test_one_probe_for_a_dead_hop(tmp_path: Path) -> None:
    """A dead next hop costs one probe, not a try a message; the others wait untried."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        for n in range(20):
            await s.put(f"u{n}@example.jp")
        await s.settled()
        attempts = [r.attempts for r in (await s.recipients()).values()]
        assert (len(attempts), sum(attempts)) == (20, 1)
        assert s.events("is down, next probe in 30s", "Connection refused") == 1
        s.pass_time(31)
        await s.settled()
        assert sum(r.attempts for r in (await s.recipients()).values()) == 1
        assert s.events("is down, next probe in 60s") == 1


async def test_up_again(tmp_path: Path) -> None:
    """The first probe that finds it up lets everything go, also what earlier probes deferred."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        for _ in range(20):
            await s.put("u@example.jp")
        await s.settled()
        async with peer:
            s.pass_time(31)
            await s.settled()
            assert await s.states() == {}
        assert len(peer.taken) == 20
        assert s.events(" answers again after 31s: its mail goes out") == 1


async def test_down_while_in_hand(tmp_path: Path) -> None:
    """A next hop that was up and dies: who finds out is deferred, the others are given back untried."""
    peer = Peer()
    await peer.__aenter__()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await s.put("first@example.jp")
        await s.settled()
        await peer.stop()
        await asyncio.gather(*(s.put(f"u{n}@example.jp") for n in range(30)))
        await s.settled()
        attempts = [r.attempts for r in (await s.recipients()).values()]
        assert (len(attempts), sum(attempts)) == (30, 1)


async def test_greeting_421_is_down(tmp_path: Path) -> None:
    """A primary that greets with 421 is down too; its words are the reason."""
    peer = Peer({"GREETING": "421 4.3.2 maintenance"})
    async with peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await s.put("u@example.jp")
        await s.put("v@example.jp")
        await s.settled()
        state = (await s.queue.hop_states())[s.routes.next_hop("u@example.jp")]
        assert (state.up, "refused to talk to me: 421 4.3.2 maintenance" in state.error) == (False, True)
    assert peer.connections == 1


async def test_slow_hop_holds_no_other(tmp_path: Path) -> None:
    """A primary that hangs in DATA holds its own mail and nobody else's."""
    async with Peer({"DATA": STALL}) as slow, Peer() as quick:
        map = f"slow.jp smtp:[127.0.0.1]:{slow.port}\nquick.jp smtp:[127.0.0.1]:{quick.port}\n"
        async with scene(tmp_path, map) as s:
            for _ in range(50):
                await s.put("u@slow.jp")
            for _ in range(50):
                await s.put("u@quick.jp")
            await until(lambda: len(quick.taken) == 50)
            assert slow.taken == []


async def test_flush_forgets_that_it_is_down(tmp_path: Path) -> None:
    """A flush tries a next hop that rests, at once."""
    peer = await down_peer()
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        for _ in range(3):
            await s.put("u@example.jp")
        await s.settled()
        async with peer:
            assert await s.queue.flush([], s.clock()) == 3
            s.relay.wake()
            await until(lambda: len(peer.taken) == 3)
            await s.settled()
            assert await s.states() == {}


async def test_expires_while_it_rests(tmp_path: Path) -> None:
    """Mail does not outlive its lifetime because its primary is down: it goes back, with the hop's last error."""
    peer = await down_peer()
    async with Peer() as sender:
        map = f"example.jp smtp:[127.0.0.1]:{peer.port}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map, probe_min=100_000.0, probe_max=100_000.0, lifetime=3600.0) as s:
            for n in range(3):
                await s.put(f"u{n}@example.jp")
            await s.settled()
            s.pass_time(3700)
            await until(lambda: len(sender.taken) == 2)
            await s.settled()
            assert s.events("status=expired (connect to", "Connection refused") == 2
            assert s.journal.counters["hop_down"] == 1


async def test_connection_limit_of_the_primary(tmp_path: Path) -> None:
    """A primary that takes two connections and says 421 to more is not down: the mail goes over the two."""

    class Two(Peer):
        async def _serve(self, reader: Any, writer: Any) -> None:
            if self.open >= 2:
                writer.write(b"421 4.7.0 too many connections\r\n")
                await writer.drain()
                writer.close()
                return
            await super()._serve(reader, writer)

    async with Two() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(200)))
        await s.settled()
        assert (await s.states(), s.journal.counters["hop_down"]) == ({}, 0)
    assert len(peer.taken) == 200


async def test_not_more_than_the_window(tmp_path: Path) -> None:
    """No more connections to one next hop than most_connections, and none kept for long."""
    async with (
        Peer() as peer,
        scene(
            tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", first_connections=2, most_connections=3, keep_idle=0.1
        ) as s,
    ):
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(200)))
        await s.settled()
        await until(lambda: not peer.open)
    assert (len(peer.taken), peer.most_open <= 3, peer.said.count("QUIT")) == (200, True, peer.connections)


async def test_max_rate(tmp_path: Path) -> None:
    """max_rate spaces the beginnings of attempts."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", max_rate=50.0) as s:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(15)))
        await s.settled()
        assert asyncio.get_running_loop().time() - began >= 14 / 50
    assert len(peer.taken) == 15


async def test_stop_gives_back(tmp_path: Path) -> None:
    """Told to stop, the relay gives back what it did not finish: due at once, no try counted."""
    async with Peer({"DATA": STALL}) as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        for n in range(5):
            await s.put(f"u{n}@example.jp")
        await peer.heard("DATA")
        await s.relay.stop(0.1)
        waiting = await s.recipients()
        assert [(r.state, r.attempts, r.leased) for r in waiting.values()] == [(State.QUEUED, 0, False)] * 5


async def test_stop_waits_for_attempts(tmp_path: Path) -> None:
    """Told to stop, the relay lets attempts end first: what the primary took is settled."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await asyncio.gather(*(s.put("u@example.jp") for _ in range(50)))
        await peer.heard("DATA")
        await s.relay.stop(10)
        left = len(await s.queue.waiting())
    assert left + len(peer.taken) == 50


async def test_new_map(tmp_path: Path) -> None:
    """A new map moves mail that waits for the old next hop."""
    old = await down_peer()
    async with Peer() as new, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{old.port}") as s:
        await s.put("u@example.jp")
        await s.settled()
        await s.relay.reload(Routes(transport_map.parse(f"example.jp smtp:[127.0.0.1]:{new.port}")))
        s.pass_time(31)
        await s.settled()
        assert await s.states() == {}
    assert len(new.taken) == 1


async def test_known_to_be_down(tmp_path: Path) -> None:
    """What one relay learned of a next hop the next one knows: no probe before its time."""
    peer = await down_peer()
    for _ in range(2):
        async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
            await s.put("u@example.jp")
            await s.settled()
            waiting = await s.queue.waiting()
    assert sum(r.attempts for entry in waiting for r in entry.recipients) == 1


async def test_lease_runs_out(tmp_path: Path) -> None:
    """An attempt that takes longer than its lease renews it: the message is not begun twice."""
    peer = Peer({"DATA": ["354 go on", STALL]})
    async with peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", lease=60.0) as s:
        for _ in range(2):
            await s.put("u@example.jp")
            await peer.heard("DATA")
            await until(lambda: len(peer.taken) == 1)
        for _ in range(3):
            s.pass_time(61)
            await asyncio.sleep(0.1)
        (recipient,) = (await s.recipients()).values()
        assert (recipient.leased, recipient.attempts) == (True, 0)
    assert peer.said.count("DATA") == 2


async def test_broken_connections_are_a_dead_hop(tmp_path: Path) -> None:
    """A primary that drops every connection is taken for dead after a handful, not after every message."""
    async with Peer({"MAIL": "(close)"}) as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        for n in range(60):
            await s.put(f"u{n}@example.jp")
        await s.settled()
        tried = sum(r.attempts for r in (await s.recipients()).values())
        assert (tried < 30, s.journal.counters["hop_down"]) == (True, 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    """Two primaries that break at random, at any command: in the end every message was taken by one of them."""
    chance = random.Random(seed)

    def moody(good: str) -> Callable[[str], str]:
        bad = ["421 4.3.2 bye", "451 4.3.0 later", "450 4.2.0 not now", CLOSE, "nonsense"]
        return lambda line: chance.choice(bad) if chance.random() < 0.15 else good

    answers: dict[str, Any] = {
        "GREETING": moody("220 hi"), "EHLO": moody("250 peer.example"), "MAIL": moody("250 ok"),
        "RCPT": moody("250 ok"), "DATA": moody("354 go on"), "DOT": moody("250 2.0.0 ok"),
    }  # fmt: skip
    async with (
        Peer(answers) as one,
        Peer(answers, sloppy=True) as two,
        scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{one.port}, [127.0.0.1]:{two.port}") as s,
    ):
        ids = [await s.put("u@example.jp", "v@example.jp") for _ in range(60)]
        for _ in range(60):
            await s.settled()
            if not await s.queue.waiting():
                break
            s.pass_time(301)
        assert await s.states() == {}
    taken = {(t.content[6:23].decode(), rcpt[9:10]) for t in one.taken + two.taken for rcpt in t.rcpts}
    assert taken == {(id, who) for id in ids for who in "uv"}


async def test_put_by_a_worker_that_missed_the_reload(tmp_path: Path) -> None:
    """Mail that a worker put by the old map after the relay read the new one goes by the new one."""
    async with Peer() as old, Peer() as new, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{old.port}") as s:
        before = s.routes
        await s.relay.reload(Routes(transport_map.parse(f"example.jp smtp:[127.0.0.1]:{new.port}")))
        recipients = (NewRecipient("u@example.jp", before.next_hop("u@example.jp")),)
        envelope = Envelope("a@client.example", (Recipient("u@example.jp"),))
        message = Message((b"X-Id: late",), (b"\r\nhello\r\n",))
        await s.queue.put(
            NewEntry(new_id(s.clock()), s.clock(), envelope, recipients, message, routes=before.signature)
        )
        s.relay.wake()
        await s.settled()
        assert (len(old.taken), len(new.taken), await s.states()) == (0, 1, {})


async def test_paused(tmp_path: Path) -> None:
    """Mail of a paused domain is not relayed, that of others is; resumed, it goes."""
    map = "example.jp smtp:[127.0.0.1]:{0}\nexample.net smtp:[127.0.0.1]:{0}\n"
    async with Peer() as peer, scene(tmp_path, map.format(peer.port)) as s:
        await s.queue.pause("example.jp", s.clock())
        await s.put("a@example.jp")
        await s.put("b@example.net")
        await s.settled()
        assert await s.states() == {"a@example.jp": "queued"}
        await s.queue.resume("example.jp")
        s.relay.wake()
        await s.settled()
        assert (len(peer.taken), await s.states()) == (2, {})


async def test_a_new_map_and_a_long_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a long queue is asked anew for its next hops the relay works on: primaries get mail, next hops that the
    map does not name any more get none, a second new map and a stop wait for nothing, and trouble is tried again."""
    monkeypatch.setattr(runner, "_AT_ONCE", 0.01)
    monkeypatch.setattr(runner, "_AFTER_TROUBLE", 0.01)
    async with Peer() as old, Peer() as new:
        both = f"example.jp smtp:[127.0.0.1]:{new.port}\nexample.net smtp:[127.0.0.1]:{old.port}"
        async with scene(tmp_path, both) as s:
            really, asked = s.queue.reroute, list[str]()

            async def slowly(route: Callable[[str], str], signature: str) -> int:
                asked.append(signature)
                if len(asked) == 1:
                    await asyncio.Event().wait()
                if len(asked) == 2:
                    raise QueueTrouble("the disk")
                return await really(route, signature)

            monkeypatch.setattr(s.queue, "reroute", slowly)
            moved = Routes(
                transport_map.parse(f"example.jp smtp:[127.0.0.1]:{new.port}\nexample.net retry:4.3.2 later")
            )
            await s.relay.reload(moved)
            await s.put("u@example.jp")
            await s.put("u@example.net")  # by the map of before: its worker has not read the new one yet
            await until(lambda: len(new.taken) == 1)
            assert (len(asked), old.taken) == (1, [])
            await s.relay.reload(moved)
            await until(lambda: len(asked) == 3)
            await s.settled()
            assert (await s.states(), old.taken) == ({"u@example.net": "deferred"}, [])
            assert s.events("waiting mail is not routed anew yet: the disk") == 1


async def test_a_stop_amid_a_new_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that is stopped while it asks for next hops ends at once; the next one begins anew."""
    monkeypatch.setattr(runner, "_AT_ONCE", 0.01)
    async with Peer() as peer:
        map = f"example.jp smtp:[127.0.0.1]:{peer.port}"
        async with scene(tmp_path, f"{map}\nexample.net smtp:[127.0.0.1]:1") as s:
            pages = asyncio.Event()

            async def for_ever(*page: object) -> int:
                await pages.wait()
                return 0

            monkeypatch.setattr(s.queue, "_move", for_ever)
            await s.put("u@example.net")
            await s.relay.reload(Routes(transport_map.parse(f"{map}\nexample.net smtp:[127.0.0.1]:{peer.port}")))
            assert not peer.taken
        async with scene(tmp_path, f"{map}\nexample.net smtp:[127.0.0.1]:{peer.port}") as s:
            s.pass_time(600)  # it may have been tried by the old map
            await until(lambda: len(peer.taken) == 1)
