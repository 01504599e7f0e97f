"""Pure.  spam_rules: the rule file of the builtin spam engine, policy/spam.toml.

A rule has a name, a score, a sentence, and one condition or several, which
must all hold:

    [[rule]]
    name = "SPF_FAIL"                 # goes into tests=
    score = 3.0
    describe = "the sender's domain says this host may not send for it"
    auth = "spf=fail"                 # words of Authentication-Results, all of them:
                                      # spf= helo= dkim= dmarc= arc=, policy= (DMARC's)
    header = "Subject"                # with
    matches = '(?i)^ *viagra'         # a PCRE2 pattern on each header of that name,
                                      # unfolded, encoded words as they stand
    missing = "Message-ID"            # there is no such header
    repeated = "From"                 # there are several
    date_off = "2d"                   # Date: is further from now than this, or unreadable
    client = '^unknown\\['            # a pattern on NAME[ADDRESS] of the client,
    helo = '^\\d+\\.\\d+'             # on its greeting,
    sender = '@example\\.org$'        # on the envelope sender, "" for the null sender
    marks = "PREGREET"                # what the door saw of the client, all of these: PREGREET PIPELINING
    dnsbl = ">= 3"                    # what smtp.dnsbl_sites say of it together; or "<= -2"

Patterns run with a match limit and see at most 4 KiB of a value, so that no
message makes them slow; a pattern that runs into its limit did not match.

Trouble
    RulesTrouble   every mistake of the file at once, each with file and rule.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Any

import pcre2

from backupmx.check.finding import Mail
from backupmx.check.trouble import RulesTrouble

_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,60}")
_HEADER = re.compile(r"[!-9;-~]{1,100}")
_AUTH = re.compile(r"(?:spf|helo|dkim|dmarc|arc|policy)=[a-z]+")
_DURATION = re.compile(r"(\d{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CONDITIONS = frozenset(
    ("auth", "matches", "missing", "repeated", "date_off", "client", "helo", "sender", "marks", "dnsbl")
)
_MARKS = frozenset(("PREGREET", "PIPELINING"))
_AT = re.compile(r"(>=|<=) *(-?\d{1,4})")
_KEYS = _CONDITIONS | {"name", "score", "describe", "header"}
_LONGEST = 4096
_FAILED: Any = pcre2.error.__base__
"""Whatever PCRE2 reports: here, that the limit was reached."""
_LIMIT = b"(*LIMIT_MATCH=100000)(*LIMIT_DEPTH=1000)"


class Pattern:
    """A PCRE2 pattern that always ends."""

    __slots__ = ("_compiled",)

    def __init__(self, text: str) -> None:
        """Raises ValueError with PCRE2's words."""
        if text.startswith("(*"):
            raise ValueError("a pattern may not begin with (*")  # it could raise our limit
        try:
            # Without the JIT compiler: it counts its steps too coarsely for a limit to be one.
            self._compiled = pcre2.compile(_LIMIT + text.encode("utf-8"), jit=False)
        except pcre2.error as error:
            raise ValueError(str(error)) from None

    def matches(self, value: bytes) -> bool:
        try:
            return self._compiled.search(value[:_LONGEST]) is not None
        except _FAILED:
            return False


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[rule]].  What is "" or None is no condition."""

    name: str
    score: float
    describe: str
    auth: frozenset[str] = frozenset()
    header: bytes = b""
    matches: Pattern | None = None
    missing: bytes = b""
    repeated: bytes = b""
    date_off: float | None = None
    client: Pattern | None = None
    helo: Pattern | None = None
    sender: Pattern | None = None
    marks: frozenset[str] = frozenset()
    dnsbl: tuple[str, int] | None = None
    """ ">=" or "<=", and the sum."""

    def hits(self, mail: Mail, words: frozenset[str], now: float) -> bool:
        """Whether all its conditions hold."""
        return all(self._conditions(mail, words, now))

    def _conditions(self, mail: Mail, words: frozenset[str], now: float) -> Iterator[bool]:
        message = mail.message
        yield self.auth <= words
        yield self.marks.issubset(mail.client.marks)
        if self.dnsbl is not None:
            sign, sum = self.dnsbl
            yield mail.client.dnsbl >= sum if sign == ">=" else mail.client.dnsbl <= sum
        if self.matches is not None:
            yield any(self.matches.matches(_unfolded(value)) for value in message.values(self.header))
        if self.missing:
            yield not message.values(self.missing)
        if self.repeated:
            yield len(message.values(self.repeated)) > 1
        if self.date_off is not None:
            yield any(_off(value, now) > self.date_off for value in message.values(b"Date"))
        for pattern, text in (
            (self.client, str(mail.client)),
            (self.helo, mail.client.helo),
            (self.sender, mail.envelope.sender),
        ):
            if pattern is not None:
                yield pattern.matches(text.encode("utf-8", "surrogateescape"))


def load(text: str, name: str) -> tuple[Rule, ...]:
    """The rules of a file.  Raises RulesTrouble."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesTrouble([f"{name}: {error}"]) from None
    entries = tables.pop("rule", [])
    errors = [f"{name}: unknown key {key!r}; rules begin with [[rule]]" for key in tables]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RulesTrouble([*errors, f"{name}: write each rule under [[rule]]"])
    rules: list[Rule] = []
    for number, entry in enumerate(entries, 1):
        title = entry.get("name") if isinstance(entry.get("name"), str) else f"number {number}"
        try:
            rules.append(_rule(entry))
        except ValueError as error:
            errors.append(f"{name}: rule {title}: {error}")
    names = [rule.name for rule in rules]
    errors += [f"{name}: rule {twice}: there are two" for twice in sorted({n for n in names if names.count(n) > 1})]
    if errors:
        raise RulesTrouble(errors)
    return tuple(rules)


def _rule(entry: dict[str, Any]) -> Rule:
    """Raises ValueError, which says what to write."""
    if unknown := sorted(set(entry) - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}; a rule has {', '.join(sorted(_KEYS))}")
    if not _CONDITIONS & set(entry):
        raise ValueError(f"no condition; write one of {', '.join(sorted(_CONDITIONS))}")
    if ("header" in entry) != ("matches" in entry):
        raise ValueError("header and matches go together")
    score = entry.get("score")
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) <= 1000:
        raise ValueError("score is a number between -1000 and 1000")
    if not _NAME.fullmatch(name := _string(entry, "name")):
        raise ValueError("a name is capitals, digits and _, like SPF_FAIL")
    return Rule(
        name=name,
        score=float(score),
        describe=_string(entry, "describe") if "describe" in entry else "",
        auth=_words(entry),
        header=_header(entry, "header"),
        matches=_pattern(entry, "matches"),
        missing=_header(entry, "missing"),
        repeated=_header(entry, "repeated"),
        date_off=_seconds(entry),
        client=_pattern(entry, "client"),
        helo=_pattern(entry, "helo"),
        sender=_pattern(entry, "sender"),
        marks=_marks(entry),
        dnsbl=_dnsbl(entry),
    )


def _string(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is a text in quotes")
    return value


def _words(entry: dict[str, Any]) -> frozenset[str]:
    words = _string(entry, "auth").split()
    if wrong := [word for word in words if not _AUTH.fullmatch(word)]:
        raise ValueError(f"auth: {wrong[0]!r} is not like spf=fail, dkim=pass, dmarc=fail or policy=reject")
    return frozenset(words)


def _marks(entry: dict[str, Any]) -> frozenset[str]:
    marks = frozenset(_string(entry, "marks").split())
    if wrong := sorted(marks - _MARKS):
        raise ValueError(f"marks: {wrong[0]!r} is not one of {', '.join(sorted(_MARKS))}")
    return marks


def _dnsbl(entry: dict[str, Any]) -> tuple[str, int] | None:
    if "dnsbl" not in entry:
        return None
    if not (match := _AT.fullmatch(_string(entry, "dnsbl"))):
        raise ValueError('dnsbl is a sign and a sum: ">= 3" or "<= -2"')
    return match[1], int(match[2])


def _header(entry: dict[str, Any], key: str) -> bytes:
    text = _string(entry, key).removesuffix(":")
    if key in entry and not _HEADER.fullmatch(text):
        raise ValueError(f"{key}: {text!r} is no header name")
    return text.encode()


def _pattern(entry: dict[str, Any], key: str) -> Pattern | None:
    if key not in entry:
        return None
    try:
        return Pattern(_string(entry, key))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _seconds(entry: dict[str, Any]) -> float | None:
    if "date_off" not in entry:
        return None
    if not (match := _DURATION.fullmatch(_string(entry, "date_off"))):
        raise ValueError('date_off is a duration: "90m", "36h", "2d"')
    return float(int(match[1]) * _SECONDS[match[2]])


def _unfolded(value: bytes) -> bytes:
    return value.replace(b"\n", b"")


def _off(value: bytes, now: float) -> float:
    """Seconds between a Date: and now; infinite when it cannot be read."""
    try:
        parts = parsedate_tz(value[:200].decode("latin-1"))
        return abs(now - mktime_tz(parts)) if parts else float("inf")
    except (ValueError, OverflowError, TypeError, IndexError):
        return float("inf")
