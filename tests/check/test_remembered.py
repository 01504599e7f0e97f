"""What was said of the same message a few minutes ago."""

import asyncio
import hashlib
from dataclasses import replace

import pytest

from backupmx.check.remembered import Remembered, digest, digest_of
from tests.check.messages import mail
from tests.check.signing import with_body, with_headers


class Asked:
    """Counts how often it is asked; answers when it may."""

    def __init__(self, answer: object = "clean") -> None:
        self.times = 0
        self.cancelled = 0
        self.may = asyncio.Event()
        self._answer = answer

    async def __call__(self) -> str:
        self.times += 1
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self._answer, Exception):
            raise self._answer
        return str(self._answer)


async def test_for_a_while() -> None:
    """An answer holds for its time and no longer."""
    now = [0.0]
    remembered: Remembered[str] = Remembered(300, clock=lambda: now[0])
    ask = Asked()
    ask.may.set()
    said = []
    for now[0] in (0.0, 299.0, 300.0, 301.0):
        said.append(await remembered.get("k", ask))
    assert said == [("clean", False), ("clean", True), ("clean", False), ("clean", True)]


async def test_the_oldest_goes() -> None:
    """Memory is bounded; what nobody asked for the longest goes first."""
    remembered: Remembered[str] = Remembered(300, most=2)
    ask = Asked()
    ask.may.set()
    for key in "abacabcb":
        await remembered.get(key, ask)
    assert ask.times == 5


async def test_at_once() -> None:
    """Those who ask the same at the same time share one question."""
    remembered: Remembered[str] = Remembered(300)
    ask = Asked()
    asking = [asyncio.ensure_future(remembered.get("k", ask)) for _ in range(10)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    ask.may.set()
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert (ask.times, ask.cancelled, said[1:]) == (1, 0, [("clean", True)] * 9)


async def test_when_nobody_waits_any_more() -> None:
    """A question whose askers are all gone is given up, and does not spoil the next one's."""
    remembered: Remembered[str] = Remembered(300)
    first, second = Asked("old"), Asked("new")
    asking = [asyncio.ensure_future(remembered.get("k", first)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.sleep(0)
    second.may.set()
    assert await remembered.get("k", second) == ("new", False)
    await asyncio.gather(*asking, return_exceptions=True)
    assert (first.cancelled, first.times) == (1, 1)


async def test_trouble_is_shared_and_not_kept() -> None:
    """All who asked at once hear of it; the next one asks again."""
    remembered: Remembered[str] = Remembered(300)
    ask = Asked(ValueError("x"))
    ask.may.set()
    said = await asyncio.gather(*(remembered.get("k", ask) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in said] == ["x"] * 3
    with pytest.raises(ValueError, match="x"):
        await remembered.get("k", ask)
    assert ask.times == 2


async def test_digest() -> None:
    """Of what the client sent: our own Received aside, every octet counts, however it lies in memory."""
    ours = replace(with_headers(mail(b"Hello\r\n"), b"Received: ours"), own=1)
    pieces = with_body(mail(), b"Hel", memoryview(b"lo\r\n"))
    expected = hashlib.sha256(b"".join(mail(b"Hello\r\n").message.chunks())).digest()
    assert {digest_of(ours), await digest(pieces), digest_of(mail(b"Hello\r\n"))} == {expected}
    assert digest_of(mail(b"Hellp\r\n")) != expected
    assert digest_of(replace(ours, own=0)) != expected
    large = mail(b"x" * 300_000)
    assert await digest(large) == digest_of(large)
