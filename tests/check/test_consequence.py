"""What on_error and on_unscannable make of an engine that is away or failed."""

import pytest

from backupmx.check.consequence import consequence
from backupmx.check.finding import Finding, Findings, Seen
from backupmx.check.virus import Look, combined
from backupmx.config import Checks, Spam, Virus
from backupmx.mail.verdict import Fate


def settings(on_error: str = "accept", on_unscannable: str = "defer", spam: str = "accept") -> Checks:
    virus = Virus.model_validate({"on_error": on_error, "on_unscannable": on_unscannable})
    return Checks(virus=virus, spam=Spam.model_validate({"on_error": spam}))


def found(check: str, seen: Seen) -> Findings:
    return Findings((Finding(check, "clamd", seen, "why"),))


@pytest.mark.parametrize(
    ("word", "fate", "reply"),
    [
        ("defer", Fate.DEFER, "451 4.7.1 Service unavailable - try again later"),
        ("reject", Fate.REJECT, "550 5.7.1 Command rejected"),
        ("quarantine", Fate.HOLD, "None"),
    ],
)
def test_words(word: str, fate: Fate, reply: str) -> None:
    """Each word of on_error is a fate; what the client reads tells it nothing."""
    verdict = consequence(found("virus", Seen.AWAY), settings(on_error=word))
    assert verdict is not None
    assert (verdict.fate, str(verdict.reply), verdict.reason) == (fate, reply, "check virus: away: why")


def test_accept_is_no_verdict() -> None:
    """accept leaves the message as if nothing was found."""
    assert consequence(found("virus", Seen.AWAY), settings()) is None


def test_unscannable_is_not_away() -> None:
    """A crafted mail does not switch the scanner off: its own word decides."""
    verdict = consequence(found("virus", Seen.UNSCANNABLE), settings(on_error="accept", on_unscannable="defer"))
    assert verdict is not None
    assert verdict.fate is Fate.DEFER


@pytest.mark.parametrize("seen", [Seen.CLEAN, Seen.FOUND, Seen.SKIPPED])
def test_answers_decide_nothing(seen: Seen) -> None:
    """A virus that was found meets the rules; a message too large for spamd meets nothing."""
    for check in ("virus", "spam"):
        assert consequence(found(check, seen), settings("reject", "reject", "reject")) is None


@pytest.mark.parametrize("seen", [Seen.AWAY, Seen.UNSCANNABLE])
def test_spam_has_one_word(seen: Seen) -> None:
    """For the spam check on_error covers both troubles."""
    verdict = consequence(found("spam", seen), settings(spam="quarantine"))
    assert verdict is not None
    assert verdict.fate is Fate.HOLD


def test_authentication_decides_nothing() -> None:
    """A DNS that does not answer is never a reason to refuse."""
    assert consequence(found("dkim", Seen.AWAY), settings("reject", "reject", "reject")) is None


def test_two_engines_two_troubles() -> None:
    """One engine away and another that failed: both words count, the stricter wins."""
    looks = [Look("clamd", Seen.AWAY, "refused"), Look("yara", Seen.UNSCANNABLE, "slow")]
    findings = Findings((combined(looks, "mx2.example.net"),))
    for words in (("reject", "defer"), ("defer", "reject")):
        verdict = consequence(findings, settings(*words))
        assert verdict is not None
        assert verdict.fate is Fate.REJECT


def test_a_hit_settles_it() -> None:
    """When one engine found a virus it does not matter that another is away."""
    looks = [Look("clamd", Seen.AWAY, "refused"), Look("yara", Seen.FOUND, "Eicar", "YARA-X")]
    assert consequence(Findings((combined(looks, "mx2.example.net"),)), settings("reject")) is None


@pytest.mark.parametrize(
    ("enforce", "result", "policy", "fate"),
    [
        ("off", "fail", "reject", None),
        ("quarantine", "fail", "reject", Fate.HOLD),
        ("quarantine", "fail", "quarantine", Fate.HOLD),
        ("reject", "fail", "quarantine", Fate.HOLD),
        ("reject", "fail", "reject", Fate.REJECT),
        ("reject", "fail", "none", None),
        ("reject", "pass", "reject", None),
        ("reject", "temperror", "reject", None),
        ("reject", "fail", "", None),
    ],
)
def test_dmarc_is_enforced_when_asked_for(enforce: str, result: str, policy: str, fate: Fate | None) -> None:
    """What the author's domain asks for is done as far as the configuration says; a dead DNS decides nothing."""
    facts = {"result": result} | ({"policy": policy} if policy else {})
    dmarc = Finding("dmarc", "backupmx", Seen.NEUTRAL, f"{result} (sender.test)", facts=facts)
    settings = Checks.model_validate({"dmarc": {"enforce": enforce}})
    verdict = consequence(Findings((dmarc,)), settings)
    assert (verdict.fate if verdict else None) == fate
    if verdict and verdict.reply:
        assert str(verdict.reply) == "550 5.7.26 Message refused by the DMARC policy of its author's domain"


def test_enforcing_what_is_not_checked() -> None:
    """enforce without enabled is a mistake, told at start."""
    with pytest.raises(ValueError, match="enforce needs enabled"):
        Checks.model_validate({"dmarc": {"enforce": "reject", "enabled": False}})
