"""Asking a primary while a client waits: what it costs the primary, and what is learnt."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backupmx.journal import Journal
from backupmx.mail.reply import Reply
from backupmx.recipients.probe import Heard, ProbeTrouble
from backupmx.recipients.standing import Taught
from backupmx.recipients.store import ASKED_APART, Store
from backupmx.recipients.verify import Verify, VerifySettings, Word

HOP = "smtp:[primary]"
TAKEN, UNKNOWN = Reply(250, "2.1.5", "Ok"), Reply(550, "5.1.1", "User unknown")
BUSY, BLOCKED = Reply(450, "4.2.1", "busy"), Reply(550, "5.7.1", "you are on a list")


class Primary:
    """It knows what it is told; `gate` closed: it lets everybody wait."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.other = UNKNOWN
        self.asked: list[str] = []
        self.strangers = 0
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, address: str, next_hop: str, *, stranger: bool) -> Heard:
        self.asked.append(address)
        self.came.put_nowait(address)
        await self.gate.wait()
        if next_hop != HOP:
            raise ProbeTrouble("nobody there")
        reply = self.replies.get(address.lower(), self.other)
        self.strangers += stranger and reply.code < 300
        return Heard("primary[192.0.2.1]", reply, self.other if stranger and reply.code < 300 else None)


class Scene:
    def __init__(self, path: Path) -> None:
        self.now = 1_800_000_000.0
        self.path = path
        self.primary = Primary()
        self.store = Store(path)
        self.log: list[bytes] = []
        self.verify = self.worker()

    def worker(self, **settings: float) -> Verify:
        journal = Journal(sink=self.log.append, stamped=False)
        return Verify(Store(self.path), self.primary, VerifySettings(**settings), journal, lambda: self.now)

    def word(self, address: str) -> Taught | None:
        return self.store.find((address,), ()).taught


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path / "recipients.db")
    yield scene
    await scene.verify.close()


@pytest.mark.parametrize(
    ("reply", "word"), [(TAKEN, Word.EXISTS), (UNKNOWN, Word.UNKNOWN), (BUSY, Word.SILENT), (BLOCKED, Word.SILENT)]
)
async def test_what_is_learnt(scene: Scene, reply: Reply, word: Word) -> None:
    """A yes and an unknown user are remembered; a 4xx or another 5xx says nothing.  Asked is as the client wrote."""
    scene.primary.replies["a@example.jp"] = reply
    assert await scene.verify.ask("A@Example.JP", HOP) is word
    assert scene.primary.asked == ["A@Example.JP"]
    learnt = scene.word("a@example.jp")
    assert (learnt is not None) is (word is not Word.SILENT)
    assert learnt is None or learnt.exists is (word is Word.EXISTS)


async def test_a_yes_is_not_undone_by_trouble(scene: Scene) -> None:
    """A primary that blocks us, is busy or gone teaches nothing."""
    scene.store.teach({"a@example.jp": Taught(True, scene.now - 8 * 86400)})
    for reply in (BUSY, BLOCKED):
        scene.primary.replies["a@example.jp"] = reply
        await scene.verify.ask("a@example.jp", HOP)
        scene.now += ASKED_APART
    await scene.verify.ask("a@example.jp", "smtp:[elsewhere]")
    known = scene.word("a@example.jp")
    assert known is not None
    assert known.exists


async def test_one_question_an_address_at_a_time(scene: Scene) -> None:
    """Clients that wait for the same address share one question."""
    scene.primary.gate.clear()
    asking = [asyncio.create_task(scene.verify.ask("a@example.jp", HOP)) for _ in range(5)]
    await scene.primary.came.get()
    scene.primary.gate.set()
    assert await asyncio.gather(*asking) == [Word.UNKNOWN] * 5
    assert scene.primary.asked == ["a@example.jp"]


async def test_a_client_that_leaves(scene: Scene) -> None:
    """Its question goes on, for others who wait and for the next time."""
    scene.primary.gate.clear()
    first = asyncio.create_task(scene.verify.ask("a@example.jp", HOP))
    await scene.primary.came.get()
    second = asyncio.create_task(scene.verify.ask("a@example.jp", HOP))
    await asyncio.sleep(0)
    first.cancel()
    scene.primary.gate.set()
    assert await second is Word.UNKNOWN


async def test_a_slow_primary(scene: Scene) -> None:
    """The client is put off; the answer that comes later is there for its next try."""
    scene.verify.settings = VerifySettings(wait=0.01)
    scene.primary.gate.clear()
    assert await scene.verify.ask("a@example.jp", HOP) is Word.SILENT
    scene.primary.gate.set()
    scene.verify.settings = VerifySettings()
    assert await scene.verify.ask("a@example.jp", HOP) is Word.UNKNOWN
    assert len(scene.primary.asked) == 1


async def test_a_thousand_seconds(scene: Scene) -> None:
    """Without an answer an address is asked about once in 1000 seconds, by all workers together."""
    scene.primary.replies["a@example.jp"] = BUSY
    other = scene.worker()
    for verify in (scene.verify, other, scene.verify):
        assert await verify.ask("a@example.jp", HOP) is Word.SILENT
    assert len(scene.primary.asked) == 1
    scene.now += ASKED_APART
    assert await other.ask("a@example.jp", HOP) is Word.SILENT
    assert len(scene.primary.asked) == 2
    await other.close()


async def test_a_dictionary(scene: Scene) -> None:
    """Ten thousand random names cost the primary a minute's allowance, over all workers, and what a minute adds."""
    other = scene.worker(a_minute=30)
    scene.verify.settings = VerifySettings(a_minute=30)
    for number in range(10_000):
        verify = other if number % 2 else scene.verify
        await verify.ask(f"u{number}@example.jp", HOP)
        scene.now += 0.006
    assert 30 <= len(scene.primary.asked) <= 30 + 30 + 1
    assert any(b"recipients.probe_rate" in line for line in scene.log)
    await other.close()


async def test_at_once(scene: Scene) -> None:
    """A primary that lets us wait has ten connections of one worker and no more."""
    scene.primary.gate.clear()
    asking = [asyncio.create_task(scene.verify.ask(f"u{n}@example.jp", HOP)) for n in range(50)]
    for _ in range(10):
        await scene.primary.came.get()
    scene.primary.gate.set()
    words = await asyncio.gather(*asking)
    assert (words.count(Word.UNKNOWN), words.count(Word.SILENT)) == (10, 40)


async def test_a_catch_all(scene: Scene) -> None:
    """A domain that takes a random name is known to take any, for its next addresses too."""
    scene.primary.other = TAKEN
    assert await scene.verify.ask("a@example.jp", HOP) is Word.EXISTS
    assert scene.word("@example.jp") == Taught(True, scene.now, whole=True)


async def test_no_catch_all(scene: Scene) -> None:
    """One that refuses it is not tried so again for an hour."""
    for n in range(5):
        scene.primary.replies[f"u{n}@example.jp"] = TAKEN
        assert await scene.verify.ask(f"u{n}@example.jp", HOP) is Word.EXISTS
    assert scene.primary.strangers == 1
    assert scene.word("@example.jp") is None


async def test_no_catch_all_any_more(scene: Scene) -> None:
    """The first address that is refused ends what was known of the whole domain; a 450 does not."""
    scene.store.teach({"@example.jp": Taught(True, scene.now - 86401, whole=True)})
    scene.primary.replies["a@example.jp"] = BUSY
    await scene.verify.ask("a@example.jp", HOP)
    assert scene.word("@example.jp") is not None
    await scene.verify.ask("b@example.jp", HOP)
    assert scene.word("@example.jp") is None


async def test_no_store(scene: Scene, tmp_path: Path) -> None:
    """Without the count that protects the primary nobody asks it."""
    (tmp_path / "no").mkdir()
    verify = Verify(Store(tmp_path / "no"), scene.primary, VerifySettings(), Journal(sink=scene.log.append))
    assert await verify.ask("a@example.jp", HOP) is Word.SILENT
    assert scene.primary.asked == []
    assert b"recipients:" in scene.log[0]
    await verify.close()
