"""Several engines, one finding."""

import asyncio
from dataclasses import replace

import pytest

from backupmx.check.finding import Seen
from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.virus import Look, Scan, Virus, combined
from backupmx.journal import Journal
from backupmx.mail.message import Message
from tests.check.messages import mail
from tests.check.signing import with_headers

HOST = "mx2.example.net"


class Engine:
    """Says what it was told to say."""

    def __init__(self, name: str, answer: Scan | Exception) -> None:
        self.name = name
        self.too_old = ""
        self.version = "1"
        self.asked = 0
        self._answer = answer

    async def scan(self, message: Message) -> Scan:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def signatures(self) -> str:
        return self.version

    async def ping(self) -> str:
        return self.name


CLEAN = Scan("", "One 1.0")
HIT = Scan("Eicar", "Two 2.0")


@pytest.mark.parametrize(
    ("answers", "seen", "engine", "fields"),
    [
        ([CLEAN], Seen.CLEAN, "a", (b"X-Virus-Scanned: One 1.0 on mx2.example.net", b"X-Virus-Status: Clean")),
        (
            [CLEAN, HIT],
            Seen.FOUND,
            "b",
            (b"X-Virus-Scanned: One 1.0 + Two 2.0 on mx2.example.net", b"X-Virus-Status: Yes (Eicar)"),
        ),
        (
            [HIT, Scan("Other", "x")],
            Seen.FOUND,
            "a",
            (b"X-Virus-Scanned: Two 2.0 + x on mx2.example.net", b"X-Virus-Status: Yes (Eicar)"),
        ),
        (
            [EngineAway("gone"), HIT],
            Seen.FOUND,
            "b",
            (b"X-Virus-Scanned: Two 2.0 on mx2.example.net", b"X-Virus-Status: Yes (Eicar)"),
        ),
        ([EngineAway("gone"), CLEAN], Seen.AWAY, "a", ()),
        ([CLEAN, Unscannable("slow")], Seen.UNSCANNABLE, "b", ()),
        ([EngineAway("gone"), Unscannable("slow")], Seen.UNSCANNABLE, "b", ()),
        (
            [CLEAN, CLEAN],
            Seen.CLEAN,
            "a+b",
            (b"X-Virus-Scanned: One 1.0 + One 1.0 on mx2.example.net", b"X-Virus-Status: Clean"),
        ),
    ],
)
async def test_engines(answers: list[Scan | Exception], seen: Seen, engine: str, fields: tuple[bytes, ...]) -> None:
    """The first hit wins; Clean is said only when every engine said so."""
    engines = [Engine(name, answer) for name, answer in zip("ab", answers, strict=False)]
    finding = await Virus(engines, HOST).look(mail())
    assert (finding.check, finding.seen, finding.engine, finding.fields) == ("virus", seen, engine, fields)


def test_a_hostile_signature_name() -> None:
    """What an engine calls a virus cannot become another header."""
    finding = combined([Look("clamd", Seen.FOUND, "?", "ClamAV\r\nX-Spam-Flag: YES")], HOST)
    assert b"\r" not in b"".join(finding.fields)
    assert b"\n" not in b"".join(finding.fields)


async def test_a_flood_of_one_message() -> None:
    """A hundred copies at once and one later, each with a Received of its own, cost one scan; the finding says so."""
    engine = Engine("clamd", HIT)
    virus = Virus([engine], HOST)
    copies = [replace(with_headers(mail(), b"Received: by us; %d" % n), own=1) for n in range(100)]
    found = await asyncio.gather(*(virus.look(copy) for copy in copies))
    later = await virus.look(copies[0])
    assert engine.asked == 1
    assert [f.detail for f in found].count("Eicar, remembered") == 99
    assert (later.detail, later.fields[1]) == ("Eicar, remembered", b"X-Virus-Status: Yes (Eicar)")


async def test_new_signatures_forget() -> None:
    """Other signatures, or one octet that is not the same: it is scanned again."""
    engine = Engine("clamd", CLEAN)
    virus = Virus([engine], HOST)
    await virus.look(mail())
    engine.version = "2"
    await virus.look(mail())
    await virus.look(mail(b"Hellp\r\n"))
    assert engine.asked == 3


async def test_trouble_is_not_remembered() -> None:
    """A message that could not be scanned is tried again the next time it comes."""
    engine = Engine("clamd", Unscannable("slow"))
    virus = Virus([engine], HOST)
    assert [(await virus.look(mail())).seen for _ in range(2)] == [Seen.UNSCANNABLE] * 2
    assert engine.asked == 2


async def test_old_signatures_are_told_once_a_day() -> None:
    """One line in the log, however many messages come."""
    lines: list[bytes] = []
    engine = Engine("clamd", CLEAN)
    engine.too_old = "signatures of 2026-11-01, older than checks.virus.max_age"
    virus = Virus([engine], HOST, Journal(sink=lines.append))
    for _ in range(3):
        await virus.look(mail())
    assert [line.partition(b"warning: ")[2] for line in lines] == [f"clamd: {engine.too_old}\n".encode()]
