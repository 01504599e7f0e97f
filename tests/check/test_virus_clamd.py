"""clamd: Debian's own for what it says, fakes for what it will not do on demand."""

import asyncio
from pathlib import Path

import pytest

from backupmx.check.trouble import EngineAway, Unscannable
from backupmx.check.virus import Scan
from backupmx.check.virus_clamd import Clamd, Stats, database_time, signature, stats, too_old
from backupmx.mail.message import Message
from backupmx.net.endpoint import Endpoint
from tests.check.conftest import Key
from tests.check.faults import closes, engine, hangs, in_turn, says
from tests.check.messages import EICAR, MIXED, attached, mail
from tests.check.signing import sealed, signed
from tests.neighbours.clamd import STREAM_MAX


@pytest.mark.neighbours
class TestRealClamd:
    async def test_clean(self, clamd: Clamd) -> None:
        """An ordinary mail is clean, and clamd says which version looked."""
        scan = await clamd.scan(mail().message)
        assert (scan.signature, scan.version.startswith("ClamAV 1")) == ("", True)

    async def test_eicar(self, clamd: Clamd) -> None:
        """EICAR is found, bare and in an attachment."""
        for content in (mail(EICAR), mail(attached(EICAR), MIXED)):
            assert (await clamd.scan(content.message)).signature == "Eicar-Test-Signature.UNOFFICIAL"

    async def test_views_of_a_spooled_file(self, clamd: Clamd) -> None:
        """A body in several slices, some of them empty, is scanned as one."""
        body = (b"\r\n", memoryview(attached(b"\0" * 400_000)), b"", memoryview(attached(EICAR)))
        scan = await clamd.scan(Message((MIXED, *mail().message.headers), body))
        assert scan.signature == "Eicar-Test-Signature.UNOFFICIAL"

    async def test_whatever_its_first_headers_are(self, clamd: Clamd, key: Key) -> None:
        """clamd knows mail by how it begins; signatures on top must not hide an attachment."""
        sample = signed(sealed(mail(attached(EICAR), MIXED), key.private), key.private)
        assert (await clamd.scan(sample.message)).signature == "Eicar-Test-Signature.UNOFFICIAL"

    async def test_no_content(self, clamd: Clamd) -> None:
        """A message without header and body is clean."""
        assert (await clamd.scan(Message(()))).signature == ""

    @pytest.mark.parametrize("size", [STREAM_MAX + 1, 20 << 20])
    async def test_larger_than_clamd_takes(self, clamd: Clamd, size: int) -> None:
        """StreamMaxLength is a limit of the engine: the message is not scanned, the engine not away."""
        with pytest.raises(Unscannable, match="size limit exceeded"):
            await clamd.scan(mail(b"x" * size).message)

    async def test_a_flood(self, clamd: Clamd) -> None:
        """Two hundred messages at once all get their answer."""
        scans = await asyncio.gather(*(clamd.scan(mail(EICAR).message) for _ in range(200)))
        assert {scan.signature for scan in scans} == {"Eicar-Test-Signature.UNOFFICIAL"}

    async def test_ping(self, clamd: Clamd) -> None:
        """An operator sees clamd's version."""
        assert (await clamd.ping()).startswith("ClamAV 1")

    async def test_how_much_it_takes(self, clamd: Clamd) -> None:
        """Its StreamMaxLength is found out without sending a message, and how busy it is."""
        assert [await clamd.takes(size) for size in (STREAM_MAX, STREAM_MAX + 1)] == [True, False]
        told = await clamd.stats()
        assert told is not None
        assert (told.queue, told.most_threads, told.signatures_mb > 0) == (0, 4, True)


VERSION = b"ClamAV 1.4.6/27815/Mon Nov 23 08:00:00 2026\0"


async def test_version_is_remembered(tmp_path: Path) -> None:
    """VERSION is asked once a minute, not for each message."""
    now = [0.0]
    answers = in_turn(VERSION, b"stream: OK\0", b"stream: OK\0", b"ClamAV 1.5.0\0", b"stream: OK\0")
    async with engine(tmp_path, answers) as address:
        clamd = Clamd(address, 5, clock=lambda: now[0])
        versions = []
        for now[0] in (0.0, 59.0, 61.0):
            versions.append((await clamd.scan(mail().message)).version)
    assert versions == ["ClamAV 1.4.6/27815", "ClamAV 1.4.6/27815", "ClamAV 1.5.0"]


@pytest.mark.parametrize("behaviour", [closes, hangs, says(b"220 mail ready\r\n\0"), says(b"")])
async def test_no_clamd_behind_the_socket(tmp_path: Path, behaviour: object) -> None:
    """Something else answers there, or nothing does: the engine is away, no message is to blame."""
    async with engine(tmp_path, behaviour) as address:  # type: ignore[arg-type]
        with pytest.raises(EngineAway):
            await Clamd(address, 0.3).scan(mail().message)


async def test_nobody_listens(tmp_path: Path) -> None:
    """A socket that is not there: away."""
    with pytest.raises(EngineAway, match="No such file"):
        await Clamd(Endpoint(path=str(tmp_path / "clamd")), 5).scan(mail().message)


async def test_it_dies_while_scanning(tmp_path: Path) -> None:
    """clamd took the message and went away: this message may be the reason."""
    async with engine(tmp_path, in_turn(VERSION, b"")) as address:
        with pytest.raises(Unscannable):
            await Clamd(address, 5).scan(mail().message)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"stream: OK", ""),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND", "Win.Test.EICAR_HDB-1"),
        (b"stream: odd name (x) FOUND", "odd name (x)"),
        (b"stream: bad\x1b[31m\xff FOUND", "bad?[31m?"),
    ],
)
def test_signature(answer: bytes, name: str) -> None:
    """clamd's answers, cleaned of control bytes."""
    assert signature(answer) == name


@pytest.mark.parametrize(
    "answer",
    [
        b"INSTREAM size limit exceeded. ERROR",
        b"stream: Can't allocate memory ERROR",
        b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND",
    ],
)
def test_unscannable(answer: bytes) -> None:
    """Errors and exceeded limits are not "clean" and not a virus."""
    with pytest.raises(Unscannable):
        signature(answer)


def test_nonsense() -> None:
    """An answer of no clamd."""
    with pytest.raises(EngineAway):
        signature(b"HTTP/1.1 400 Bad Request")


async def test_old_signatures(tmp_path: Path) -> None:
    """clamd tells when its signatures were made; too old ones are named to whoever asks."""
    made = database_time(VERSION[:-1])
    assert made is not None
    async with engine(tmp_path, in_turn(VERSION, VERSION)) as address:
        for age, remark in (
            (86400.0, ""),
            (4 * 86400.0, "signatures of 2026-11-23, older than checks.virus.max_age"),
        ):
            clamd = Clamd(address, 5, max_age=3 * 86400.0, now=lambda age=age: made + age)  # type: ignore[misc]
            assert (await clamd.ping(), clamd.too_old) == ("ClamAV 1.4.6/27815", remark)


async def test_a_version_that_is_not_told(tmp_path: Path) -> None:
    """EnableVersionCommand no: it is clamd all the same."""
    async with engine(tmp_path, says(b"COMMAND UNAVAILABLE\0")) as address:
        clamd = Clamd(address, 5, max_age=1.0)
        assert (await clamd.ping(), clamd.too_old, await clamd.stats()) == ("ClamAV", "", None)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"POOLS: 1\n\nSTATE: VALID PRIMARY\nTHREADS: live 3  idle 1 max 10 idle-timeout 30\nQUEUE: 7 items\n"
         b"\n\nMEMSTATS: heap N/A mmap N/A used N/A free N/A releasable N/A pools 1 pools_used 1305.837M pools_total"
         b" 1305.882M\nEND", Stats(7, 3, 10, 1305.837)),
        (b"THREADS: live 1 idle 0 max 4\nQUEUE: 1 items\nTHREADS: live 1 idle 0 max 4\nQUEUE: 2 items\nEND",
         Stats(3, 2, 8, 0.0)),
        (b"COMMAND UNAVAILABLE", None),
        (b"", None),
    ],
)  # fmt: skip
def test_statistics(answer: bytes, told: Stats | None) -> None:
    """How busy it is, of all its pools together."""
    assert stats(answer) == told


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"ClamAV 1.4.6",
        b"ClamAV 1.4.6/1/yesterday",
        b"ClamAV 1.4.6/1/Mon Nov 99 08:00:00 9999",
        b"ClamAV 1.4.6/1/Mon Nox 23 08:00:00 2026",
        b"ClamAV 1.4.6/1/Mon Nov 23 08:00:00 2026/",
    ],
)
def test_an_age_nobody_knows(answer: bytes) -> None:
    """A site with signatures of its own only has no date: that is no warning."""
    assert isinstance(too_old(answer, 1e10, 0.0), str)
    assert too_old(answer, 0.0, 86400.0) == ""


def test_scan_is_a_value() -> None:
    """Two scans that say the same are the same."""
    assert Scan("", "x") == Scan("", "x")
