"""Verdicts, and what two of them make together."""

from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict

DEFER = Verdict(Fate.DEFER, Reply(451, "4.7.1", "later"), reason="clamd is away")


def test_the_stronger_fate_wins() -> None:
    """An engine that wants the mail deferred beats a rule that holds it."""
    held = Verdict(Fate.HOLD, reason="header_checks:3")
    assert held.joined(DEFER) == DEFER
    assert DEFER.joined(held) == DEFER


def test_where_mail_goes_is_kept() -> None:
    """A held mail keeps its redirect and its copies for the day it is released."""
    redirected = Verdict(Fate.REDIRECT, redirect_to="a@example.jp", bcc=("b@example.jp",))
    joined = redirected.joined(Verdict(Fate.HOLD, reason="quarantine", bcc=("b@example.jp", "c@example.jp")))
    assert joined == Verdict(
        Fate.HOLD, redirect_to="a@example.jp", bcc=("b@example.jp", "c@example.jp"), reason="quarantine"
    )


def test_nothing_changes_nothing() -> None:
    """No consequence, or one that accepts, leaves the verdict as it is."""
    assert Verdict().joined(None) == Verdict()
    assert DEFER.joined(Verdict()) == DEFER
