"""Pure.  author: the domains of a From: header, for DMARC.

    author_domains([b'"A, B" <a@example.com> (x@y)'])   ("example.com",)

One pass over the text: comments and quoted strings are skipped, of a group its
members count, of an address what follows its last "@".  Internationalized
domains become A-labels.  A header that cannot be read has no domains: DMARC
then has no author to ask about.

Why not email.utils.getaddresses?  What it makes of broken input has changed
between patch releases of Python, and it is quadratic.

Standards: RFC 5322 3.4, RFC 6532, RFC 9989 (author domain).
"""

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[<>,;:@]|[^<>,;:@()\"\[\s]+|\s+|[)]")
_ENDS = {
    "(": re.compile(r"\\.|[()]", re.DOTALL),
    '"': re.compile(r'\\.|"', re.DOTALL),
    "[": re.compile(r"\\.|]", re.DOTALL),
}
_LONGEST = 16 << 10
# Nobody has so many authors; what follows is no part of any.  A comment that never ends takes 4 ms.
_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*")


def author_domains(values: Iterable[bytes]) -> tuple[str, ...]:
    """The distinct domains of all From: headers, in lower case, in order."""
    domains: dict[str, None] = {}
    for value in values:
        text = value[:_LONGEST].decode("utf-8", "replace")
        for domain in _domains(text):
            if normal := ascii_domain(domain):
                domains[normal] = None
    return tuple(domains)


def ascii_domain(domain: str) -> str:
    """Lower case, A-labels, no dot at the end; "" when it is no domain name."""
    domain = domain.strip().rstrip(".").lower()
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return ""
    return domain if len(domain) <= 253 and _DOMAIN.fullmatch(domain) else ""


def _domains(text: str) -> Iterator[str]:
    """What follows the "@" of each address: in angle brackets if there are any, else bare."""
    bare, after_at, inside, angled = "", False, False, False
    for word in (*_words(text), ","):
        if word in (",", ";") and not inside:
            if bare and not angled:
                yield bare
            bare, after_at, angled = "", False, False
        elif word in ("<", ">"):
            if inside and bare:
                yield bare  # each pair of brackets counts: a reader may show either
            inside, angled = word == "<", True
            bare, after_at = "", False
        elif word == ":":
            bare, after_at = "", False  # what came before was a group's name or a source route
        elif word == "@":
            after_at = True
        elif after_at:
            bare, after_at = word, False


def _words(text: str) -> Iterator[str]:
    """Words and specials without blanks and comments; of a quoted string or a literal only its place."""
    at = 0
    while at < len(text):
        if text[at] in _ENDS:
            opening, at = text[at], _end(text, at)
            if opening != "(":
                yield opening
            continue
        match = _WORD.match(text, at)
        assert match  # every character begins a word or one of _ENDS
        at = match.end()
        if not match[0].isspace():
            yield match[0]


def _end(text: str, at: int) -> int:
    """Where a comment (they nest), a quoted string or a literal ends; without an end, all that follows is inside."""
    opening, depth = text[at], 1
    at += 1
    while depth and (mark := _ENDS[opening].search(text, at)):
        at = mark.end()
        if not mark[0].startswith("\\"):
            depth += 1 if mark[0] == "(" else -1
    return len(text) if depth else at
