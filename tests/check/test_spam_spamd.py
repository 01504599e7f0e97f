"""spamd: Debian's own for what it says, fakes for what it will not do on demand."""

from pathlib import Path

import pytest

from backupmx.check.finding import Findings
from backupmx.check.spam import Score
from backupmx.check.spam_spamd import Spamd, accepted, symbols
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable
from backupmx.net.endpoint import Endpoint
from tests.check.faults import closes, engine, hangs, in_turn, says
from tests.check.messages import GTUBE, mail

NOTHING = Findings()


@pytest.mark.neighbours
class TestRealSpamd:
    @pytest.fixture
    def spamd(self, spamd_address: str) -> Spamd:
        return Spamd(Endpoint.parse(spamd_address), 30)

    async def test_ham(self, spamd: Spamd) -> None:
        """An ordinary mail hits nothing."""
        score = await spamd.score(mail(), NOTHING)
        assert (score.score, score.tests, score.version.startswith("SpamAssassin 4")) == (0.0, (), True)

    async def test_gtube(self, spamd: Spamd) -> None:
        """The line every spam filter knows."""
        score = await spamd.score(mail(GTUBE + b"\r\n"), NOTHING)
        assert (score.score, score.tests) == (1000.0, ("GTUBE",))

    async def test_tests_by_name(self, spamd: Spamd) -> None:
        """Score and names of every test that hit."""
        score = await spamd.score(mail(b"", b"Subject: an offer", standard=False), NOTHING)
        assert (round(score.score, 1), sorted(score.tests)) == (3.8, ["NO_MESSAGE_ID", "SUBJECT_OFFER"])

    async def test_user(self, spamd_address: str) -> None:
        """A user's name is passed on."""
        spamd = Spamd(Endpoint.parse(spamd_address), 30, user="nobody")
        assert "GTUBE" in (await spamd.score(mail(GTUBE + b"\r\n"), NOTHING)).tests

    async def test_too_large(self, spamd: Spamd) -> None:
        """More than 512 KiB is not sent."""
        with pytest.raises(TooLarge):
            await spamd.score(mail(b"x" * (512 << 10)), NOTHING)

    async def test_ping(self, spamd: Spamd) -> None:
        """An operator sees spamd's version."""
        assert (await spamd.ping()).startswith("SpamAssassin 4")


OK = b"SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\nSpam: True ; 1000.0 / 5.0\r\n\r\nGTUBE"
HEADERS = b"SPAMD/1.1 0 EX_OK\r\nContent-length: 9\r\n\r\nX-Spam-Checker-Version: SpamAssassin 4.0.1 (x) on h\r\n"


async def test_version_is_asked_once(tmp_path: Path) -> None:
    """The version costs one more question, once."""
    async with engine(tmp_path, in_turn(OK, HEADERS, OK)) as address:
        spamd = Spamd(address, 5)
        scores = [await spamd.score(mail(), NOTHING) for _ in range(2)]
    assert scores == [Score(1000.0, ("GTUBE",), "SpamAssassin 4.0.1")] * 2


async def test_version_is_not_needed(tmp_path: Path) -> None:
    """A score is a score, also when the version cannot be learnt just then."""
    async with engine(tmp_path, in_turn(OK, b"")) as address:
        assert await Spamd(address, 5).score(mail(), NOTHING) == Score(1000.0, ("GTUBE",), "SpamAssassin")


async def test_a_site_without_the_version_field(tmp_path: Path) -> None:
    """clear_headers in local.cf: spamd is named without a version."""
    async with engine(tmp_path, in_turn(b"SPAMD/1.1 0 EX_OK\r\n\r\n\r\n")) as address:
        assert await Spamd(address, 5).ping() == "SpamAssassin"


@pytest.mark.parametrize("behaviour", [closes, hangs, says(b"SPAMD/1.0 75 EX_TEMPFAIL\r\n"), says(b"")])
async def test_it_fails_on_this_message(tmp_path: Path, behaviour: object) -> None:
    """It took the message and has no score for it."""
    async with engine(tmp_path, behaviour) as address:  # type: ignore[arg-type]
        with pytest.raises(Unscannable):
            await Spamd(address, 0.3).score(mail(), NOTHING)


async def test_no_spamd(tmp_path: Path) -> None:
    """Nobody there, or somebody else."""
    with pytest.raises(EngineAway):
        await Spamd(Endpoint(path=str(tmp_path / "none")), 5).score(mail(), NOTHING)
    async with engine(tmp_path, says(b"220 mail ready\r\n")) as address:
        with pytest.raises(EngineAway, match="no spamd"):
            await Spamd(address, 5).score(mail(), NOTHING)


def test_accepted() -> None:
    """The answer after its first line."""
    assert accepted(b"SPAMD/1.1 0 EX_OK\r\nSpam: x") == b"Spam: x"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        (b"Spam: True ; 15.25 / 5.0\r\n\r\nA,B\r\n", (15.25, ("A", "B"))),
        (b"Spam: False ; -2.5 / 5.0\r\n\r\n", (-2.5, ())),
        (b"Content-length: 1\r\nSpam: No ; 0 / 5\r\n\r\nA", (0.0, ("A",))),
    ],
)
def test_symbols(answer: bytes, score: tuple[float, tuple[str, ...]]) -> None:
    """Score and tests of an answer."""
    assert symbols(answer) == score


@pytest.mark.parametrize(
    "answer", [b"", b"Spam: True ; nan / 5\r\n\r\n", b"Spam: maybe", b"\r\n\r\nSpam: True ; 1 / 5"]
)
def test_no_score(answer: bytes) -> None:
    """An answer without a score is none."""
    with pytest.raises(Unscannable):
        symbols(answer)
