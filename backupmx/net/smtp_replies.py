"""Pure.  smtp_replies: a peer's octets -> its replies (RFC 5321 4.2).

Replies are bounded: a line of more than 4,096 octets or a reply of more than
500 lines is nonsense, and so is a line that does not begin with three digits.
LF alone ends a line too.  Of several lines with different codes the last one's
counts, as with Postfix.

Trouble
    Nonsense   the peer does not speak SMTP; the connection is of no use.
"""

from collections.abc import Sequence

from backupmx.mail.reply import Reply

_LONGEST_LINE = 4096
# RFC 5321 4.5.3.1.5 says 512; Postfix takes 2,048 (line_length_limit) and cuts.
_MOST_LINES = 500


class Nonsense(Exception):
    """What came is no SMTP reply."""


class Replies:
    """Octets in, whole replies out: (code, lines without code)."""

    __slots__ = ("_lines", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    @property
    def inside(self) -> bool:
        """A reply has begun and not ended."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> list[tuple[int, list[bytes]]]:
        """The replies that are complete now.  Raises Nonsense."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise Nonsense(f"a reply line of more than {_LONGEST_LINE} octets")
        replies = []
        for line in whole:
            between = line[3:4]
            if not line[:3].isdigit() or between not in (b" ", b"-", b"\r", b"") or len(line) > _LONGEST_LINE:
                raise Nonsense(f"no SMTP reply: {line[:80].decode('ascii', 'backslashreplace')}")
            self._lines.append(line[4:].rstrip(b"\r"))
            if between != b"-":
                replies.append((int(line[:3]), self._lines))
                self._lines = []
            elif len(self._lines) >= _MOST_LINES:
                raise Nonsense(f"a reply of more than {_MOST_LINES} lines")
        return replies


def reply(code: int, lines: Sequence[bytes]) -> Reply:
    """A peer's reply as a value.  Codes SMTP does not know are temporary: unknown means temporary."""
    text = [line.decode("utf-8", "surrogateescape") for line in lines]
    return Reply.from_peer(code if 200 <= code < 600 else 451, text)
