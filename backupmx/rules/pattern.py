"""Pure.  pattern: one regular expression of a table, and what it costs at most.

A `pcre:` pattern is PCRE2 with the options Postfix gives it, so its answers
are Postfix's.  A `regexp:` pattern is translated (posix.py) and then the same.

No pattern may hang the server: each carries a match limit, put behind the
pattern's own leading verbs so that `(*LIMIT_MATCH=...)` in a rule file cannot
raise it.  One million steps are 3 ms here, and enough for any pattern that is
linear in the longest header (102,400 bytes).  Postfix stops at ten million.

Trouble
    PatternTrouble   the pattern does not compile; the rule is not used.
    NoAnswer         the limit was reached, or a (*UTF) pattern met bytes that
                     are no UTF-8: for Postfix, and for us, neither /p/ nor
                     !/p/ has matched (dict_pcre.c DICT_PCRE_EXEC).

Why the extension module below `pcre2` and not its Python classes?  They force
two options on us (`\\C` is refused, `\\x{41}` is no character) that change
what people's rules mean, and cost seven times the match itself.
"""

import re
from collections.abc import Callable
from typing import Any

from pcre2 import _cy

CASELESS = 0x00000008
DOLLAR_ENDONLY = 0x00000010
DOTALL = 0x00000020
EXTENDED = 0x00000080
MULTILINE = 0x00000400
UNGREEDY = 0x00040000
ANCHORED = 0x80000000
_LETTERS = {
    0x69: CASELESS, 0x6D: MULTILINE, 0x73: DOTALL, 0x78: EXTENDED, 0x41: ANCHORED, 0x45: DOLLAR_ENDONLY,
    0x55: UNGREEDY, 0x58: 0,
}  # fmt: skip
"""The flags of pcre_table(5): i m s x A E U, and X which PCRE2 no longer has."""

_NEVER_BACKSLASH_C = 0x00100000
_ALT_BSUX = 0x00000002
_JIT_STACKLIMIT = -46

LIMIT = 1_000_000
"""PCRE2 match limit: 3 ms with its compiler, 20 ms without, on the machine this was chosen on."""

_CONTEXT = _cy.create_match_context()
_match = _cy.match
_FAILED: Any = _cy.PatternError.__base__
"""Whatever PCRE2 reports; PatternError, a pattern that does not compile, is one of them."""

# pcre2pattern(3) "Special start-of-pattern items": only these may stand before our limit.
_VERBS = re.compile(
    rb"(?:\(\*(?:UTF8?|UCP|NO_JIT|NO_AUTO_POSSESS|NO_START_OPT|NO_DOTSTAR_ANCHOR|NOTEMPTY|NOTEMPTY_ATSTART"
    rb"|CR|LF|CRLF|ANYCRLF|ANY|NUL|BSR_ANYCRLF|BSR_UNICODE|LIMIT_(?:MATCH|DEPTH|RECURSION|HEAP)=\d+)\))*"
)
_NOVEL = re.compile(
    rb"(\\x(?![0-9A-Fa-f{]))|\\(?:[xuNopPgk]\{|.)|\{(?!\d+(?:,\d*)?\})[ \t]*\d*[ \t]*,?[ \t]*\d*[ \t]*\}", re.DOTALL
)
_OWN_LIMIT = re.compile(rb"\(\*LIMIT_MATCH=(\d+)\)")


class PatternTrouble(ValueError):
    """This is no regular expression.  The text is PCRE2's own."""


class NoAnswer(Exception):
    """The match was given up: nobody knows whether the pattern matches.  The text is PCRE2's own."""


def options(letters: bytes) -> int:
    """The flags behind a pcre: pattern.  Each toggles; CASELESS and DOTALL are on to begin with."""
    bits = CASELESS | DOTALL
    for letter in letters:
        bits ^= _LETTERS[letter]
    return bits


class Pattern:
    """A compiled pattern.  `groups` is the number of its parentheses that capture."""

    __slots__ = ("_code", "_slow", "_source", "flags", "groups", "source")

    def __init__(self, source: bytes, flags: int) -> None:
        verbs = _VERBS.match(source)
        leading = verbs[0] if verbs else b""
        limit = min([LIMIT, *(int(n) for n in _OWN_LIMIT.findall(leading))])
        self.source = source
        self.flags = flags
        self._source = leading + b"(*LIMIT_MATCH=%d)" % limit + _as_ever(source[len(leading) :], leading)
        self._code = _compile(self._source, flags, jit=True)
        self._slow: Any = None
        self.groups: int = _cy.pattern_capture_count(self._code)

    def matches(self, subject: bytes) -> bool:
        """Anywhere in the subject.  Raises NoAnswer."""
        try:
            return _match(self._code, subject, len(subject), 0, _CONTEXT, 0)[0] is not None
        except _FAILED as error:
            return self._again(subject, error) is not None

    def captures(self, subject: bytes) -> tuple[bytes, ...] | None:
        """All groups, the whole match first; a group that took no part is empty.  Raises NoAnswer."""
        try:
            data = _match(self._code, subject, len(subject), 0, _CONTEXT, 0)[0]
        except _FAILED as error:
            data = self._again(subject, error)
        if data is None:
            return None
        return tuple(_cy.match_substring_bynumber(data, subject, n) or b"" for n in range(self.groups + 1))

    def _again(self, subject: bytes, error: Any) -> Any:
        """The compiled form has a small stack of its own, the interpreter has none.  Raises NoAnswer."""
        if error.code != _JIT_STACKLIMIT:
            raise NoAnswer(str(error)) from None
        if self._slow is None:
            self._slow = _compile(self._source, self.flags, jit=False)
        try:
            return _match(self._slow, subject, len(subject), 0, _CONTEXT, 0)[0]
        except _FAILED as error:
            raise NoAnswer(str(error)) from None

    def enumerate(self, subject: bytes, ways: int, wanted: Callable[[tuple[tuple[int, int], ...]], bool]) -> None:
        """Show `wanted` the spans of each way this pattern (it ends in `(?C)`) matches, until it has seen enough."""
        left = ways

        def seen(block: Any) -> int:
            nonlocal left
            left -= 1
            spans = _cy.callout_block_substring_span_bynumber
            more = wanted(tuple(spans(block, subject, n) for n in range(self.groups + 1)))
            return 1 if more and left > 0 else -1  # PCRE2 callouts: 1 goes back for another way, negative gives up

        context = _cy.create_match_context(callout_function=seen)
        try:
            _match(self._code, subject, len(subject), 0, context, 0)
        except _FAILED:
            pass  # the limit: what `wanted` has seen so far is the answer


def _as_ever(source: bytes, verbs: bytes) -> bytes:
    """What this build of PCRE2 reads otherwise than those Postfix was linked with for years.

    `\\C` is any one byte (it was built without it; outside UTF `(?s:.)` is the
    same).  `{,4}` and `{ 1 }` are text, `\\x` without a digit is NUL; newer ones
    see quantifiers and an error there, and a rule file should not change its
    meaning with a library.
    """
    if b"\\Q" in source:
        return source
    bytewise = b"UTF" not in verbs

    def told(match: re.Match[bytes]) -> bytes:
        if match[0] == b"\\C" and bytewise:
            return b"(?s:.)"
        if match[1]:
            return b"\\x00"
        return b"\\" + match[0] if match[0][:1] == b"{" else match[0]

    return _NOVEL.sub(told, source)


def _compile(source: bytes, flags: int, *, jit: bool) -> Any:
    try:
        code = _cy.compile(source, flags, _NEVER_BACKSLASH_C | _ALT_BSUX)
    except _FAILED as error:
        # PCRE2's offset counts our limit too; its sentence alone says enough.
        raise PatternTrouble(str(error).partition("; ")[2] or str(error)) from None
    if jit:
        try:
            _cy.jit_compile(code)
        except _FAILED:
            pass  # (*NO_JIT), \C in UTF: the interpreter answers, more slowly
    return code
