"""Pure.  replacement: the text of an action, with $1, ${1}, $(1) from the match.

`$$` is a dollar.  A bare `$` takes letters, digits and `_` behind it, so `$1st`
is the macro "1st" and no number: Postfix then skips the whole rule
(mac_parse.c, dict_pcre_prescan).  `$0` is refused too.  A group that took no
part in the match is empty text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(rb"[A-Za-z0-9_]*")
_CLOSING = {0x28: 0x29, 0x7B: 0x7D}


class BadReplacement(ValueError):
    """Postfix would skip the rule.  The text says why."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Literal text and group numbers, in order."""

    pieces: tuple[bytes | int, ...]
    highest: int
    """The largest group number; 0: the text is always the same."""

    def text(self, groups: Sequence[bytes] = ()) -> bytes:
        """The text for a match; `groups[0]` is the whole match."""
        return b"".join(groups[piece] if isinstance(piece, int) else piece for piece in self.pieces)


def parse(text: bytes) -> Replacement:
    """Raises BadReplacement."""
    pieces: list[bytes | int] = []
    at = 0
    while at < len(text):
        dollar = text.find(b"$", at)
        if dollar < 0:
            pieces.append(text[at:])
            break
        pieces.append(text[at:dollar])
        if text[dollar + 1 : dollar + 2] == b"$":
            pieces.append(b"$")
            at = dollar + 2
        else:
            name, at = _macro(text, dollar + 1)
            pieces.append(_number(name))
    numbers = [p for p in pieces if isinstance(p, int)]
    return Replacement(tuple(p for p in pieces if p != b""), max(numbers, default=0))


def _macro(text: bytes, at: int) -> tuple[bytes, int]:
    """The macro name that begins at `at`, and where the text goes on."""
    closing = _CLOSING.get(text[at]) if at < len(text) else None
    if closing is None:
        match = _NAME.match(text, at)
        assert match is not None
        return match[0], match.end()
    opening, level, end = text[at], 1, at + 1
    while level:
        if end == len(text):
            raise BadReplacement(f'truncated macro reference: "{text.decode("utf-8", "backslashreplace")}"')
        level += (text[end] == opening) - (text[end] == closing)
        end += 1
    return text[at + 1 : end - 1], end


def _number(name: bytes) -> int:
    shown = name.decode("utf-8", "backslashreplace")
    if not name:
        raise BadReplacement("empty macro name")
    if not name.isdigit():
        raise BadReplacement(f'non-numeric replacement index "{shown}"')
    digits = name.lstrip(b"0")
    if not digits or len(digits) > 5:  # PCRE2 has at most 65,535 groups
        raise BadReplacement(f'out of range replacement index "{shown}"')
    return int(digits)
