"""Pure.  parts: what base64 and quoted-printable hide in a message.

`decoded` yields each encoded body as it was before it was encoded, in order.
It does not parse MIME: wherever a line says Content-Transfer-Encoding, what
follows the next empty line up to a line that begins with "--" is such a body,
at any depth and inside forwarded messages as well.  One pass, no recursion,
no more memory than the message.

Trouble
    Unscannable   more than 20,000 encoded bodies: nobody sends that, and each
                  costs an engine a call.
"""

import binascii
import re
from collections.abc import Iterator

from backupmx.check.trouble import Unscannable

MOST = 20_000

_ENCODING = re.compile(rb"^content-transfer-encoding:[ \t\r\n]*(base64|quoted-printable)", re.IGNORECASE | re.MULTILINE)
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def decoded(raw: bytes) -> Iterator[bytes]:
    """The encoded bodies of a message (CRLF line ends), decoded.  Raises Unscannable."""
    at = count = 0
    while match := _ENCODING.search(raw, at):
        start = raw.find(b"\r\n\r\n", match.end())
        if start < 0:
            return
        at = raw.find(b"\r\n--", start + 2)
        at = len(raw) if at < 0 else at
        count += 1
        if count > MOST:
            raise Unscannable(f"more than {MOST:,} encoded parts")
        body = raw[start + 4 : at]
        yield _base64(body) if match[1].lower() == b"base64" else binascii.a2b_qp(body)


def _base64(body: bytes) -> bytes:
    """As mail readers take it: other characters are skipped, what is cut off at the end is left out."""
    letters = body.translate(None, _NOT_BASE64)
    return binascii.a2b_base64(letters[: len(letters) // 4 * 4] + _padded(letters[len(letters) // 4 * 4 :]))


def _padded(rest: bytes) -> bytes:
    """The last two or three letters are one or two octets; a single one is nothing."""
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""
