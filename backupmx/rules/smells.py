"""Pure.  smells: what is likely wrong with one rule, seen from the rule alone.

Each function takes a `Rule` and the role of its table and yields a `Smell`:
what happens, and what to write instead.  `lint.py` asks them all, and looks at
rules together.  Nothing here decides anything about mail.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from backupmx.rules import anchor
from backupmx.rules.mime import NAMES
from backupmx.rules.table import Rule
from backupmx.rules.vocabulary import remark, split

Role = Literal["header", "mime", "nested", "body", "milter"]

_BLANK_WANTED = re.compile(
    rb"\^?(?:[A-Za-z0-9_-]|\\-)+:"
    rb"(\\s\+|\\s(?![*?{])|\[\[:(?:space|blank):\]\]\+?(?![*?])|\[ \\t\]\+?(?![*?])| +(?![*?]))"
)
_HIDDEN = re.compile(rb"\\.|\[\^?\]?(?:\[:[a-z]+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_NESTED_REPEAT = re.compile(rb"\((?:\?:)?[^()|]*[+*][^()|]*\)[+*]|\((?:\?:)?[^()]*[+*]\)[+*{]")
_LOSES_MAIL = frozenset(("DISCARD", "REJECT", "REDIRECT", "HOLD"))
_REMOVES = frozenset(("IGNORE", "STRIP"))


@dataclass(frozen=True, slots=True)
class Smell:
    name: str
    """A word to search for: blank-evades."""
    what: str
    instead: str


def source(rule: Rule) -> bytes:
    return rule.statement.first.source if rule.statement.first else b""


def flags(rule: Rule) -> bytes:
    return rule.statement.first.flags if rule.statement.first else b""


def action(rule: Rule) -> tuple[str, bytes]:
    return split(rule.statement.text) if rule.statement.word == "rule" else ("", b"")


def shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def case_sensitive(rule: Rule, role: Role) -> Iterator[Smell]:
    if flags(rule).count(b"i") % 2:
        yield Smell(
            "i-toggles",
            "flags toggle and case is ignored to begin with, so /i makes this pattern case-sensitive",
            "leave the i out, unless upper and lower case are to differ",
        )


def multiline(rule: Rule, role: Role) -> Iterator[Smell]:
    if flags(rule).count(b"m") % 2 == 0:
        return
    bare = _HIDDEN.sub(b".", source(rule))
    first = rule.prefix[:1] not in (b"", b" ", b"\t")
    rest = bare[1:] if bare[:1] == b"^" and first else bare
    if b"^" not in rest and b"$" not in rest:
        yield Smell(
            "m-without-effect",
            "/m changes nothing: a folded line begins with a blank, so `^` and this name can only meet at the start",
            "leave the m out",
        )


def blank_evades(rule: Rule, role: Role) -> Iterator[Smell]:
    match = _BLANK_WANTED.match(source(rule))
    if match and role != "body" and rule.statement.first and not rule.statement.first.negated:
        start, end = match.span(1)
        better = source(rule)[:start] + rb"\s*" + source(rule)[end:]
        yield Smell(
            "blank-evades",
            f"a blank is demanded after the colon: `{shown(_name(rule))}:` and its value right behind evade this rule",
            f"/{shown(better)}/",
        )


def wild_ends(rule: Rule, role: Role) -> Iterator[Smell]:
    text = source(rule)
    if re.match(rb"\^?\.\*", text) and re.search(rb"(?<!\\)\.\*\$?\Z", text) and len(text) > 4:
        inner = re.sub(rb"\A\^?\.\*|\.\*\$?\Z", b"", text)
        yield Smell(
            "wild-ends",
            "`.*` at both ends finds nothing that the middle alone does not find, and costs time on long headers",
            f"/{shown(inner)}/",
        )


def never(rule: Rule, role: Role) -> Iterator[Smell]:
    """Patterns that no header can match."""
    name = anchor.name(rule.prefix)
    if role == "header" and name in NAMES:
        yield Smell(
            "other-table",
            f"{shown(name)} is a MIME header: mime_header_checks is asked even at the top, never this table",
            "put the rule into the mime_header_checks table",
        )
    if name[-1:] in (b" ", b"\t"):
        yield Smell(
            "never", "a blank before the colon is removed before any rule is asked", "write NAME: without the blank"
        )
    if re.search(rb"(?<!\\)\\r", source(rule)):
        yield Smell(
            "never", "no header holds a CR when rules are asked: line ends in folds are LF alone", r"write \n for \r\n"
        )
    if source(rule) in (b"^$", b"\\A\\z"):
        yield Smell("never", "an empty line is never asked about", "remove the rule")


def bad_argument(rule: Rule, role: Role) -> Iterator[Smell]:
    word, argument = action(rule)
    if not word or (rule.replacement and rule.replacement.highest):
        return
    where: Literal["header", "body", "added"] = {"body": "body", "milter": "added"}.get(role, "header")  # type: ignore[assignment]
    if remark(word, argument, None) is None and (why := remark(word, argument, where)):
        yield Smell("no-action", f"{why}: the rule matches and nothing happens", "see the actions in docs/rules.md")


def received(rule: Rule, role: Role) -> Iterator[Smell]:
    word, _ = action(rule)
    first = rule.statement.first
    if word not in _REMOVES or role not in ("header", "milter") or first is None or first.negated:
        return
    everything = source(rule) in (b".", b"^", b".*", b"^.*", b"^.", b".+", b"^.+")
    if anchor.name(rule.prefix) == b"received" or everything:
        yield Smell(
            "received-removed",
            "Received headers are removed, our own too: loops cannot be seen, signers and milters misread the rest",
            "REPLACE them by a shorter Received, or leave them",
        )


def forwarded(rule: Rule, role: Role) -> Iterator[Smell]:
    """What a rule for the message's own headers does to attached messages, in a Postfix configuration."""
    word, _ = action(rule)
    name = anchor.name(rule.prefix)
    if word in _LOSES_MAIL and role in ("header", "nested") and name == b"from" and rb"<>" in source(rule):
        yield Smell(
            "forwarded-bounce",
            "asked of attached messages too (Postfix's default for nested_header_checks) this loses every mail that "
            "forwards a bounce, whose inner From is <>",
            "keep it in header_checks alone, with nested_header_checks and mime_header_checks empty",
        )
    elif word in _LOSES_MAIL and role in ("header", "nested") and name.startswith((b"x-spam-", b"x-virus-")):
        yield Smell(
            "forwarded-sample",
            "asked of attached messages too (Postfix's default for nested_header_checks) this loses every mail that "
            f"forwards a message with {shown(name)}",
            "keep it in header_checks alone, with nested_header_checks and mime_header_checks empty",
        )


def null_sender(rule: Rule, role: Role) -> Iterator[Smell]:
    text = source(rule)
    if anchor.name(rule.prefix) == b"from" and re.fullmatch(
        rb"\^From:(?:\\s\*| \*| )<>(?:\\s\*)?\$?", text, re.IGNORECASE
    ):
        yield Smell(
            "null-sender", "`From: NAME <>` is not caught, only a <> right behind the colon", r"/^From:[^<]*<>\s*$/"
        )


def half_removed(rule: Rule, role: Role) -> Iterator[Smell]:
    word, _ = action(rule)
    match = re.match(
        rb"\^(X\\?-(?:Spam|Virus)\\?-(?:Status|Flag)):(?:\\s[*+]| )(No|Clean|Yes)", source(rule), re.IGNORECASE
    )
    if word in _REMOVES and match:
        yield Smell(
            "half-removed",
            f"only `{shown(match[2])}` is removed: what else an upstream server wrote reaches the recipient as ours",
            f"/^{shown(match[1])}:/ {word}",
        )


def infected(rule: Rule, role: Role) -> Iterator[Smell]:
    word, _ = action(rule)
    if word not in _REMOVES and re.match(rb"\^X\\?-Virus\\?-Status:(?:\\s[*+]| )Yes", source(rule), re.IGNORECASE):
        yield Smell(
            "clamav-says-infected",
            "clamav-milter writes `X-Virus-Status: Infected (NAME)`, which this never matches (our own: `Yes (NAME)`)",
            r"/^X-Virus-Status:\s*(?:Yes|Infected)/",
        )


def runaway(rule: Rule, role: Role) -> Iterator[Smell]:
    bare = re.sub(rb"\\.", b".", source(rule), flags=re.DOTALL)
    if _NESTED_REPEAT.search(bare):
        yield Smell(
            "runaway",
            "a repetition inside a repetition can take exponential time; at the match limit it counts as no match",
            "repeat once: (a+)+ is a+",
        )


def swallowed(rule: Rule, role: Role) -> Iterator[Smell]:
    lines = rule.statement.swallowed
    if (
        lines
        and rule.statement.word == "rule"
        and re.search(rb"\s(?:[/!]\S.*/[A-Za-z]*\s|if\s*!?/|endif\b)", rule.statement.text)
    ):
        yield Smell(
            "swallowed",
            f"line {', '.join(map(str, lines))} begins with a blank: it is part of this rule, not one of its own",
            "begin it in the first column",
        )


def _name(rule: Rule) -> bytes:
    return source(rule).lstrip(b"^").partition(b":")[0].replace(b"\\-", b"-")


ALL: tuple[Callable[[Rule, Role], Iterator[Smell]], ...] = (
    case_sensitive, multiline, blank_evades, wild_ends, never, bad_argument, received, forwarded, null_sender,
    half_removed, infected, runaway, swallowed,
)  # fmt: skip
