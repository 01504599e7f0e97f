"""What a primary that is away leaves in memory: nothing that waits for Python's search for cycles."""

from pathlib import Path

from backupmx.net import smtp
from backupmx.queue.entry import Claim
from backupmx.route.hosts import NoHosts
from tests.leftovers import cycles
from tests.neighbours.unbound import free_port
from tests.relay.scene import scene


async def test_nobody_listens(tmp_path: Path) -> None:
    """A connection that a host did not take goes, with all it was made of, before the next is tried."""
    async with scene(tmp_path, f"example.jp smtp:[127.0.0.1]:{free_port()}") as s:
        with cycles() as left:
            await s.put("u@example.jp")
            await s.settled()
            s.pass_time(31)
            await s.settled()
        assert [one for one in left if isinstance(one, smtp.SmtpTrouble | smtp.Connection)] == []
        assert s.events("status=deferred")


async def test_nowhere_to_go(tmp_path: Path) -> None:
    """Mail for a next hop that DNS knows nothing of is let go with its outcome."""
    async with scene(tmp_path, "example.jp smtp:primary.test") as s:
        with cycles() as left:
            await s.put("u@example.jp")
            await s.settled()
        assert [one for one in left if isinstance(one, NoHosts | Claim)] == []
        assert s.events("status=deferred")
