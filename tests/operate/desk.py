"""desk: a configuration, its queue, and the command line, on a queue that no appliance works on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from click.testing import CliRunner, Result

from backupmx.operate.cli import cli
from backupmx.queue.entry import NewEntry
from backupmx.queue.sqlite import SqliteQueue, open_queue

CONFIGURATION = """\
hostname = "mx2.example.net"
state_dir = "state"
[relay]
transport_map = "transport.map"
"""


class Desk:
    """A configuration, its queue, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "backupmx.toml"
        self.config.write_text(CONFIGURATION)
        (folder / "transport.map").write_text("example.jp smtp:[primary1.example.net]\n")
        (folder / "state").mkdir()
        self.store = f"sqlite:{folder}/state/queue.db"

    def put(self, *entries: NewEntry) -> list[str]:
        async def all_of_them(queue: SqliteQueue) -> list[str]:
            for one in entries:
                await queue.put(one)
            return [one.id for one in entries]

        return self.on_queue(all_of_them)

    def on_queue(self, work: Callable[[SqliteQueue], Awaitable[list[str]]]) -> list[str]:
        async def opened() -> list[str]:
            queue = await open_queue(self.store)
            try:
                return await work(queue)
            finally:
                await queue.close()

        return asyncio.run(opened())

    def says(self, *words: str) -> Result:
        return CliRunner().invoke(cli, [*words, "-c", str(self.config)])

    def states(self, id: str) -> dict[str, str]:
        lines = self.says("queue", "show", id).stdout.splitlines()
        words = [line.split() for line in lines if line.startswith("recipient ")]
        return {word[1]: word[2] for word in words}
