"""Pure.  anchor: what every string that a pattern matches must begin with.

`prefix(source, flags)` reads the literal text behind `^` (or `\\A`, or the A
flag): `^X\\-Spam\\-Flag:\\s+YES` gives b"x-spam-flag:".  When in doubt it gives
b"", and the rule is asked about every header.

Soundness comes first:
    a|b        at the top level: the other branch need not begin so
    /m         lets `^` match after a fold too, but what follows a fold is a
               blank, so text that does not begin with one still must come first
    ab*        the last literal may be there no time at all
    (*VERB)    may make a pattern fail with an error where `no match` is due
    /x, \\Q     read letters differently: not looked into
    /i         the prefix is compared in lower case, which allows more, not less
Negated patterns have no prefix: they match what does not begin so.
"""

import re

from backupmx.rules.pattern import ANCHORED, EXTENDED, MULTILINE

_LITERAL = re.compile(rb"[A-Za-z0-9 _:;,!\"#%&'/<=>@`~-]|\\[^A-Za-z0-9\x80-\xff]")
_QUANTIFIER = b"*?+{"
_HIDDEN = re.compile(rb"\\[QEcNopx]|\(\?#|\(\*")


def prefix(source: bytes, flags: int) -> bytes:
    """In lower case; b"" when nothing is certain."""
    if flags & EXTENDED or _HIDDEN.search(source) or _alternatives(source):
        return b""
    if source[:1] == b"^":
        at = 1
    elif source[:2] == b"\\A":
        at = 2
    elif flags & ANCHORED:
        at = 0
    else:
        return b""
    found = b""
    while match := _LITERAL.match(source, at):
        if source[match.end() : match.end() + 1] and source[match.end()] in _QUANTIFIER:
            break
        found += match[0][-1:]
        at = match.end()
    if flags & MULTILINE and found[:1] in (b" ", b"\t"):
        return b""
    return found.lower()


def name(prefix: bytes) -> bytes:
    """The header name a prefix is complete for: b"x-spam-flag"; else b""."""
    label, colon, _ = prefix.partition(b":")
    return label if colon else b""


def _alternatives(source: bytes) -> bool:
    """Is there a `|` outside all parentheses?  A list like [|] may be read too strictly, never too loosely."""
    depth = at = 0
    while at < len(source):
        byte = source[at]
        if byte == 0x5C:
            at += 1
        elif byte == 0x5B and (end := _list_end(source, at)) > 0:
            at = end
        elif byte == 0x28:
            depth += 1
        elif byte == 0x29:
            depth -= 1
        elif byte == 0x7C and depth <= 0:
            return True
        at += 1
    return False


_LIST = re.compile(rb"\[\^?\]?(?:\[[:.=][a-z]*[:.=]\]|\\.|[^\]\\])*\]", re.DOTALL)


def _list_end(source: bytes, at: int) -> int:
    match = _LIST.match(source, at)
    return match.end() - 1 if match else -1
