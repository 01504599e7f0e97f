"""relay/runner.py: a clock that jumps."""

from pathlib import Path

from tests.relay.scene import scene
from tests.relay.test_runner import down_peer, until


async def test_a_clock_set_back(tmp_path: Path) -> None:
    """After a clock that was a day ahead mail and probes do not wait until it is that late again: not while the relay
    runs, not when it starts."""
    peer = await down_peer()
    map = f"example.jp smtp:[127.0.0.1]:{peer.port}"
    async with scene(tmp_path, map) as s:
        s.pass_time(86400)
        await s.put("u@example.jp")
        await s.settled()
        assert await s.states() == {"u@example.jp": "deferred"}
        async with peer:
            s.pass_time(-86400)
            await until(lambda: len(peer.taken) == 1)
            await s.settled()
        assert s.events("1 recipients were due too far ahead") == 1
        s.pass_time(86400)
        await s.put("v@example.jp")
        await s.settled()
    async with peer, scene(tmp_path, map):
        await until(lambda: len(peer.taken) == 2)
