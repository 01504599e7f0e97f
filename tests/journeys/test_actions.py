"""Journey: every action of header_checks as a client, the primary and the operator see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to
from tests.journeys.arrivals import arrived, subjects
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink

pytestmark = pytest.mark.neighbours

RULES = r"""
/^X-Do: reject5/    REJECT 5.7.9 not this one
/^X-Do: reject4/    REJECT 4.7.1 later
/^X-Do: (echo .*)/  REJECT you said $1
/^X-Do: discard/    DISCARD gone
/^X-Do: hold/       HOLD for a look
/^X-Do: redirect/   REDIRECT carol@example.jp
/^X-Do: bcc/        BCC dave@example.jp
/^X-Do: prepend/    PREPEND X-Before: it
/^X-Do: replace/    REPLACE X-Instead: of it
/^X-Do: (ignore)/   IGNORE
/^X-Do: strip/      STRIP told
/^X-Do: warn/       WARN look at this
/^X-Do: info/       INFO for your information
/^X-Do: pass/       PASS enough
/^X-Do: dunno/      DUNNO
/^X-Do:/            REJECT no rule before answered
/^X-After: (a+)+$/  REJECT never
/^X-After:/         REPLACE X-After: asked
"""


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


def test_every_action(serve: Serve, sink: SmtpSink) -> None:
    """Replies, what arrives for whom, what is held, kept or logged; later headers are asked unless an action ends it.

    A pattern that runs away costs nothing but a line in the log with its place.
    """
    mx = serve(bound_to(["example.jp"], sink.port), header_checks=RULES)

    def do(what: str, after: bytes = b"x") -> tuple[int, str]:
        sent = send(mx.port, message(what, X_Do=what, X_After="later").replace(b"later", after))
        return sent.code, "" if sent.code == 250 else sent.text

    assert do("reject5") == (550, "5.7.9 not this one")
    assert do("reject4") == (451, "4.7.1 later")
    assert do("echo me") == (550, "5.7.1 you said echo me")
    for accepted in ("discard", "hold", "redirect", "bcc", "prepend", "replace", "ignore", "strip", "warn", "info",
                     "pass", "dunno"):  # fmt: skip
        assert do(accepted) == (250, "")
    assert do("dunno runaway", b"a" * 5000 + b"b") == (250, "")

    for what, fields in {
        "prepend": {"X-Before": ["it"], "X-Do": ["prepend"]}, "replace": {"X-Instead": ["of it"], "X-Do": []},
        "ignore": {"X-Do": []}, "strip": {"X-Do": []}, "warn": {"X-Do": ["warn"]}, "info": {"X-Do": ["info"]},
        "dunno": {"X-Do": ["dunno"]}, "dunno runaway": {"X-Do": ["dunno runaway"]},
    }.items():  # fmt: skip
        mail = arrived(sink, what)
        assert {name: mail.values(name) for name in fields} == fields
        assert (mail.values("X-After"), mail.recipients) == (["asked"], ["bob@example.jp"])
    assert (arrived(sink, "pass").values("X-After"), arrived(sink, "redirect").values("X-After")) == (["x"], ["x"])
    assert arrived(sink, "redirect").recipients == ["carol@example.jp"]
    eventually(lambda: len(mx.queue()) == 1)
    assert sorted(r for m in sink.messages() if m.values("Subject") == ["bcc"] for r in m.recipients) == [
        "bob@example.jp", "dave@example.jp",
    ]  # fmt: skip

    assert [entry["reason"].rpartition("/")[2] for entry in mx.quarantine()] == ["header_checks:5"]
    (held,) = mx.queue()
    assert held["queue_name"] == "hold"
    assert "hold" not in subjects(sink)
    assert mx.cli("queue", "release", held["queue_id"]).returncode == 0
    assert arrived(sink, "hold").values("X-After") == ["asked"]
    for line in (
        r"discard: header X-Do: discard .*: gone \[\S+:5\]", r"strip: header X-Do: strip .*: told \[\S+:12\]",
        r"warning: header X-Do: warn .*: look at this \[\S+:13\]", r"info: header X-Do: info .*: for your information ",
        r"warning: \S+/header_checks:18: .*match limit.*: counts as no match",
    ):  # fmt: skip
        mx.logged(line)
    assert "ignore: header" not in mx.log
