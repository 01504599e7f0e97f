"""X-Spam-* in SpamAssassin's own shape."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupmx.check.finding import Findings, Mail, Seen
from backupmx.check.spam import Score, Spam, judged
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable
from tests.check.messages import mail

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

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        raise self._error

    async def ping(self) -> str:
        raise self._error


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
