"""lint: what looks wrong in a rule file, at which line, and what to write instead."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backupmx
from backupmx.rules.lint import _INSTEAD, lint, together
from backupmx.rules.table import load


def names(rules: bytes, role: str = "header") -> list[tuple[int, str]]:
    return [(f.line, f.name) for f in lint(load(rules, "t"), role)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (b"/^X-A:/i WARN\n", [(1, "i-toggles")]),
        (b"/^X-A:/m WARN\n", [(1, "m-without-effect")]),
        (b"/^X-A:.*$/m WARN\n", []),
        (b"/\\n^ x/m WARN\n", []),
        (b"/^.*viagra.*$/ REJECT\n", [(1, "wild-ends")]),
        (b"/^X-A:\\s+x/ REJECT\n", [(1, "blank-evades")]),
        (b"/^X-A: x/ REJECT\n", [(1, "blank-evades")]),
        (b"/^X-A:\\s*x/ REJECT\n", []),
        (b"/^X-A: *x/ REJECT\n", []),
        (b"/^X-/ IGNORE\n/^X-Spam-Flag:\\s*YES/ DISCARD\n", [(2, "forwarded-sample"), (2, "shadowed")]),
        (b"/^X-A:/ WARN\n/^X-A:/ IGNORE\n", [(2, "shadowed")]),
        (b"if /^X-A:/\n/./ WARN\nendif\n/^X-A:/ IGNORE\n", []),
        (b"/./ DUNNO\n/^X-A:/ IGNORE\n", [(2, "shadowed")]),
        (b"/^X-A:/i DUNNO\n/^x-a:/ IGNORE\n", [(1, "i-toggles")]),
        (b"/^Content-Type:.*exe/ REJECT\n", [(1, "other-table")]),
        (b"/^X-A :/ REJECT\n", [(1, "never")]),
        (b"/^X-A:.*\\r\\n/ REJECT\n", [(1, "never")]),
        (b"if /^X-A:/\n/^X-B:/ WARN\nendif\n", [(2, "never")]),
        (b"/^Received:/ IGNORE\n", [(1, "received-removed")]),
        (b"/./ IGNORE\n", [(1, "received-removed")]),
        (b"/^X-A:/\n", [(1, "no-action")]),
        (b"/^X-A:/ FROB\n", [(1, "no-action")]),
        (b"/^X-A:/ REPLACE novalue\n", [(1, "no-action")]),
        (b"if /^X-/\n  /^X-B:/ IGNORE\nendif\n", [(1, "swallowed"), (1, "swallowed")]),
        (b"/^X-A:/ WARN x\n  /^X-B:/ IGNORE\n", [(1, "swallowed")]),
        (b"if /^X-/\n/x/ WARN\nendif now\n", [(3, "text-after-endif")]),
        (b"if /^X-/\n/x/ WARN\n", [(1, "unbalanced")]),
        (b"endif\n", [(1, "unbalanced")]),
        (b"/(/ WARN\n/a/q WARN\n/a WARN\n", [(1, "unusable"), (2, "unusable"), (3, "unusable")]),
        (b"/^X-A: (a+)+$/ REJECT\n", [(1, "blank-evades"), (1, "runaway")]),
        (b"/^Subject:.*viagra/ REJECT no\n", []),
    ],
)
def test_each_mistake_is_found_at_its_line_and_nothing_else(rules: bytes, expected: list[tuple[int, str]]) -> None:
    """A rule that does what it says gives no finding."""
    assert expected == names(rules)


def test_prepend_is_not_known_to_milter_header_checks() -> None:
    """And PASS is not, either."""
    assert names(b"/^X-A:/ PREPEND X: 1\n/^X-B:/ PASS\n", "milter") == [(1, "no-action"), (2, "no-action")]
    assert names(b"/^X-A:/ PREPEND X: 1\n/^X-B:/ PASS\n") == []


def test_a_body_line_may_be_replaced_by_anything() -> None:
    """Only headers want a name."""
    assert names(b"/^foo/ REPLACE bar\n", "body") == []


def test_the_shipped_rules_get_the_findings_their_author_needed() -> None:
    """Blanks after the colon, /m for nothing, forwarded bounces, Yes for Infected, halves removed."""
    path = Path(backupmx.__file__).parent / "policy" / "header_checks"
    found = lint(load(path.read_bytes(), "header_checks"))
    lines = {name: len([f for f in found if f.name == name]) for name in {f.name for f in found}}
    assert lines == {
        "m-without-effect": 8, "blank-evades": 4, "forwarded-bounce": 1, "forwarded-sample": 2, "null-sender": 1,
        "half-removed": 2, "clamav-says-infected": 1,
    }  # fmt: skip


def test_the_same_mistake_on_several_lines_is_said_once() -> None:
    """With all its lines; what differs in a word is said of its own line, where that stands."""
    found = lint(load(b"/^X-A: x/m REJECT\n/^X-B: y/ IGNORE\n/^X-C:/m IGNORE\n", "t"))
    told = [sentence.partition("\n    instead: ") for sentence in together([*found, *found])]
    assert [sentence.partition(": ")[0] for sentence, _, _ in told] == ["t:1,3", "t:1", "t:2"]
    assert told[0][2] == "leave the m out [m-without-effect]"
    assert ["`X-A:`" in told[1][0], "`X-B:`" in told[2][0]] == [True, True]


def test_what_is_proposed_for_a_blank_has_no_finding_itself() -> None:
    """The proposal is a rule that can be pasted."""
    (finding,) = lint(load(b"/^X-A:\\s+x/ REJECT\n", "t"))
    assert names(finding.instead.encode() + b" REJECT\n") == []


def test_every_finding_has_its_line_in_the_documentation() -> None:
    """A name printed in brackets can be looked up."""
    package = Path(backupmx.__file__).parent
    source = (package / "rules" / "smells.py").read_text() + (package / "rules" / "lint.py").read_text()
    known = set(re.findall(r'(?:Smell\(|rule\.line,)\s*"([a-z-]+)"', source)) | {instead[1] for instead in _INSTEAD}
    page = (package.parent / "docs" / "rules.md").read_text("utf-8")
    assert set() == {name for name in known if f"`{name}`" not in page}


@given(st.binary(max_size=200), st.sampled_from(["header", "mime", "nested", "body", "milter"]))
def test_any_bytes_can_be_linted(rules: bytes, role: str) -> None:
    """Findings with a line, no exception."""
    assert all(f.line >= 1 and f.what and f.instead for f in lint(load(rules, "t"), role))  # type: ignore[arg-type]
