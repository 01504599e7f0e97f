"""The SQLite queue keeps the contract, and what is its own."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupmx.journal import Journal
from backupmx.mail.message import Spool
from backupmx.queue import claims, pauses, stock
from backupmx.queue.entry import QueueFull, QueueTrouble, State
from backupmx.queue.sqlite import SqliteQueue, open_queue
from tests.queue.contract import LEASE, QueueContract
from tests.queue.samples import HOP, NOW, OTHER, entry, settled, wire

LARGE = b"\r\n" + b"0123456789" * 40_000


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await open_queue(f"sqlite:{tmp_path}/queue.db", clock=lambda: NOW)
    yield opened
    await opened.close()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


class TestContract(QueueContract):
    pass


async def test_modes(queue: SqliteQueue, tmp_path: Path) -> None:
    """Nobody but the queue's owner reads mail: files 0600, folder 0700."""
    await queue.put(entry(body=LARGE))
    (body,) = os.listdir(queue.body_folder)
    files = dict.fromkeys(("queue.db", "queue.db-wal", "queue.db-shm", body), 0o600)
    assert modes(tmp_path) == {**files, "bodies": 0o700}


async def test_closed_and_opened(queue: SqliteQueue, tmp_path: Path) -> None:
    """What was accepted is there after a restart."""
    new = [entry(), entry(body=LARGE)]
    for one in new:
        await queue.put(one)
    await queue.close()
    again = await open_queue(f"sqlite:{tmp_path}/queue.db")
    claims = await again.claim(HOP, 9, NOW, LEASE)
    assert sorted(wire(c.message) for c in claims) == sorted(wire(one.message) for one in new)
    await again.close()


async def test_closed_is_closed(queue: SqliteQueue) -> None:
    """A queue that was closed takes nothing more."""
    await queue.close()
    with pytest.raises(QueueTrouble):
        await queue.put(entry())


async def test_closed_though_nobody_waits(queue: SqliteQueue) -> None:
    """A reload may cut short whoever closes a queue; its threads and connections go all the same."""
    await queue.waiting()
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.to_thread(queue._reader._thread.shutdown)
    assert queue._reader._db is None
    with pytest.raises(QueueTrouble):
        await queue.waiting()


async def test_everything_asked_for_is_done_before_the_end(queue: SqliteQueue, tmp_path: Path) -> None:
    """Closing waits for what was put."""
    puts = [asyncio.ensure_future(queue.put(entry())) for _ in range(20)]
    await asyncio.sleep(0)
    await queue.close()
    await asyncio.gather(*puts)
    again = await open_queue(f"sqlite:{tmp_path}/queue.db")
    assert len(await again.waiting()) == 20
    await again.close()


# Files


async def test_a_file_goes_with_its_message(queue: SqliteQueue) -> None:
    """A large body is a file, as long as the message waits."""
    await queue.put(entry(body=LARGE))
    (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
    assert len(os.listdir(queue.body_folder)) == 1
    await queue.settle(settled(claim), NOW)
    assert os.listdir(queue.body_folder) == []
    assert wire(claim.message).endswith(LARGE)


async def test_a_deleted_file(queue: SqliteQueue) -> None:
    """Deleting a message deletes its file."""
    new = entry(body=LARGE)
    await queue.put(new)
    await queue.change(new.id, "", State.DELETED, now=NOW)
    assert os.listdir(queue.body_folder) == []


async def test_large_mail_is_mapped(queue: SqliteQueue) -> None:
    """A claim of large mail reads no body into memory."""
    await queue.put(entry(body=LARGE))
    (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
    assert [type(part) for part in claim.message.body] == [memoryview]
    assert all(part.readonly for part in claim.message.body if isinstance(part, memoryview))


async def test_adopted(queue: SqliteQueue) -> None:
    """What the receiver spooled is taken over as it lies there, its received header block before the body."""
    path = os.path.join(queue.body_folder, "spool-1")
    write(path, b"Subject: as it came\r\n" + LARGE)
    new = entry(body=LARGE, spool=Spool(path, 21))
    await queue.put(new)
    (claim,) = await queue.claim(HOP, 1, NOW, LEASE)
    assert (wire(claim.message), os.listdir(queue.body_folder)) == (wire(new.message), ["spool-1"])
    await queue.settle(settled(claim), NOW)
    assert os.listdir(queue.body_folder) == []


async def test_a_spool_elsewhere(queue: SqliteQueue, tmp_path: Path) -> None:
    """A file outside the body folder is never adopted: it would be deleted one day."""
    write(f"{tmp_path}/foreign", LARGE)
    with pytest.raises(ValueError, match="body folder"):
        await queue.put(entry(body=LARGE, spool=Spool(str(tmp_path / "foreign"))))


async def test_sweep(queue: SqliteQueue) -> None:
    """At start the files that no message names go, the others stay, and leases of the last life end."""
    new = entry(body=LARGE)
    await queue.put(new)
    write(os.path.join(queue.body_folder, "orphan"), b"half")
    await queue.claim(HOP, 1, NOW, LEASE)
    assert await queue.sweep() == ["orphan"]
    assert os.listdir(queue.body_folder) == [new.id]
    assert len(await queue.claim(HOP, 1, NOW, LEASE)) == 1


async def test_sweep_after_a_dead_process(tmp_path: Path) -> None:
    """Of what a killed worker left those files go that no message names; what others are about to commit stays."""
    store = f"sqlite:{tmp_path}/queue.db"
    dead, other = await open_queue(store, mark=".worker1"), await open_queue(store, mark=".worker2")
    mine, theirs = entry(body=LARGE), entry(body=LARGE)
    await dead.put(mine)
    await other.put(theirs)
    await other.claim(HOP, 1, NOW, LEASE)
    for name in ("half.in.worker1", "half.in.worker2", "half.worker1"):
        write(os.path.join(dead.body_folder, name), b"half")
    await dead.close()
    successor = await open_queue(store, mark=".worker1")
    assert await successor.sweep_after(".worker1") == ["half.in.worker1", "half.worker1"]
    left = sorted([f"{mine.id}.worker1", f"{theirs.id}.worker2", "half.in.worker2"])
    assert sorted(os.listdir(successor.body_folder)) == left
    assert len(await successor.claim(HOP, 9, NOW, LEASE)) == 1  # the relay's lease stands
    await successor.close()
    await other.close()


async def test_a_claim_of_large_mail_is_short(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large mail is claimed a few messages at a time, so that the first need not wait until the last is verified."""
    monkeypatch.setattr(stock, "_AT_ONCE", 500_000)
    for age in range(5):
        await queue.put(entry(arrived=NOW - age, body=LARGE))
    sizes = []
    while claims := await queue.claim(HOP, 9, NOW, LEASE):
        sizes.append(len(claims))
    assert sizes == [2, 2, 1]


async def test_a_key_that_is_anothers_by_now(queue: SqliteQueue) -> None:
    """Deleted in the moment between its lease and its reading, a message does not lend its recipients to the next."""
    deleted, new = entry("anna@example.jp"), entry("bob@example.jp")
    await queue.put(deleted)
    leased = await queue._writer.submit(claims.LEASE, claims.Want(HOP, 9, NOW, NOW + LEASE))
    await queue.change(deleted.id, "", State.DELETED, now=NOW)
    await queue.put(new)
    assert await queue._load(leased) == []
    (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
    assert (claim.id, [one.address for one in claim.recipients]) == (new.id, ["bob@example.jp"])


# Damage


def alter(queue: SqliteQueue, sql: str) -> None:
    db = sqlite3.connect(queue.path)
    db.execute(sql)
    db.commit()
    db.close()


async def test_damaged_row(tmp_path: Path) -> None:
    """A body that is not what was written is set aside and said so; the rest is delivered."""
    said: list[bytes] = []
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", journal=Journal(sink=said.append))
    damaged, sound = entry(), entry()
    await queue.put(damaged)
    await queue.put(sound)
    alter(queue, f"UPDATE entry SET body = x'0d0a58' WHERE id = '{damaged.id}'")
    assert [claim.id for claim in await queue.claim(HOP, 9, NOW, LEASE)] == [sound.id]
    (listed,) = await queue.waiting(id=damaged.id)
    assert (listed.recipients[0].state, listed.recipients[0].reason[:17]) == (State.HELD, "damaged: checksum")
    assert [damaged.id in line.decode() for line in said] == [True]
    await queue.close()


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
async def test_damaged_file(queue: SqliteQueue, how: str) -> None:
    """A body file that is altered, too short or gone is set aside, released or not; nothing is deleted."""
    new = entry(body=LARGE)
    await queue.put(new)
    path = os.path.join(queue.body_folder, new.id)
    if how == "gone":
        os.unlink(path)
    else:
        write(path, LARGE[:-1] if how == "cut" else LARGE[:-1] + b"X")
    for _ in range(2):
        assert await queue.claim(HOP, 9, NOW, LEASE) == []
        (listed,) = await queue.waiting()
        assert listed.recipients[0].state == State.HELD
        await queue.change(new.id, "", State.QUEUED, now=NOW)
    shown = await queue.message(new.id)
    assert shown is not None
    assert (bool(shown[1]), new.id in os.listdir(queue.body_folder)) == (True, how != "gone")


async def test_check_names_every_fault(queue: SqliteQueue) -> None:
    """`queue check` finds nothing in a sound queue and names each damaged message of another."""
    new = [entry(), entry(body=LARGE), entry()]
    for one in new:
        await queue.put(one)
    assert await queue.check() == []
    alter(queue, f"UPDATE entry SET head = x'41' WHERE id = '{new[0].id}'")
    os.unlink(os.path.join(queue.body_folder, new[1].id))
    assert sorted(fault.partition(":")[0] for fault in await queue.check()) == sorted([new[0].id, new[1].id])


async def test_a_message_to_look_at(queue: SqliteQueue) -> None:
    """A message can be read without being claimed."""
    new = entry(body=LARGE)
    await queue.put(new)
    shown = await queue.message(new.id)
    assert shown is not None
    assert (wire(shown[0]), shown[1]) == (wire(new.message), "")
    assert await queue.message("unknown") is None


# Floor, bell, numbers


async def test_below_the_floor(tmp_path: Path) -> None:
    """Below min_free nothing is taken, nothing is left behind, and what is there goes on."""
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db")
    await queue.put(entry())
    await queue.close()
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", min_free=1 << 60)
    for body in (b"\r\nsmall", LARGE):
        with pytest.raises(QueueFull):
            await queue.put(entry(body=body))
    assert os.listdir(queue.body_folder) == []
    (claim,) = await queue.claim(HOP, 9, NOW, LEASE)
    await queue.settle(settled(claim), NOW)
    await queue.close()


async def test_the_bell(tmp_path: Path) -> None:
    """Whoever relays hears of new mail and of notices once a commit, however much was in it."""
    rings: list[int] = []
    queue = await open_queue(f"sqlite:{tmp_path}/queue.db", on_commit=lambda: rings.append(1))
    await asyncio.gather(*(queue.put(entry()) for _ in range(50)))
    assert 1 <= len(rings) <= 25
    rings.clear()
    first, second = await queue.claim(HOP, 2, NOW, LEASE)
    await queue.settle(settled(first), NOW)
    assert rings == []
    await queue.settle(replace(settled(second), notice=entry("sender@example.net")), NOW)
    assert rings == [1]
    await queue.close()


async def test_totals(queue: SqliteQueue) -> None:
    """Status counts recipients by next hop and state without reading the queue."""
    await queue.put(entry("a@example.jp", "b@example.jp", arrived=NOW - 9))
    await queue.put(entry(state=State.HELD))
    await queue.put(entry(arrived=NOW - 3))
    assert [(t.next_hop, t.state, t.recipients, t.oldest) for t in await queue.totals()] == [
        (HOP, State.HELD, 1, NOW),
        (HOP, State.QUEUED, 3, NOW - 9),
    ]


@pytest.mark.parametrize("store", ["", "queue.db", "postgres://x", "sqlite:"])
async def test_no_such_store(store: str) -> None:
    """A store we do not know is a sentence."""
    with pytest.raises(QueueTrouble, match=r"queue\.store"):
        await open_queue(store)


async def test_paused_over_a_restart(queue: SqliteQueue, tmp_path: Path) -> None:
    """A pause is on the disk: opened again, the queue knows it, and another process that puts does too."""
    other = await open_queue(f"sqlite:{tmp_path}/queue.db")
    await queue.pause("example.jp", NOW)
    await other.put(entry())
    await other.close()
    await queue.close()
    again = await open_queue(f"sqlite:{tmp_path}/queue.db")
    await again.sweep()
    assert (await again.due(NOW), [p.recipients for p in await again.paused()]) == ([], [1])
    await again.close()


async def test_rerouting_that_was_cut_off(queue: SqliteQueue) -> None:
    """A crash in the middle of rerouting leaves a mark: the next start asks for all next hops again."""
    await queue.put(entry())

    def crash(address: str) -> str:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await queue.reroute(crash, "v2")
    assert await queue.reroute(lambda address: OTHER, "v2") == 1


async def test_a_spooled_file_that_is_short(queue: SqliteQueue, tmp_path: Path) -> None:
    """What the disk lost between the receiver and the commit is no promise: the client tries again."""
    path = os.path.join(queue.body_folder, "spool")
    write(path, LARGE[:-1])
    with pytest.raises(QueueTrouble, match=r"body file spool has 400001 octets, not 400002"):
        await queue.put(entry(body=LARGE, spool=Spool(path)))
    write(path, LARGE)
    await queue.put(entry(body=LARGE, spool=Spool(path)))


async def test_opened_twice_in_one_process(tmp_path: Path) -> None:
    """A second queue in a process gives up none of the first one's locks: who ends elsewhere leaves the log alone."""
    first = await open_queue(f"sqlite:{tmp_path}/queue.db")
    await first.put(entry())
    second = await open_queue(f"sqlite:{tmp_path}/queue.db")
    script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM entry'); db.close()"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script, f"{tmp_path}/queue.db"], check=True)
    assert (tmp_path / "queue.db-wal").exists()
    await second.close()
    await first.close()


async def test_pause_in_portions(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long queue is paused and let go portion by portion, and others write between two of them."""
    monkeypatch.setattr(pauses, "PORTION", 3)
    for n in range(10):
        await queue.put(entry(f"a{n}@example.jp", f"b{n}@example.net"))
    waiting, _ = await asyncio.gather(queue.pause("example.jp", NOW), queue.put(entry("late@example.jp")))
    assert waiting >= 10
    assert await queue.pause("example.jp", NOW) == 11
    claimed = await queue.claim(HOP, 99, NOW + 1, LEASE)
    assert {r.address.partition("@")[2] for claim in claimed for r in claim.recipients} == {"example.net"}
    for claim in claimed:
        await queue.settle(settled(claim), NOW)
    assert await queue.resume("example.jp")
    assert sum(len(claim.recipients) for claim in await queue.claim(HOP, 99, NOW + 1, LEASE)) == 11


async def test_pause_cut_short(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies in the middle of `pause` or `resume` leaves nothing that would wait for ever."""
    monkeypatch.setattr(pauses, "PORTION", 3)
    for n in range(10):
        await queue.put(entry(f"a{n}@example.jp"))
    await queue._writer.submit(pauses.PAUSE, ("example.jp", NOW))
    after = await queue._writer.submit(pauses.HOLD_BACK, ("example.jp", pauses.FIRST))
    assert [p.recipients for p in await queue.paused()] == [3]
    await queue.pause("example.jp", NOW)
    await queue._writer.submit(pauses.LET_GO, ("example.jp", pauses.FIRST))
    assert [p.recipients for p in await queue.paused()] == [7]
    assert await queue.resume("example.jp")
    assert await queue._writer.submit(pauses.HOLD_BACK, ("example.jp", after)) is None, "a pause that is over"
    assert len(await queue.claim(HOP, 99, NOW + 1, LEASE)) == 10
