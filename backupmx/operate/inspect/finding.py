"""Pure.  finding: what one look at the world outside found, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    GOOD = "good"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    FINDING = "finding"
    """Something is wrong, and `remedy` says what to do."""
    UNKNOWN = "unknown"
    """Nobody could tell now: DNS or a server did not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    about: str
    """A domain, a name, a host: example.jp, mx2.example.net, primary1.example.net[192.0.2.1]:25"""
    check: str
    """mx, address, ptr, helo, certificate, mta-sts, tlsa, port-25 ..."""
    grade: Grade
    text: str
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        return self.grade in (Grade.FINDING, Grade.UNKNOWN)


def good(about: str, check: str, text: str) -> Finding:
    return Finding(about, check, Grade.GOOD, text)


def note(about: str, check: str, text: str, remedy: str = "") -> Finding:
    return Finding(about, check, Grade.NOTE, text, remedy)


def wrong(about: str, check: str, text: str, remedy: str) -> Finding:
    return Finding(about, check, Grade.FINDING, text, remedy)


def unknown(about: str, check: str, text: str) -> Finding:
    return Finding(
        about, check, Grade.UNKNOWN, text, "ask again; if it stays so, look at the name servers and [dns] servers"
    )


def status(findings: Iterable[Finding]) -> int:
    """Of a command: 0 good, 1 findings."""
    return 1 if any(finding.wrong for finding in findings) else 0
