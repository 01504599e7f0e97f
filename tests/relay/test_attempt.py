"""relay/attempt.py and deliver.py: from a claim to its outcomes, through the real queue to peers that misbehave."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from backupmx.queue.entry import State
from backupmx.relay.bounce import Returned, return_to_sender
from backupmx.relay.returns import UNVOUCHED
from backupmx.relay.settings import RelaySettings
from backupmx.route import tls_policy
from tests.net.peers import CLOSE, STALL, Peer
from tests.relay.scene import Scene, scene


def hop(*peers: Peer) -> str:
    return "example.jp smtp:" + ", ".join(f"[127.0.0.1]:{peer.port}" for peer in peers)


async def test_delivered(tmp_path: Path) -> None:
    """A message for two people of one domain goes in one transaction and leaves the queue."""
    async with Peer() as peer, scene(tmp_path, hop(peer)) as s:
        id = await s.put("u@example.jp", "v@example.jp", body=b".dot\r\n")
        await s.settled()
        assert await s.states() == {}
        assert (
            s.events(id, "to=<u@example.jp>, relay=127.0.0.1[127.0.0.1]", "dsn=2.0.0, status=sent (250 2.0.0 Ok)") == 1
        )
        assert b"backupmx/qmgr[" in s.log[-1]
        assert s.log[-1].endswith(f": {id}: removed\n".encode())
    assert [(t.rcpts, t.content) for t in peer.taken] == [
        (["RCPT TO:<u@example.jp>", "RCPT TO:<v@example.jp>"], f"X-Id: {id}\r\n\r\n.dot\r\n".encode())]  # fmt: skip


async def test_large_message(tmp_path: Path) -> None:
    """A message of megabytes goes from its file in the queue to the primary byte for byte, and the file goes."""
    body = b"".join(b".%d with a dot and a few words more\r\n" % n for n in range(100_000))
    async with Peer() as peer, scene(tmp_path, hop(peer)) as s:
        await asyncio.gather(*(s.put("u@example.jp", body=body) for _ in range(3)))
        await s.settled()
        assert (await s.states(), list((tmp_path / "bodies").iterdir())) == ({}, [])
    assert [t.content.partition(b"\r\n\r\n")[2] == body for t in peer.taken] == [True] * 3


async def test_each_recipient_has_his_own_end(tmp_path: Path) -> None:
    """Of one message some are delivered, some deferred, some refused and kept with the primary's words."""
    answers = {"RCPT": lambda line: {"<u": "250 ok", "<v": "450 4.2.1 busy", "<w": "550 5.1.1 who?"}[line[8:10]]}
    async with Peer(answers) as peer, scene(tmp_path, hop(peer)) as s:
        await s.put("u@example.jp", "v@example.jp", "w@example.jp")
        await s.settled()
        waiting = await s.recipients()
        assert {a: (str(r.state), r.reason) for a, r in waiting.items()} == {
            "v@example.jp": ("deferred", "host 127.0.0.1[127.0.0.1] said: 450 4.2.1 busy"),
            "w@example.jp": ("refused", "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 who?"),
        }
        assert 290 <= waiting["v@example.jp"].next_attempt - s.clock() <= 310
        assert s.events("removed") == 0
    assert len(peer.taken) == 1


async def test_tried_again(tmp_path: Path) -> None:
    """Deferred mail is tried again when its time comes, and only then."""
    async with Peer({"DOT": ["451 4.3.0 later", "250 ok"]}) as peer, scene(tmp_path, hop(peer)) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {"u@example.jp": "deferred"}
        s.pass_time(200)
        await s.settled()
        assert await s.states() == {"u@example.jp": "deferred"}
        s.pass_time(200)
        await s.settled()
        assert await s.states() == {}
    assert len(peer.taken) == 1


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"MAIL": "421 4.7.0 enough"}, "said: 421 4.7.0 enough"),
        ({"RCPT": "421 4.7.0 enough"}, "said: 421 4.7.0 enough"),
        ({"DATA": "421 4.7.0 enough"}, "said: 421 4.7.0 enough"),
        ({"DOT": "421 4.7.0 enough"}, "said: 421 4.7.0 enough"),
        ({"DATA": CLOSE}, "while sending"),
        ({"DOT": CLOSE}, "sending end of data -- message may be sent more than once"),
        ({"DOT": "gibberish"}, "does not speak SMTP"),
    ],
)
async def test_deferred_whatever_breaks(tmp_path: Path, answers: dict[str, Any], reason: str) -> None:
    """421, a dropped connection or nonsense at any command: deferred with the reason, nothing lost."""
    async with Peer(answers) as peer, scene(tmp_path, hop(peer)) as s:
        await s.put("u@example.jp")
        await s.settled()
        (recipient,) = (await s.recipients()).values()
        assert (str(recipient.state), recipient.attempts) == ("deferred", 1)
        assert reason in recipient.reason
    assert peer.taken == []


async def test_next_host_in_the_same_try(tmp_path: Path) -> None:
    """Who is deferred by the first host is offered to the second one at once; who was refused is not."""
    first = {"RCPT": lambda line: "450 4.2.0 not now" if "<u" in line else "550 5.1.1 no" if "<v" in line else "250 ok"}
    async with Peer(first) as one, Peer() as two, scene(tmp_path, hop(one, two)) as s:
        await s.put("u@example.jp", "v@example.jp", "w@example.jp")
        await s.settled()
        assert await s.states() == {"v@example.jp": "refused"}
    assert [t.rcpts for t in one.taken + two.taken] == [["RCPT TO:<w@example.jp>"], ["RCPT TO:<u@example.jp>"]]


async def test_dead_host_before_a_live_one(tmp_path: Path) -> None:
    """A host that takes no connection costs nothing but the try: the next one has the mail."""
    async with Peer() as dead:
        pass
    async with Peer() as two, scene(tmp_path, hop(dead, two)) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert (await s.states(), s.relay.health.answers(s.routes.next_hop("u@example.jp"))) == ({}, True)


async def test_never_twice_after_the_dot(tmp_path: Path) -> None:
    """After an unanswered dot the second host is not asked in this try: it might come twice."""
    async with Peer({"DOT": CLOSE}) as one, Peer() as two, scene(tmp_path, hop(one, two)) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {"u@example.jp": "deferred"}
    assert (two.connections, one.said.count("DATA")) == (0, 1)


async def test_kept_connection_that_is_gone(tmp_path: Path) -> None:
    """A kept connection that says 421 or is closed costs a new connection and no try."""
    answers: dict[str, Any] = {"MAIL": ["250 ok", "421 4.7.0 one a session", "250 ok"]}
    async with Peer(answers) as peer, scene(tmp_path, hop(peer), first_connections=1, most_connections=1) as s:
        for _ in range(2):
            await s.put("u@example.jp")
            await s.settled()
        assert await s.states() == {}
    assert (len(peer.taken), peer.connections) == (2, 2)


async def test_broken_starttls(tmp_path: Path) -> None:
    """A primary whose STARTTLS is broken gets the mail in clear, within the same try."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("p.example").configure_cert(context)
    async with Peer(tls=context, after_starttls=b"oops") as peer, scene(tmp_path, hop(peer)) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {}
    assert [(t.tls, t.connection) for t in peer.taken] == [(False, 2)]


async def test_hung_starttls(tmp_path: Path) -> None:
    """So does one whose handshake hangs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with Peer(tls=context, after_starttls=STALL.encode()) as peer, scene(tmp_path, hop(peer)) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {}
    assert [t.tls for t in peer.taken] == [False]


async def test_too_many_recipients(tmp_path: Path) -> None:
    """452 4.5.3 for some: the others go, and these at once in another transaction of the same try."""
    count = 0

    def three_a_message(line: str) -> str:
        nonlocal count
        count += 1
        return "250 ok" if count % 4 else "452 4.5.3 too many"

    async with Peer({"RCPT": three_a_message}) as peer, scene(tmp_path, hop(peer), recipients=5) as s:
        await s.put(*(f"u{n}@example.jp" for n in range(12)))
        await s.settled()
        assert await s.states() == {}
    assert sorted(r for t in peer.taken for r in t.rcpts) == sorted(f"RCPT TO:<u{n}@example.jp>" for n in range(12))


async def test_lmtp(tmp_path: Path) -> None:
    """LMTP: each recipient has his own answer after the dot."""
    answers = {"DOT": ["250 2.0.0 ok", "452 4.2.2 full", "452 4.2.2 full"]}
    async with (
        Peer(answers, lmtp=True, path=str(tmp_path / "lmtp")) as peer,
        scene(tmp_path, f"example.jp lmtp:unix:{peer.path}") as s,
    ):
        await s.put("u@example.jp", "v@example.jp")
        await s.settled()
        assert await s.states() == {"v@example.jp": "deferred"}


async def test_words_of_the_map(tmp_path: Path) -> None:
    """error: bounces with a notice to the sender, retry: defers, discard: is called delivered."""
    map = "a.jp error:5.1.2 moved\nb.jp retry:4.3.2 maintenance\nc.jp discard:\n"
    async with Peer() as sender:
        map += f"client.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map) as s:
            await s.put("u@a.jp", "u@b.jp", "u@c.jp")
            await s.settled()
            assert {a: r.reason for a, r in (await s.recipients()).items()} == {"u@b.jp": "maintenance"}
            assert s.events("to=<u@c.jp>", "status=sent (250 2.0.0 discarded: silently)") == 1
            assert s.events("sender non-delivery notification") == 1
    assert [t.mail.split()[1] for t in sender.taken] == ["FROM:<>"]
    assert b"u@a.jp>: moved" in sender.taken[0].content


async def test_bounce(tmp_path: Path) -> None:
    """on_refusal = "bounce": the sender is told once; a null sender is not, and its mail is kept."""
    async with Peer({"RCPT": "550 5.1.1 no such user"}) as primary, Peer() as sender:
        map = f"{hop(primary)}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map, on_refusal="bounce") as s:
            await s.put("u@example.jp")
            await s.put("v@example.jp", sender="")
            await s.settled()
            assert await s.states() == {}
            assert (s.events("status=bounced"), s.events("status=unreturned")) == (1, 1)
            assert {a: r.state for a, r in (await s.quarantined()).items()} == {"v@example.jp": State.UNRETURNED}
    assert len(sender.taken) == 1
    assert b"Status: 5.1.1" in sender.taken[0].content


async def test_expired(tmp_path: Path) -> None:
    """Mail older than its lifetime that is deferred once more goes back to its sender."""
    async with Peer({"RCPT": "450 4.2.1 busy"}) as primary, Peer() as sender:
        map = f"{hop(primary)}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map, lifetime=3600.0) as s:
            await s.put("u@example.jp", age=3601)
            await s.settled()
            assert await s.states() == {}
            assert s.events("status=expired (host 127.0.0.1[127.0.0.1] said: 450 4.2.1 busy)") == 1
    assert b"Status: 4.2.1" in sender.taken[0].content


async def test_returned_by_an_operator(tmp_path: Path) -> None:
    """`queue return` of refused mail tells its sender and empties the queue; an unknown id is nothing."""
    async with Peer({"RCPT": "550 5.1.1 no"}) as primary, Peer() as sender:
        map = f"{hop(primary)}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map) as s:
            id = await s.put("u@example.jp", "v@example.jp")
            await s.settled()
            assert await give_back(s, "nonsense", "") == Returned(0)
            assert await give_back(s, id, "u@example.jp") == Returned(1)
            s.relay.wake()
            await s.settled()
            assert await s.states() == {"v@example.jp": "refused"}
    assert b"returned to its sender by the postmaster" in sender.taken[0].content


async def give_back(s: Scene, id: str, address: str, bounce_to: str = "vouched") -> Returned:
    return await return_to_sender(
        s.queue, id, address, s.routes.next_hop, "mx2.example.net", s.clock(),
        bounce_to=bounce_to, states=frozenset({State.REFUSED, State.UNRETURNED}),
    )  # fmt: skip


async def test_an_operator_is_warned(tmp_path: Path) -> None:
    """What nobody vouched for is not returned unless he insists; mail in another state is not touched."""
    async with Peer({"RCPT": "550 5.1.1 no"}) as primary, Peer() as sender:
        map = f"{hop(primary)}\nclient.example smtp:[127.0.0.1]:{sender.port}\n"
        async with scene(tmp_path, map) as s:
            id = await s.put("u@example.jp", vouched=False)
            await s.settled()
            assert await give_back(s, id, "") == Returned(0, UNVOUCHED)
            assert {a: (r.state, r.leased) for a, r in (await s.recipients()).items()} == {
                "u@example.jp": (State.REFUSED, False)}  # fmt: skip
            await s.queue.change(id, "", State.HELD, now=s.clock())
            assert await give_back(s, id, "", "all") == Returned(0)
            await s.queue.change(id, "", State.REFUSED, now=s.clock())
            assert await give_back(s, id, "", "all") == Returned(1)
            s.relay.wake()
            await s.settled()
    assert len(sender.taken) == 1


async def test_notify_success(tmp_path: Path) -> None:
    """NOTIFY=SUCCESS is told by us when the primary cannot, and passed on when it can."""
    async with Peer() as plain, Peer(extensions=("PIPELINING", "DSN")) as knows, Peer() as sender:
        map = (
            f"a.jp smtp:[127.0.0.1]:{plain.port}\nb.jp smtp:[127.0.0.1]:{knows.port}\n"
            f"client.example smtp:[127.0.0.1]:{sender.port}\n"
        )
        async with scene(tmp_path, map) as s:
            await s.put("u@a.jp", "u@b.jp", notify="SUCCESS")
            await s.settled()
    assert knows.taken[0].rcpts == ["RCPT TO:<u@b.jp> NOTIFY=SUCCESS"]
    assert [b"Action: relayed" in t.content for t in sender.taken] == [True]


async def test_null_mx_of_a_stranger(tmp_path: Path) -> None:
    """A notice to a domain that takes no mail (null MX), or does not exist, ends; it is not kept for anybody."""
    records = {("null.example", "MX"): ("0 .",)}
    async with (
        Peer({"RCPT": "550 5.1.1 no"}) as primary,
        scene(tmp_path, hop(primary), records=records, on_refusal="bounce") as s,
    ):
        await s.put("u@example.jp", sender="x@null.example")
        await s.put("u@example.jp", sender="x@nosuch.example")
        await s.settled()
        assert await s.states() == {}
        assert s.events("to=<x@null.example>", "dsn=5.1.10, status=bounced") == 1


async def test_no_such_domain_of_ours(tmp_path: Path) -> None:
    """That a domain of ours has no MX is an operator's mistake: the mail waits."""
    async with scene(tmp_path, "example.jp smtp:") as s:
        await s.put("u@example.jp")
        await s.settled()
        (recipient,) = (await s.recipients()).values()
        assert (recipient.state, "no such domain" in recipient.reason) == (State.DEFERRED, True)


async def test_ourselves_in_the_mx_list(tmp_path: Path) -> None:
    """Our own name at the other end of port 25, or our own address as best MX: the mail waits, with an alarm."""
    records = {("example.jp", "MX"): ("10 mx2.example.net.",), ("mx2.example.net", "A"): ("192.0.2.7",)}
    async with scene(tmp_path, "example.jp smtp:", records=records) as s:
        s.relay._own = lambda address: address == "192.0.2.7"
        await s.put("u@example.jp")
        await s.settled()
        (recipient,) = (await s.recipients()).values()
        assert (recipient.state, recipient.reason) == (State.DEFERRED, "mail for example.jp loops back to myself")
        assert s.events("warning", "mend DNS or transport.map") == 1


async def test_chunking_that_breaks(tmp_path: Path) -> None:
    """A primary that announces BDAT and does not know it gets the message by DATA, within the same try."""
    peer = Peer({"BDAT": "502 5.5.1 what?"}, extensions=("PIPELINING", "CHUNKING"))
    async with peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await s.put("u@example.jp", body=b"x" * 78 + b"\r\n" * 300_000)
        await s.put("u@example.jp", body=b"x" * 78 + b"\r\n" * 300_000)
        await s.settled()
        assert await s.states() == {}
        assert s.events("status=deferred") == 0
    assert len(peer.taken) == 2


async def test_every_place_of_a_list(tmp_path: Path) -> None:
    """Of three places that say "later" each is asked; the fourth takes it, within the same try."""
    later = {"RCPT": "450 4.2.1 later"}
    async with Peer(later) as a, Peer(later) as b, Peer({"MAIL": "451 4.3.0 later"}) as c, Peer() as d:
        places = ", ".join(f"[127.0.0.1]:{peer.port}" for peer in (a, b, c, d))
        async with scene(tmp_path, f"example.jp smtp:{places}") as s:
            await s.put("u@example.jp")
            await s.settled()
            assert await s.states() == {}
            assert s.events("status=deferred") == 0
        assert [peer.connections for peer in (a, b, c, d)] == [1, 1, 1, 1]


async def test_reload_of_tls(tmp_path: Path) -> None:
    """A new TLS policy is in force for the next message: a connection of the old one is not used again."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}", keep_idle=60.0) as s:
        await s.put("u@example.jp")
        await s.settled()
        settings = RelaySettings("mx2.example.net", tls=tls_policy.level("encrypt"))
        await s.relay.reload(s.routes, settings)
        await s.put("v@example.jp")
        await s.settled()
        (recipient,) = (await s.recipients()).values()
        assert "TLS is required, but was not offered by host 127.0.0.1" in recipient.reason
    assert len(peer.taken) == 1


async def test_no_tls_in_a_socket_file(tmp_path: Path) -> None:
    """LMTP over a socket file goes in clear whatever level the others have: nobody is in between."""
    peer = Peer(lmtp=True, path=str(tmp_path / "lmtp"))
    async with peer, scene(tmp_path, f"example.jp lmtp:unix:{peer.path}", tls=tls_policy.level("verify")) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {}
    assert len(peer.taken) == 1
