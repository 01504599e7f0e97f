"""Content by BDAT against a real socket: what scripts in tests/dialogues cannot say."""

import asyncio
import os
import tracemalloc
from pathlib import Path

import pytest

from backupmx.queue.entry import QueueTrouble
from backupmx.receive.spool import Body
from tests.receive.doors import PATIENCE, Running, Talk, running

BLOCK = b"0123456789abc\r\n" * 10_000


async def begun(door: Running) -> Talk:
    """A client that may send its first chunk."""
    talk = await door.connect()
    assert await talk.say("EHLO x", "MAIL FROM:<a@b.example>", "RCPT TO:<user@example.jp>") == "250 2.1.5 Ok"
    return talk


def chunk(content: bytes, last: str = "") -> bytes:
    return f"BDAT {len(content)}{last}\r\n".encode() + content


async def send(talk: Talk, *chunks: bytes) -> str:
    """Chunks in one write; -> the last reply."""
    talk.writer.write(b"".join(chunks))
    return [await talk.reply() for _ in chunks][-1]


async def test_large_messages_are_spooled(tmp_path: Path) -> None:
    """Beyond the limit chunks go to the body folder as they come, and the file goes when nobody kept it."""
    async with running(spool_folder=str(tmp_path), spool_above=1000) as door:
        talk = await begun(door)
        assert await send(talk, *[chunk(BLOCK)] * 20) == "250 2.0.0 Ok: 150000 bytes"
        assert len(os.listdir(tmp_path)) == 1
        assert (await send(talk, chunk(BLOCK, " LAST"))).startswith("250 2.0.0 Ok: 3150000 bytes queued as ")
        await talk.close()
    assert [taken.content for taken in door.recorder.messages] == [BLOCK * 21]
    assert door.recorder.messages[0].spooled
    assert os.listdir(tmp_path) == []


async def test_a_slow_disk_makes_the_client_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is answered when it has left our memory: who waits for replies cannot be faster than the disk."""
    written, waited = asyncio.Event(), asyncio.Event()

    async def caught_up(self: Body) -> None:
        waited.set()
        await written.wait()

    monkeypatch.setattr(Body, "caught_up", caught_up)
    monkeypatch.setattr(Body, "behind", property(lambda self: not written.is_set()))
    async with running(spool_folder=str(tmp_path), spool_above=10) as door:
        talk = await begun(door)
        talk.writer.write(chunk(b"x\r\n"))
        await waited.wait()
        assert not talk.reader._buffer  # type: ignore[attr-defined]
        written.set()
        assert await talk.reply() == "250 2.0.0 Ok: 3 bytes"
        await talk.close()


async def test_a_spool_that_cannot_be_written(tmp_path: Path) -> None:
    """The message gets its 451, in the middle or at the end, and the session goes on."""
    async with running(spool_folder=str(tmp_path / "missing"), spool_above=10) as door:
        talk = await begun(door)
        replies = [await send(talk, chunk(BLOCK * 10)) for _ in range(3)]
        replies.append(await send(talk, chunk(BLOCK, " LAST")))
        assert str(QueueTrouble.reply) in replies
        assert replies[-1][:3] in ("451", "551")
        await talk.say("MAIL FROM:<a@b.example>", "RCPT TO:<user@example.jp>")
        assert (await send(talk, chunk(b"small\r\n", " LAST"))).startswith("250 ")
        await talk.close()
    assert [taken.content for taken in door.recorder.messages] == [b"small\r\n"]


@pytest.mark.parametrize("end", ["RSET", "EHLO y", "QUIT", ""])
async def test_an_open_transfer_leaves_no_file(tmp_path: Path, end: str) -> None:
    """RSET, a greeting, QUIT or a client that hangs up between two chunks: what came is forgotten."""
    async with running(spool_folder=str(tmp_path), spool_above=10) as door:
        talk = await begun(door)
        await send(talk, *[chunk(BLOCK)] * 5)
        if end:
            await talk.say(end)
        await talk.close()
        await door.gone()
    assert os.listdir(tmp_path) == []
    assert door.recorder.messages == []


async def test_many_tiny_chunks() -> None:
    """A hundred thousand chunks of an octet cost the memory of their octets, not of their number."""
    async with running(limit_exceptions=("127.0.0.0/8",)) as door:
        talk = await begun(door)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            await send(talk, *[chunk(b"xy")] * 1000)
        (session,) = door.door.service.sessions
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert session.unfinished
        assert grown < 1_500_000
        assert (await send(talk, chunk(b"", " LAST"))).startswith("250 2.0.0 Ok: 200002 bytes")
        await talk.close()
    assert door.recorder.messages[0].content == b"xy" * 100_000 + b"\r\n"


async def test_chunks_must_make_progress() -> None:
    """A client that sends an octet now and then has the time limit in all, not one a chunk."""
    async with running(timeout=0.3) as door:
        talk = await begun(door)
        async with asyncio.timeout(PATIENCE):
            while not (said := await send(talk, chunk(b"x"))).startswith("421"):
                assert said == "250 2.0.0 Ok: 1 bytes"
                await asyncio.sleep(0.02)
        assert said == "421 4.4.2 mx2.example.net Error: timeout exceeded"
        await talk.close()
    assert "timeout after BDAT from unknown[127.0.0.1]" in "\n".join(door.lines)


async def test_stopping_waits_for_the_last_chunk() -> None:
    """A message that is coming in when we are told to stop is finished, and then its client reads 421."""
    async with running() as door:
        talk = await begun(door)
        await send(talk, chunk(b"one\r\n"))
        stopping = asyncio.create_task(door.door.stop(PATIENCE))
        await asyncio.sleep(0)
        assert (await send(talk, chunk(b"two\r\n", " LAST"))).startswith("250 2.0.0 Ok: 10 bytes queued as ")
        assert await talk.reply() == "421 4.3.2 mx2.example.net Server shutting down"
        await talk.close()
        await stopping
    assert [taken.content for taken in door.recorder.messages] == [b"one\r\ntwo\r\n"]


async def test_content_without_end() -> None:
    """Who sends on and on after the limit is told so and disconnected, in DATA as in BDAT."""
    async with running(message_size_limit=1000) as door:
        talk = await door.connect()
        await talk.begin()
        talk.writer.write(BLOCK)
        assert await talk.reply() == "552 5.3.4 Error: message file too big"
        assert await talk.closed()
        await talk.close()
    assert door.recorder.messages == []


async def test_limits_are_named_in_the_log() -> None:
    """The operator reads which setting refused a message."""
    async with running(message_size_limit=10, recipient_limit=1) as door:
        talk = await begun(door)
        await talk.say("RCPT TO:<more@example.jp>")
        await send(talk, chunk(b"0123456789a", " LAST"))
        await talk.begin()
        await talk.say("0123456789.\r\n.")
        await talk.close()
    ends = [line.rpartition(" [")[2] for line in door.lines if "reject: " in line]
    assert ends == ["smtp.recipient_limit=1]", "smtp.message_size_limit=10]", "smtp.message_size_limit=10]"]
