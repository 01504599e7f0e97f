"""X-Spam-* in SpamAssassin's own shape."""

import asyncio
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.finding import Findings, Mail, Seen
from backupmx.check.spam import Score, Spam, judged, threshold
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable
from backupmx.mail.envelope import Envelope, Recipient
from tests.check.messages import CLIENT, mail

HOST = "mx2.example.net"


def test_ham() -> None:
    """Below the threshold: No, and no flag."""
    finding = judged(Score(4.26, ("HTML_MESSAGE", "MISSING_MID"), "SpamAssassin 4.0.1"), 17.0, HOST, "spamd")
    assert finding.seen is Seen.CLEAN
    assert finding.fields == (
        b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on mx2.example.net",
        b"X-Spam-Level: ****",
        b"X-Spam-Status: No, score=4.2 required=17.0 tests=HTML_MESSAGE,MISSING_MID",
    )


def test_spam() -> None:
    """At the threshold: Yes, and the flag."""
    finding = judged(Score(17.0, ("GTUBE",), "SpamAssassin"), 17.0, HOST, "spamd")
    assert finding.seen is Seen.FOUND
    assert finding.fields[1:] == (
        b"X-Spam-Level: *****************",
        b"X-Spam-Status: Yes, score=17.0 required=17.0 tests=GTUBE",
        b"X-Spam-Flag: YES",
    )


@pytest.mark.parametrize(
    ("score", "level", "shown"), [(16.99, 16, "16.9"), (-3.2, 0, "-3.2"), (0.0, 0, "0.0"), (0.3, 0, "0.3")]
)
def test_no_score_looks_like_the_threshold(score: float, level: int, shown: str) -> None:
    """No reader sees "No, score=17.0 required=17.0"."""
    finding = judged(Score(score, (), "x"), 17.0, HOST, "spamd")
    assert finding.fields[1] == b"X-Spam-Level:" + (b" " + b"*" * level if level else b"")
    assert finding.fields[2] == f"X-Spam-Status: No, score={shown} required=17.0 tests=none".encode()


def test_stars_end() -> None:
    """GTUBE's thousand points are fifty stars."""
    assert judged(Score(1000, (), "x"), 5, HOST, "spamd").fields[1] == b"X-Spam-Level: " + b"*" * 50


def test_many_tests_fold() -> None:
    """Tests fold after a comma; no line passes 78."""
    tests = tuple(f"TEST_NUMBER_{n}" for n in range(40))
    status = judged(Score(1, tests, "x"), 5, HOST, "spamd").fields[2]
    assert max(len(line) for line in status.split(b"\n")) <= 78
    assert re.sub(rb"\n\t", b"", status).endswith(",".join(tests).encode())


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.lists(st.text(max_size=30)), st.text(max_size=30))
def test_any_answer_is_a_clean_field(score: float, tests: list[str], version: str) -> None:
    """Whatever an engine answers, no field holds a control byte or a fold of its own."""
    for field in judged(Score(score, tuple(tests), version), 17.0, HOST, "spamd").fields:
        assert re.fullmatch(rb"[\x20-\x7e]+(\n\t[\x21-\x7e]+)*", field)


class Engine:
    name = "spamd"
    largest = 1000

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.asked = 0

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        self.asked += 1
        await asyncio.sleep(0)
        if self._error:
            raise self._error
        return Score(5.0, ("A",), "x")

    def depends_on(self, mail: Mail) -> str:
        return mail.client.address

    async def ping(self) -> str:
        return "x"


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (EngineAway("refused"), Seen.AWAY),
        (Unscannable("slow"), Seen.UNSCANNABLE),
        (TooLarge("600000 octets"), Seen.SKIPPED),
    ],
)
async def test_no_answer(error: Exception, seen: Seen) -> None:
    """Without an answer there are no fields: neither Yes nor No."""
    finding = await Spam(Engine(error), 17.0, HOST).look(mail(), Findings())
    assert (finding.seen, finding.detail, finding.fields) == (seen, str(error), ())


async def test_a_flood_of_one_message() -> None:
    """Fifty copies from one client cost one question; from another client it is another message."""
    engine = Engine()
    spam = Spam(engine, 17.0, HOST)
    found = await asyncio.gather(*(spam.look(mail(), Findings()) for _ in range(50)))
    assert sum("remembered" in f.detail for f in found) == 49
    await spam.look(mail(client=replace(CLIENT, address="192.0.2.2")), Findings())
    assert engine.asked == 2


async def test_larger_than_it_looks_at() -> None:
    """What is too large for the engine is not even hashed: skipped."""
    finding = await Spam(Engine(), 17.0, HOST).look(mail(b"x" * 1000), Findings())
    assert (finding.seen, finding.detail) == (Seen.SKIPPED, "1141 octets, spamd gets at most 1000")


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [
        (["a@Example.JP"], 10.0),
        (["a@example.net"], 17.0),
        (["a@example.jp", "b@example.org"], 20.0),
        (["a@example.jp", "b@example.net"], 17.0),
        ([], 17.0),
    ],
)
def test_thresholds_of_domains(recipients: list[str], expected: float) -> None:
    """A domain's own threshold; of several the highest, so that nobody loses mail to another one's strictness."""
    assert threshold(recipients, 17.0, {"example.jp": 10.0, "example.org": 20.0}) == expected


async def test_a_domain_that_is_strict() -> None:
    """X-Spam-Status names the threshold that counted."""
    spam = Spam(Engine(), 17.0, HOST, required_for={"strict.test": 5.0})
    strict = replace(mail(), envelope=Envelope("a@sender.test", (Recipient("b@strict.test"),)))
    finding = await spam.look(strict, Findings())
    assert finding.fields[-2:] == (b"X-Spam-Status: Yes, score=5.0 required=5.0 tests=A", b"X-Spam-Flag: YES")


def test_a_certain_engine() -> None:
    """What an engine was told to refuse is spam whatever its score."""
    finding = judged(Score(0.5, ("GTUBE",), "rspamd 3.4", certain=True, action="reject"), 17.0, HOST, "rspamd")
    assert (finding.seen, finding.fields[-1]) == (Seen.FOUND, b"X-Spam-Flag: YES")
    assert finding.detail == "score 0.5 of 17.0: GTUBE, action reject"
