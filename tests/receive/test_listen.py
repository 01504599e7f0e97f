"""Sockets, and the end of a worker."""

import asyncio
import socket
import subprocess
import sys
from collections import Counter

import pytest

from backupmx.receive.listen import address_of, open_all, open_sockets
from tests.receive.doors import Recorder, Taken, Talk, running


def test_one_port_for_all_workers() -> None:
    """Each worker has sockets of its own on the same addresses."""
    workers = open_all(["127.0.0.1:0", "[::1]:0"], 3)
    addresses = Counter(address_of(each) for mine in workers for each in mine)
    assert sorted(addresses.values()) == [3, 3]
    assert {family for mine in workers for family in [each.family for each in mine]} == {
        socket.AF_INET,
        socket.AF_INET6,
    }
    for mine in workers:
        for each in mine:
            each.close()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:smtp", "nonsense", "192.0.2.1:25", "[::1:25", ""])
def test_an_address_that_cannot_be_used(address: str) -> None:
    """The error names the address; what was opened before it is closed."""
    with pytest.raises(OSError, match=r".") as error:
        open_sockets(["127.0.0.1:0", address])
    assert error.value.filename == address


def test_ipv4_is_not_taken_by_ipv6() -> None:
    """ "[::]" is IPv6 alone: a client over IPv4 is never ::ffff:192.0.2.1 in a log."""
    (first,) = open_sockets(["[::]:0"])
    (second,) = open_sockets([f"0.0.0.0:{first.getsockname()[1]}"])
    first.close()
    second.close()


async def test_stop_at_a_command_border() -> None:
    """Idle clients are told that we stop, and no more are taken."""
    async with running() as door:
        talk = await door.connect()
        await talk.say("EHLO x", "MAIL FROM:<>")
        await door.door.stop(5)
        assert await talk.reply() == "421 4.3.2 mx2.example.net Server shutting down"
        assert await talk.closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", door.port)
        await talk.close()


async def test_stop_lets_a_message_end() -> None:
    """A message that is coming in is finished and answered first."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        stop = asyncio.create_task(door.door.stop(5))
        await asyncio.sleep(0.05)
        assert (await talk.say("x\r\n.")).startswith("250 2.0.0 Ok: queued as")
        assert await talk.reply() == "421 4.3.2 mx2.example.net Server shutting down"
        await talk.close()
        await stop
    assert [taken.content for taken in door.recorder.messages] == [b"x\r\n"]


async def test_stop_comes_before_what_was_sent_ahead() -> None:
    """A client that sends one message behind the other is stopped between two."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        stop = asyncio.create_task(door.door.stop(5))
        await asyncio.sleep(0.05)
        talk.writer.write(b".\r\n" + b"MAIL FROM:<>\r\nRCPT TO:<user@example.jp>\r\nDATA\r\n.\r\n" * 3)
        assert (await talk.reply()).startswith("250 2.0.0 Ok: queued as")
        assert (await talk.reply()).startswith("421 4.3.2")
        await talk.close()
        await stop
    assert len(door.recorder.messages) == 1


async def test_stop_waits_for_a_commit() -> None:
    """So does a message that is being stored."""
    leave = asyncio.Event()

    async def commit(taken: Taken) -> None:
        await leave.wait()

    async with running(Recorder(before=commit)) as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(b".\r\n")
        await asyncio.sleep(0.05)
        stop = asyncio.create_task(door.door.stop(5))
        await asyncio.sleep(0.05)
        assert not stop.done()
        leave.set()
        assert (await talk.reply()).startswith("250 ")
        assert (await talk.reply()).startswith("421 4.3.2")
        await talk.close()
        await stop


async def test_stop_does_not_wait_for_ever() -> None:
    """What is not done within the time is dropped; it had no 250."""

    async def hang(taken: Taken) -> None:
        await asyncio.Event().wait()

    async with running(Recorder(before=hang)) as door:
        hanging, slow = await door.connect(), await door.connect()
        await hanging.begin()
        hanging.writer.write(b".\r\n")
        await slow.begin()
        await door.door.stop(0.1)
        assert await hanging.closed()
        assert await slow.closed()
        await hanging.close()
        await slow.close()
    assert door.recorder.messages == []
    assert door.door.service.journal.counters["bug"] == 0


async def test_last_words_are_within_the_time() -> None:
    """The second that clients have for our last words is the end of the time for stopping, and not one more."""
    async with running() as door:
        talk = await door.connect()
        await talk.begin()
        async with asyncio.timeout(1.6):
            await door.door.stop(1.0)
        await talk.close()


async def test_room_for_one_client() -> None:
    """With so few descriptors that one client is all there can be, the next is served when it is gone."""
    async with running(most_connections=1, timeout=4) as door:
        for _ in range(2):
            await (await door.connect()).close()


async def test_no_descriptors_for_more_clients() -> None:
    """The next one waits in the kernel's queue until there is room, with an alarm, and is then served."""
    async with running(most_connections=4, timeout=4) as door:
        talks = [await door.connect() for _ in range(4)]
        waiting = [Talk(*await asyncio.open_connection("127.0.0.1", door.port)) for _ in range(2)]
        assert await talks[0].say("NOOP") == "250 2.0.0 Ok"
        assert len(door.door.service.sessions) == 4
        for talk in talks[1:]:
            await talk.close()
        assert [(await each.reply())[:3] for each in waiting] == ["220", "220"]
        for talk in (*waiting, talks[0]):
            await talk.close()
    assert "error: no new clients: 4 are here, more would exhaust RLIMIT_NOFILE" in door.lines


@pytest.mark.slow
def test_memory_of_large_messages(tmp_path: object) -> None:
    """Ten clients with 25 MB each at once: a worker stays below 100 MiB of its own memory."""
    program = MEMORY.replace("{folder!r}", repr(str(tmp_path)))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert int(run.stdout) < 100 << 10, run.stderr


MEMORY = """
import asyncio
from tests.receive.doors import running

async def send(door):
    talk = await door.connect()
    await talk.begin()
    for _ in range(250):
        talk.writer.write(b"0123456789abcdef" * 6400 + b"\\r\\n")
        await talk.writer.drain()
    assert (await talk.say(".")).startswith("250 ")
    await talk.close()

async def accept(client, envelope, content, queue_id):
    from backupmx.mail.reply import Reply
    return Reply(250, "2.0.0", "Ok")

async def main():
    async with running(accept, spool_folder={folder!r}) as door:
        await asyncio.gather(*(send(door) for _ in range(10)))
        with open("/proc/self/status") as status:
            print(*(line.split()[1] for line in status if line.startswith("RssAnon")))

asyncio.run(main())
"""
