"""Pure.  finding: what one check saw of one message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from backupmx.mail.envelope import Client, Envelope
from backupmx.mail.message import Message


class Seen(StrEnum):
    CLEAN = "clean"  # the engine looked and found nothing
    FOUND = "found"  # a virus; spam at or above required_score
    NEUTRAL = "neutral"  # facts without a judgement: SPF, DKIM, DMARC
    AWAY = "away"  # the engine is not there: on_error decides
    UNSCANNABLE = "unscannable"  # the engine is there, this message made it fail: on_unscannable
    SKIPPED = "skipped"  # too large for it, or nothing to look at


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    """virus, spam, spf, dkim, dmarc, arc: the configuration's word."""
    engine: str
    """clamd, yara, spamd, builtin, pyspf, dkimpy: who looked."""
    seen: Seen
    detail: str
    """One line for a person: the signature, "score 4.2 of 17.0", "pass (sender.example)"."""
    fields: tuple[bytes, ...] = ()
    """Logical header fields to add, in order: b"X-Virus-Status: Clean".  Clean of control bytes."""
    results: tuple[str, ...] = ()
    """RFC 8601 resinfo for Authentication-Results: "spf=pass smtp.mailfrom=sender.example"."""
    facts: Mapping[str, str | float | tuple[str, ...]] = field(default_factory=dict)
    """For later checks and for `explain`: {"result": "pass"}, {"score": 4.2, "tests": ("A", "B")}."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Mail:
    """What a check is given to look at: content after the client's rules, and who sent it."""

    message: Message
    envelope: Envelope
    client: Client
    queue_id: str = ""
    own: int = 0
    """So many headers at the front are ours: our Received."""

    @property
    def as_sent(self) -> Message:
        """Without what we put on top."""
        return replace(self.message, headers=self.message.headers[self.own :]) if self.own else self.message


@dataclass(frozen=True, slots=True)
class Findings:
    """What all checks saw of one message, one finding for each check that is on."""

    all: tuple[Finding, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.all)

    def of(self, check: str) -> Finding | None:
        """The finding of that check; None when it is off."""
        return next((finding for finding in self.all if finding.check == check), None)

    def results(self) -> frozenset[str]:
        """Authentication as words: {"spf=pass", "helo=none", "dkim=fail", "dmarc=fail", "policy=reject"}."""
        words = set()
        for finding in self.all:
            if isinstance(result := finding.facts.get("result"), str):
                words.add(f"{finding.check}={result}")
            words.update(f"{key}={finding.facts[key]}" for key in ("helo", "policy") if key in finding.facts)
        return frozenset(words)
