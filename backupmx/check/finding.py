"""Pure.  finding: what one check saw of one message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
