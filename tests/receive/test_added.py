"""milter_header_checks on one header after another."""

import pytest

from backupmx.mail.verdict import Fate, Verdict
from backupmx.receive.added import Ruled
from backupmx.rules.engine import Added, Tables
from backupmx.rules.table import load

RULES = b"""
/^X-Drop:/ IGNORE
/^X-Old:/ REPLACE X-New: yes
/^X-Hold:/ HOLD look
/^X-Bad:/ DISCARD bad
/^X-No:/ REJECT no
/^X-To:/ REDIRECT w@example.jp
"""


def ruled(before: Verdict | None = None) -> tuple[Ruled, list[Added]]:
    told: list[Added] = []
    tables = Tables(milter=load(RULES, "milter_header_checks"))
    return Ruled(tables, before or Verdict(), told.append), told


@pytest.mark.parametrize(
    ("header", "kept"),
    [(b"X-A: 1", b"X-A: 1"), (b"X-Drop: 1", None), (b"X-Old: 1", b"X-New: yes"), (b"X-Hold: 1", b"X-Hold: 1")],
)
def test_what_becomes_of_a_header(header: bytes, kept: bytes | None) -> None:
    """Kept, dropped or replaced, as its rule says."""
    assert ruled()[0].show(header) == kept


def test_the_verdict_grows() -> None:
    """HOLD is remembered while later headers are asked about; DISCARD then ends it."""
    rules, told = ruled()
    rules.show(b"X-Hold: 1")
    assert rules.verdict.fate is Fate.HOLD
    assert rules.show(b"X-Drop: 1") is None
    rules.show(b"X-Bad: 1")
    assert (rules.verdict.fate, rules.verdict.reason) == (Fate.DISCARD, "milter_header_checks:5")
    assert [decision.action for added in told for decision in added.decisions] == ["HOLD", "IGNORE", "DISCARD"]


def test_after_an_end_nothing_is_added() -> None:
    """The message is refused: what else a milter writes is not looked at."""
    rules, _ = ruled()
    rules.show(b"X-No: 1")
    assert (str(rules.verdict.reply), rules.show(b"X-A: 1")) == ("550 5.7.1 no", None)


def test_after_a_redirect_nothing_is_asked() -> None:
    """As in Postfix: REDIRECT is the last rule that is looked at."""
    rules, _ = ruled()
    rules.show(b"X-To: 1")
    assert (rules.verdict.redirect_to, rules.show(b"X-Drop: 1")) == ("w@example.jp", b"X-Drop: 1")


def test_what_was_decided_before_stays() -> None:
    """A message that header_checks filter elsewhere still goes there."""
    rules, _ = ruled(Verdict(Fate.FILTER, filter_to="smtp:[f.example]"))
    rules.show(b"X-A: 1")
    assert rules.verdict.filter_to == "smtp:[f.example]"
