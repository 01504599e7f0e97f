"""Pure.  reply: one SMTP reply, ours or a peer's (RFC 5321 4.2, RFC 3463).

A reply checks itself: the class of the enhanced status code is the class of
the reply code, so no caller can pair 451 with 5.x.x.  The text is one line;
CR, LF and other control characters in it become "?", because texts carry
addresses, captures from messages and rule files; and the line is no longer
than RFC 5321 4.5.3.1.5 lets a client expect.
"""

import re
from dataclasses import dataclass

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST = 510
"""Octets of a reply line without its CRLF."""
_PEER = re.compile(r"(\d{3})(?:[ -](?:([245]\.\d{1,3}\.\d{1,3})(?:\s+|$))?(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    code: int
    """Three digits: 250, 451, 550."""
    status: str
    """RFC 3463 code, "4.3.0"; "" in greetings, 354 and replies of peers without one."""
    text: str
    """One line, no CR or LF.  Bytes that are not UTF-8 stand as lone surrogates."""

    def __post_init__(self) -> None:
        if self.status and self.status[0] != str(self.code)[0]:
            raise ValueError(f"{self.code} and {self.status} disagree")
        if _CONTROL.search(self.text):
            object.__setattr__(self, "text", _CONTROL.sub("?", self.text))

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status else f"{self.code} {self.text}"

    def encode(self) -> bytes:
        """The line as it goes on the wire, without CRLF; what is too long is cut, between two characters."""
        line = str(self).encode("utf-8", "surrogateescape")
        if len(line) <= _LONGEST:
            return line
        end = _LONGEST
        while line[end] & 0xC0 == 0x80 and end > _LONGEST - 4:
            end -= 1
        return line[:end]

    @classmethod
    def from_peer(cls, code: int, lines: list[str]) -> "Reply":
        """A peer's reply: its text lines joined by a blank, its enhanced code taken out.

        A peer's nonsense (an enhanced code of another class) stays in the text.
        """
        text = " ".join(lines)
        match = _PEER.fullmatch(f"{code} {text}")
        if match and match[2] and match[2][0] == str(code)[0]:
            return cls(code, match[2], match[3].strip())
        return cls(code, "", text.strip())
