"""Pure.  syntax: what stands in a table file, before anything is compiled.

`statements(text, name, kind)` reads a pcre: or regexp: table as Postfix does
(readlline.c, dict_pcre.c, dict_regexp.c) and gives its rules, ifs and endifs,
and a warning for each line that cannot be one.  It never fails: what Postfix
skips is skipped, with "FILE:LINE: message".

A logical line is a line and those after it that begin with a blank; comments
and empty lines may stand between them.  `x` after the closing delimiter is a
flag and each flag *toggles*: i and s are on to begin with, so /x/i is
case-sensitive.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["pcre", "regexp"]

SPACE = b" \t\n\v\f\r"
FLAGS: dict[Kind, bytes] = {"pcre": b"imsxAEUX", "regexp": b"imx"}
_IF = re.compile(rb"if(?![A-Za-z0-9])", re.IGNORECASE)
_ENDIF = re.compile(rb"endif(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expression:
    """One delimited pattern: !/source/flags."""

    source: bytes
    flags: bytes
    negated: bool
    delimiter: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """One logical line that could be read."""

    line: int
    """Of its first physical line."""
    word: Literal["rule", "if", "endif"]
    first: Expression | None = None
    """None only for endif."""
    second: Expression | None = None
    """regexp: /p1/!/p2/."""
    text: bytes = b""
    """What follows: a rule's action; after if and endif text that is ignored."""
    swallowed: tuple[int, ...] = ()
    """Physical lines that this one continues over."""
    whole: bytes = b""
    """The logical line itself, one line."""


class Unusable(ValueError):
    """This line cannot be used.  The text says why."""


def logical_lines(text: bytes) -> Iterator[tuple[int, bytes, tuple[int, ...]]]:
    """-> (line number, text, numbers of the lines it continues over)."""
    number, joined = 0, b""
    continued: tuple[int, ...] = ()
    for n, line in enumerate(text.split(b"\n"), 1):
        bare = line.lstrip(SPACE)
        if not bare or bare[:1] == b"#":
            continue
        if joined and line[:1] in _BLANKS:
            joined, continued = joined + line, (*continued, n)
            continue
        if joined:
            yield number, joined, continued
        number, joined, continued = n, line, ()
    if joined:
        yield number, joined, continued


_BLANKS = tuple(bytes([b]) for b in SPACE)


def statements(
    text: bytes, kind: Kind, nesting: Callable[[], int], warn: Callable[[int, str], None]
) -> Iterator[Statement]:
    """The table's statements in order; `warn(line, message)` for what Postfix would only log.

    `nesting()` says how many ifs are open: one whose pattern did not compile is
    not, so that its endif closes an outer one, as in Postfix.
    """
    for number, line, swallowed in logical_lines(text):
        if line[:1] in _BLANKS:
            warn(number, f'logical line must not start with whitespace: "{_shown(line[:30])}"')
            continue
        line = line.partition(b"\0")[0].rstrip(SPACE)
        if not line:
            continue
        try:
            yield _statement(number, line, kind, nesting(), swallowed, warn)
        except Unusable as why:
            warn(number, str(why))


def _statement(
    number: int, line: bytes, kind: Kind, nesting: int, swallowed: tuple[int, ...], warn: Callable[[int, str], None]
) -> Statement:
    if not line[:1].isalnum():
        first, rest = expression(line, kind)
        second = None
        if kind == "regexp" and rest[:1] == b"!":
            second, rest = expression(rest, kind)
        rest = rest.lstrip(SPACE)
        if not rest:
            warn(number, "no replacement text: every message it matches gets 451 4.3.0")
        return Statement(number, "rule", first, second, rest, swallowed, line)
    if match := _IF.match(line):
        first, rest = expression(line[match.end() :].lstrip(SPACE), kind)
        rest = rest.lstrip(SPACE)
        if rest:
            warn(number, f'ignoring extra text after IF statement: "{_shown(rest)}"')
            warn(number, "do not prepend whitespace to statements between IF and ENDIF")
        return Statement(number, "if", first, None, rest, swallowed, line)
    if match := _ENDIF.match(line):
        if nesting == 0:
            raise Unusable("ignoring ENDIF without matching IF")
        rest = line[match.end() :].lstrip(SPACE)
        if rest:
            warn(number, "ignoring extra text after ENDIF")
        return Statement(number, "endif", None, None, rest, swallowed, line)
    raise Unusable(f'ignoring unrecognized request: "{_shown(line[:60])}"')


def expression(text: bytes, kind: Kind) -> tuple[Expression, bytes]:
    """The delimited pattern at the start of `text`, and what follows its flags.  Raises Unusable."""
    negated, at = False, 0
    while at < len(text) and (text[at] == 0x21 or text[at] in SPACE):
        negated ^= text[at] == 0x21
        at += 1
    if at == len(text):
        raise Unusable("no regexp: skipping this rule")
    delimiter, start = text[at], at + 1
    at = start
    while at < len(text) and text[at] != delimiter:
        at += 2 if text[at] == 0x5C else 1
    if kind == "regexp" and at == len(text) + 1:
        at -= 2  # dict_regexp.c takes a backslash at the very end for the delimiter
    if delimiter == 0x5C or at >= len(text):
        shown = _shown(bytes([delimiter]))
        raise Unusable(f'no closing regexp delimiter "{shown}": ignoring this rule')
    source, at = text[start:at], at + 1
    end = at
    while end < len(text) and text[end] not in SPACE and not (kind == "regexp" and text[end] == 0x21):
        if text[end] not in FLAGS[kind]:
            raise Unusable(f'unknown regexp option "{_shown(text[end : end + 1])}": skipping this rule')
        end += 1
    return Expression(source, text[at:end], negated, bytes([delimiter])), text[end:]


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
