"""Each comparison of the demo is turned false once: a check that cannot fail shows nothing."""

import pytest

from backupmx.operate.demo.arrival import differences, value_of
from backupmx.operate.demo.primary import Received
from backupmx.operate.demo.sample_step import OWN, compare_arrival, compare_findings, compare_rules, compare_verdict
from backupmx.operate.demo.samples import OWNER, SAMPLES, content, line_of
from backupmx.operate.demo.step import Step

BY_FILE = {s.file: s for s in SAMPLES}
SENT = b"X-Spam-Level: **\r\n\t**\r\nFrom: a@b.example\r\nSubject: s\r\n\tfolded\r\n\r\nbody\r\n"
TOP = b"Received: from x by y (backupmx)\r\n\tid Q1; now\r\nAuthentication-Results: y;\r\n\tspf=pass\r\n"
LEFT = b"From: a@b.example\r\nSubject: s\r\n\tfolded\r\n\r\nbody\r\n"


def test_arrived_as_it_should() -> None:
    """Our fields on top, the removed header gone, every other byte as sent: no difference."""
    assert differences(SENT, TOP + LEFT, removed=["x-spam-level"], own=OWN) == []


@pytest.mark.parametrize(
    ("received", "removed"),
    [
        (TOP + LEFT, []),  # a header is missing that nobody removed
        (TOP + SENT, ["X-Spam-Level"]),  # one is there that should be gone
        (LEFT, ["X-Spam-Level"]),  # no Received of ours
        (TOP + TOP + LEFT, ["X-Spam-Level"]),  # twice
        (TOP + b"X-Spam-Status: No\r\n" + LEFT, ["X-Spam-Level"]),  # our own mark came through
        (TOP + LEFT.replace(b"\tfolded", b" folded"), ["X-Spam-Level"]),  # a fold was touched
        (TOP + LEFT.replace(b"body", b"Body"), ["X-Spam-Level"]),
        (TOP + LEFT + b"more\r\n", ["X-Spam-Level"]),
        (TOP + b"\r\nbody\r\n", ["X-Spam-Level"]),  # all headers lost
        (b"", ["X-Spam-Level"]),
    ],
)
def test_differences_are_seen(received: bytes, removed: list[str]) -> None:
    """Whatever is not as it should be is said."""
    assert differences(SENT, received, removed=removed, own=OWN)


def test_value_is_unfolded() -> None:
    """A header's value is found whatever its case and folds."""
    assert value_of(TOP + LEFT, "authentication-results") == "y; spf=pass"
    assert value_of(TOP + LEFT, "X-None") == ""


def found(check: str, seen: str, detail: str = "d") -> dict[str, str]:
    return {"event": "found", "check": check, "seen": seen, "engine": "e", "detail": detail}


def passed(spf: str = "pass (sender.example)") -> list[dict[str, str]]:
    return [found("spf", "neutral", spf), found("dkim", "neutral", "none"), found("dmarc", "neutral", "pass (x)")]


@pytest.mark.parametrize(
    ("file", "events", "ok"),
    [
        ("clean.eml", [found("virus", "clean"), found("spam", "clean"), *passed()], True),
        ("clean.eml", [found("virus", "clean"), found("spam", "clean"), *passed(spf="fail (x)")], False),
        ("clean.eml", [found("virus", "clean"), found("spam", "clean")], False),  # SPF was not asked
        ("clean.eml", [found("virus", "clean"), *passed()], False),  # a check did not look
        ("clean.eml", [found("virus", "away"), found("spam", "clean"), *passed()], False),
        ("gtube.eml", [found("virus", "clean"), found("spam", "clean"), *passed(spf="fail (x)")], False),
        ("from-empty.eml", [], True),
        ("from-empty.eml", [found("virus", "clean")], False),  # a check was asked after a rule had settled it
    ],
)
def test_findings(file: str, events: list[dict[str, str]], ok: bool) -> None:
    """What the checks saw must be what the sample expects of each of them."""
    step = Step("t")
    same = [{"check": e["check"], "seen": e["seen"]} for e in events]
    compare_findings(BY_FILE[file], events, {"findings": same}, step)
    assert ok == step.ok


def test_explain_must_find_what_the_appliance_found() -> None:
    """A check that `backupmx explain` sees otherwise than the appliance did is said."""
    step = Step("t")
    events = [found("virus", "clean"), found("spam", "clean"), *passed()]
    compare_findings(BY_FILE["clean.eml"], events, {"findings": [{"check": "virus", "seen": "found"}]}, step)
    assert not step.ok


TABLE = """# comment
/^From:\\s*<>/m                  DISCARD
/^X\\-Spam\\-Flag:\\s+YES/m        DISCARD
/^X\\-Virus\\-Status:\\s+Yes/m     DISCARD
/^X\\-Virus\\-Scanned:/m         IGNORE
"""
RULED = {"event": "ruled", "rule": "/etc/header_checks:3", "action": "discard", "header": "X-Spam-Flag: YES"}
VIRUS = {"event": "ruled", "rule": "/etc/header_checks:4", "action": "discard", "header": "X-Virus-Status: Yes (E)"}


def decision(line: int, action: str, header: str) -> dict[str, object]:
    return {"table": "/etc/header_checks", "line": line, "action": action, "header": header}


FLAGGED = [decision(3, "DISCARD", "X-Spam-Flag: YES")]
SCANNED = decision(5, "IGNORE", "X-Virus-Scanned: e")
INFECTED = [SCANNED, decision(4, "DISCARD", "X-Virus-Status: Yes (E)")]


@pytest.mark.parametrize(
    ("file", "theirs", "ours", "events", "ok"),
    [
        ("flagged-elsewhere.eml", FLAGGED, [], [RULED], True),
        ("flagged-elsewhere.eml", FLAGGED, [], [], False),  # the appliance did not say so
        ("flagged-elsewhere.eml", [decision(2, "DISCARD", "X-Spam-Flag: YES")], [], [RULED], False),  # another line
        ("flagged-elsewhere.eml", [decision(3, "IGNORE", "X-Spam-Flag: YES")], [], [], False),
        ("flagged-elsewhere.eml", [], [], [], False),
        ("flagged-elsewhere.eml", [], FLAGGED, [RULED], False),  # ours, not the client's
        ("eicar.eml", [], INFECTED, [VIRUS], True),
        ("eicar.eml", [], INFECTED[1:], [VIRUS], False),  # our X-Virus-Scanned was not removed
        ("eicar.eml", INFECTED, [], [VIRUS], False),
        ("eicar.eml", [], [SCANNED], [], False),
    ],
)
def test_rules(
    file: str, theirs: list[dict[str, object]], ours: list[dict[str, object]], events: list[dict[str, str]], ok: bool
) -> None:
    """The rules that acted must be those expected, by line, action and header, and the log must name them."""
    step = Step("t")
    compare_rules(BY_FILE[file], events, {"rules": theirs, "rules_on_ours": ours}, TABLE, step)
    assert step.ok == ok


@pytest.mark.parametrize(
    ("file", "event", "ok"),
    [
        ("clean.eml", {"event": "delivered", "reason": "250 ok"}, True),
        ("clean.eml", {"event": "judged", "fate": "discard", "reason": "header_checks:2"}, False),
        ("clean.eml", {"event": "deferred", "reason": "busy"}, False),
        ("gtube.eml", {"event": "delivered", "reason": "250 ok"}, False),
        ("gtube.eml", {"event": "judged", "fate": "hold", "reason": "x"}, False),
        ("gtube.eml", {"event": "judged", "fate": "discard", "reason": "header_checks:2"}, True),
    ],
)
def test_verdict(file: str, event: dict[str, str], ok: bool) -> None:
    """What was delivered must have been meant to be, and what was discarded too."""
    step = Step("t")
    explained = {"action": "accept" if BY_FILE[file].delivered else "discard"}
    compare_verdict(BY_FILE[file], event, explained, step)
    assert ok == step.ok


def test_explain_must_say_what_the_appliance_did() -> None:
    """A verdict of `backupmx explain` that is not the appliance's is said."""
    step = Step("t")
    compare_verdict(BY_FILE["clean.eml"], {"event": "delivered", "reason": "250 ok"}, {"action": "discard"}, step)
    assert not step.ok


def arrived(results: str = "spf=pass; dkim=none; dmarc=pass", to: str = OWNER) -> Received:
    top = f"Received: id Q1\r\nAuthentication-Results: mx; {results}\r\n".encode()
    return Received("s@sender.example", (to,), top + LEFT)


@pytest.mark.parametrize(
    ("file", "messages", "ok"),
    [
        ("clean.eml", [arrived()], True),
        ("clean.eml", [], False),
        ("clean.eml", [arrived(), arrived()], False),  # twice
        ("clean.eml", [arrived(results="spf=none; dkim=none; dmarc=pass")], False),
        ("clean.eml", [arrived(to="somebody@example.jp")], False),
        ("gtube.eml", [], True),
        ("gtube.eml", [arrived()], False),
    ],
)
def test_arrival(file: str, messages: list[Received], ok: bool) -> None:
    """The primary must have what was meant for it, once, and nothing else."""
    step = Step("t")
    compare_arrival(BY_FILE[file], LEFT, messages, step)
    assert ok == step.ok


def test_a_step_that_compares_nothing_is_not_ok() -> None:
    """A step is good only when something was compared."""
    step = Step("t")
    step.tell("x", "y")
    assert not step.ok


def test_large_sample_is_large_and_always_the_same() -> None:
    """The large message is generated: about 3 MB of lines that SMTP can carry."""
    stored = b"Subject: x\n\n@ATTACHMENT@\n"
    large = content(BY_FILE["large.eml"], stored)
    assert 3_000_000 < len(large) < 3_300_000
    assert max(len(line) for line in large.split(b"\r\n")) <= 998
    assert large == content(BY_FILE["large.eml"], stored)


def test_line_of_a_rule() -> None:
    """A rule is found by its pattern; a comment that quotes it is not it."""
    assert line_of("# /a/ DISCARD\n/a/ DISCARD\n", "/a/") == 2
    assert line_of("/ab/ DISCARD\n", "/a/") == 0
