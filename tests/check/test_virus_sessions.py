"""Connections to clamd that are kept: Debian's clamd, and fakes for what goes wrong on one."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backupmx.check import virus_sessions
from backupmx.check.trouble import EngineAway, Lost, Unscannable
from backupmx.check.virus_clamd import Clamd
from backupmx.check.virus_sessions import Sessions
from backupmx.check.wire import places
from backupmx.net.endpoint import Endpoint
from tests.check.messages import EICAR, mail
from tests.neighbours.clamd import STREAM_MAX

PING = [b"zPING\0"]
CLOSE, HANG = b"close", b"hang"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """Each new connection."""
    made: list[Endpoint] = []
    connect = virus_sessions.connect

    async def counted(endpoint: Endpoint, seconds: float) -> object:
        made.append(endpoint)
        return await connect(endpoint, seconds)

    monkeypatch.setattr(virus_sessions, "connect", counted)
    return made


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def clamd(folder: Path, *scripts: Sequence[bytes]) -> AsyncIterator[Endpoint]:
    """-> where it listens.  A script is a connection's answers, one for each command."""
    left, talks = list(scripts), set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zIDSESSION\0"
        for answer in left.pop(0):
            if answer == CLOSE or not await reader.read(65536):
                break
            if answer == HANG:
                await reader.read()
            writer.write(answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        talks.add(task)
        try:
            await talk(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, folder / "clamd")
    async with server:
        yield Endpoint(path=str(folder / "clamd"))
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks)
        await asyncio.sleep(0)


async def asked(address: Endpoint, times: int, seconds: float = 5.0, clock: Clock | None = None) -> list[bytes]:
    sessions = Sessions(address, seconds, places(), clock or Clock())
    answers = []
    for _ in range(times):
        answers.append(await sessions.ask(lambda: PING))
        await asyncio.sleep(0.01)  # what the other side does behind its answer arrives
        if clock:
            clock.now += 11
    sessions.close()
    return answers


@pytest.mark.neighbours
class TestRealClamd:
    async def test_one_connection_for_many(self, clamd: Clamd, connections: list[Endpoint]) -> None:
        """Clean and infected mail in turn, over one connection, each with its own answer."""
        names = [(await clamd.scan(mail(body).message)).signature for body in (EICAR, b"Hello\r\n") * 5]
        assert names == ["Eicar-Test-Signature.UNOFFICIAL", ""] * 5
        assert len(connections) == 1

    async def test_larger_than_clamd_takes(self, clamd: Clamd, connections: list[Endpoint]) -> None:
        """What it does not take ends that connection, not the next message."""
        for _ in range(2):
            assert (await clamd.scan(mail(EICAR).message)).signature
            with pytest.raises(Unscannable, match="size limit exceeded"):
                await clamd.scan(mail(b"x" * (STREAM_MAX + 1)).message)
        assert (await clamd.scan(mail(b"Hello\r\n").message)).signature == ""

    async def test_a_flood_leaves_few_open(self, clamd: Clamd) -> None:
        """A hundred messages at once each have their own answer."""
        bodies = [EICAR if n % 3 else b"Hello %d\r\n" % n for n in range(100)]
        scans = await asyncio.gather(*(clamd.scan(mail(body).message) for body in bodies))
        assert [bool(scan.signature) for scan in scans] == [body is EICAR for body in bodies]
        assert len(clamd._sessions._idle) <= 4


@pytest.mark.parametrize(
    "first",
    [
        [b"1: stream: OK\0", CLOSE],
        [b"1: stream: OK\0", b"1: stream: OK\0"],
        [b"1: stream: OK\0", b"3: stream: OK\0"],
        [b"1: stream: OK\0", b"stream: OK\0"],
        [b"1: stream: OK\0", b"\xff\0"],
        [b"1: stream: OK\0", b"x" * 2_000_000],
        [b"1: stream: OK\0", b"2: str"],
        [b"1: stream: OK\0002: stream: OK\0"],
        [b"1: scan failed. ERROR\0"],
    ],
    ids=["closed", "old number", "next number", "no number", "nonsense", "endless", "cut off", "more", "error"],
)
async def test_a_bad_one_is_replaced(tmp_path: Path, first: list[bytes], connections: list[Endpoint]) -> None:
    """Whatever a kept connection does, the next message has its answer from a new one."""
    async with clamd(tmp_path, first, [b"1: stream: X FOUND\0"]) as address:
        assert (await asked(address, 2))[1] == b"stream: X FOUND"
    assert len(connections) == 2


async def test_it_is_asked_afresh_once(tmp_path: Path, connections: list[Endpoint]) -> None:
    """A message that closes a new connection too is the reason."""
    async with clamd(tmp_path, [b"1: stream: OK\0", b""], [b""], [b"1: stream: OK\0"]) as address:
        with pytest.raises(Lost):
            await asked(address, 2)
    assert len(connections) == 2


async def test_one_time_for_both(tmp_path: Path, connections: list[Endpoint]) -> None:
    """A kept connection that hangs uses up the message's time; there is no second try behind it."""
    async with clamd(tmp_path, [b"1: stream: OK\0", HANG]) as address:
        with pytest.raises(Lost, match=r"no answer in 0\.2 s"):
            await asked(address, 2, seconds=0.2)
    assert len(connections) == 1


async def test_old_ones_are_not_used(tmp_path: Path, connections: list[Endpoint]) -> None:
    """Ten seconds without mail, and clamd may be about to close it."""
    scripts = [[b"1: stream: OK\0", b"2: stream: OK\0"]] * 2
    async with clamd(tmp_path, *scripts) as address:
        assert await asked(address, 2, clock=Clock()) == [b"stream: OK"] * 2
    assert len(connections) == 2


async def test_nobody_listens_any_more(tmp_path: Path) -> None:
    """A kept connection is closed and no new one is taken: the engine is away."""
    async with clamd(tmp_path, [b"1: stream: OK\0"]) as address:
        sessions = Sessions(address, 5, places())
        await sessions.ask(lambda: PING)
    (tmp_path / "clamd").unlink(missing_ok=True)
    await asyncio.sleep(0.01)
    with pytest.raises(EngineAway):
        await sessions.ask(lambda: PING)


async def test_it_goes_down_with_a_message(tmp_path: Path) -> None:
    """A mail that brings clamd down over a kept connection is the reason: unscannable, not "nobody there"."""
    async with clamd(tmp_path, [b"1: stream: OK\0", HANG]) as address:
        sessions = Sessions(address, 5, places())
        await sessions.ask(lambda: PING)
        asking = asyncio.create_task(sessions.ask(lambda: PING))
        await asyncio.sleep(0.01)
        (tmp_path / "clamd").unlink()
    with pytest.raises(Lost, match="closed the connection"):
        await asking


async def test_nobody_is_left_open(tmp_path: Path) -> None:
    """With the policy that asked, its connections go."""
    async with clamd(tmp_path, [b"1: stream: OK\0"]) as address:
        sessions = Sessions(address, 5, places())
        await sessions.ask(lambda: PING)
        (kept,) = sessions._idle
        assert sessions._timer
        sessions._timer.cancel()
        del sessions
        gc.collect()
        assert kept.sock.fileno() == -1
