"""Pure.  field: header fields of ours, built so that nothing hostile can get into one.

What engines, DNS and messages say ends up in fields that others parse and
that a person reads.  `plain` lets printable ASCII through and makes "?" of
everything else, so no value can end a field, begin another or forge a fold.

    resinfo("spf", "fail", smtp_mailfrom="example.com")   "spf=fail smtp.mailfrom=example.com"
    folded("X-Spam-Status:", ["No, score=1.0", ...])      folds at 78 where it can

Standards: RFC 5322 2.1.1 (78 and 998), RFC 8601 2.2 (resinfo, pvalue).
"""

import re
from collections.abc import Iterable

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")
# RFC 2045 token without "/": what RFC 8601 calls a value that needs no quotes.
_COMMENT_MARKS = re.compile(rb"\\.|[()]", re.DOTALL)
_LONGEST = 255
_WIDTH = 78


def plain(text: str, longest: int = _LONGEST) -> str:
    """Printable ASCII of bounded length; everything else becomes "?"."""
    return _UNPRINTABLE.sub("?", text[:longest])


def pvalue(text: str) -> str:
    """A value of RFC 8601: a token as it stands, anything else in quotes."""
    text = plain(text)
    if _TOKEN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def comment(text: str) -> str:
    """A comment that no parenthesis inside it can end."""
    return "(" + re.sub(r"[()\\]", "?", plain(text, 120)) + ")"


def resinfo(method: str, result: str, reason: str = "", **properties: str) -> str:
    """method=result [(reason)] ptype.property=value ...; `smtp_mailfrom` is written smtp.mailfrom, "" is left out."""
    words = [f"{method}={result}"]
    if reason:
        words.append(comment(reason))
    words += [f"{name.replace('_', '.', 1)}={pvalue(value)}" for name, value in properties.items() if value]
    return " ".join(words)


def folded(name: str, pieces: Iterable[str]) -> bytes:
    """A logical field: pieces joined by a blank, folded before one that would pass column 78."""
    lines = [name]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) > _WIDTH and lines[-1].strip() not in ("", name):
            lines.append("\t" + piece)
        else:
            lines[-1] += " " + piece
    return "\n".join(lines).encode("ascii", "replace")


def uncommented(value: bytes) -> tuple[bytes, bool]:
    """A value from outside without its comments (RFC 5322 3.2.2, they nest), and whether the last one ends."""
    kept, depth, at = b"", 0, 0
    for mark in _COMMENT_MARKS.finditer(value):
        if mark[0] == b"(":
            kept += b"" if depth else value[at : mark.start()]
            depth += 1
        elif mark[0] == b")" and depth:
            depth -= 1
            at = mark.end()
    return (kept, False) if depth else (kept + value[at:], True)
