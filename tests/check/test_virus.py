"""Several engines, one finding."""

import pytest

from backupmx.check.finding import Seen
from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.virus import Look, Scan, Virus, combined
from backupmx.mail.message import Message
from tests.check.messages import mail

HOST = "mx2.example.net"


class Engine:
    """Says what it was told to say."""

    def __init__(self, name: str, answer: Scan | Exception) -> None:
        self.name = name
        self._answer = answer

    async def scan(self, message: Message) -> Scan:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

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
