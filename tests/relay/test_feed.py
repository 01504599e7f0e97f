"""relay/feed.py: who of a message is due is tried, whatever becomes of its other recipients."""

import asyncio
from pathlib import Path

from backupmx.queue.entry import State
from tests.net.peers import STALL, Peer
from tests.relay.scene import scene


async def test_the_others_of_a_message_in_hand(tmp_path: Path) -> None:
    """A recipient that becomes due while another of the same message is being tried goes out now, not a lease later."""
    async with Peer() as peer, scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{peer.port}") as s:
        await s.put("first@example.jp")  # the next hop is known to be up
        await s.settled()
        peer.answers["RCPT"] = "450 4.2.1 busy"
        id = await s.put("slow@example.jp", "other@example.jp")
        await s.settled()
        peer.answers["RCPT"] = lambda command: STALL if "slow@" in command else "250 2.1.5 ok"
        await s.queue.change(id, "slow@example.jp", State.QUEUED, now=s.clock())
        s.relay.wake()
        async with asyncio.timeout(4):
            while peer.said.count("RCPT TO:<slow@example.jp>") < 2:  # noqa: ASYNC110  it is in hand
                await asyncio.sleep(0.02)
            await s.queue.change(id, "other@example.jp", State.QUEUED, now=s.clock())
            s.relay.wake()
            while len(peer.taken) < 2:  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0.02)
        assert peer.taken[1].rcpts == ["RCPT TO:<other@example.jp>"]
