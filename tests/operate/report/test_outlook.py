"""operate/report/outlook.py: what a worker knows of the primaries, and what it tells when one calls."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from backupmx.journal import Journal, silent
from backupmx.operate.report.outlook import Outlook
from backupmx.queue.entry import HopState, QueueTrouble
from backupmx.queue.sqlite import open_queue
from backupmx.route.primaries import Standing

PRIMARY, STRANGER = "smtp:[primary1.example.net]", "smtp:client.example"
DOWN = HopState(PRIMARY, False, 100.0, "Connection refused", 1e12, 3, 0, ("192.0.2.1",))


async def test_reads_what_the_relay_wrote(tmp_path: Path) -> None:
    """State, error and addresses come through the queue; a stranger's hosts are no primaries."""
    relays, ours = [await open_queue(f"sqlite:{tmp_path}/queue.db") for _ in range(2)]
    outlook = Outlook(ours, {PRIMARY, "smtp:[new.example]"}, silent())
    await relays.set_hop_state(DOWN)
    await relays.set_hop_state(HopState(STRANGER, True, 0.0, "", 0.0, 0, 0, ("198.51.100.1",)))
    await outlook.look()
    known = outlook.primaries.primary(PRIMARY)
    assert (known.standing, known.since, known.error) == (Standing.DOWN, 100.0, "Connection refused")
    assert outlook.primaries.state("smtp:[new.example]") is Standing.UNKNOWN
    assert outlook.primaries.is_primary_address("192.0.2.1")
    assert not outlook.primaries.is_primary_address("198.51.100.1")
    await relays.close()
    await ours.close()


async def test_a_call_is_a_word_to_the_relay(tmp_path: Path) -> None:
    """A primary that is down and calls us is to be looked at now; whoever relays hears the bell."""
    rung: list[int] = []
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", on_commit=lambda: rung.append(1))
    outlook = Outlook(queue, {PRIMARY}, silent())
    await queue.set_hop_state(DOWN)
    await outlook.look()
    rung.clear()
    outlook.called("192.0.2.99")
    outlook.called("192.0.2.1")
    await outlook.close()
    assert ((await queue.hop_states())[PRIMARY].probe_at, rung) == (0.0, [1])
    await queue.close()


class Faulty:
    """A queue that counts, or cannot be read."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.broken = False

    async def hop_states(self) -> Mapping[str, HopState]:
        if self.broken:
            raise QueueTrouble("disk I/O error")
        return {PRIMARY: DOWN}

    async def look_again(self, next_hops: Sequence[str]) -> None:
        self.asked.append(next_hops)
        if self.broken:
            raise QueueTrouble("disk I/O error")


async def test_once_in_ten_seconds() -> None:
    """A thousand connections from a primary are one word, and another one ten seconds later."""
    queue, now = Faulty(), [0.0]
    outlook = Outlook(queue, {PRIMARY}, silent(), clock=lambda: now[0])
    await outlook.look()
    for second in (0.0, 5.0, 9.9, 10.0, 12.0):
        now[0] = second
        for _ in range(200):
            outlook.called("192.0.2.1")
    await outlook.close()
    assert queue.asked == [[PRIMARY], [PRIMARY]]


async def test_trouble_with_the_queue() -> None:
    """What was known stays; the trouble is told, and nobody's connection suffers."""
    queue, journal = Faulty(), Journal(sink=lambda line: None)
    outlook = Outlook(queue, {PRIMARY}, journal)
    await outlook.look()
    queue.broken = True
    await outlook.look()
    outlook.called("192.0.2.1")
    await outlook.close()
    assert outlook.primaries.is_primary_address("192.0.2.1")
    assert journal.counters["queue_trouble"] == 2


async def test_runs_until_cancelled() -> None:
    """The first look is at once."""
    outlook = Outlook(Faulty(), {PRIMARY}, silent())
    running = asyncio.create_task(outlook.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert outlook.primaries.is_primary_address("192.0.2.1")
    running.cancel()
