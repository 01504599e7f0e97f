"""Pure.  arrival: what a primary should have received of a message.

Our own fields stand on top; below them is every byte the client sent, less
the headers that a rule removed.  `differences` says it in sentences, none when
all is well.
"""

import re
from collections.abc import Sequence

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")


def differences(sent: bytes, received: bytes, *, removed: Sequence[str], own: Sequence[str]) -> list[str]:
    """What is not as it should be: `own` are the names of our fields on top, in order; `removed` those rules took."""
    wrong = []
    head, body = split(received)
    sent_head, sent_body = split(sent)
    gone = {name.lower().encode() for name in removed}
    kept = [field for field in sent_head if name_of(field) not in gone]
    ours = head[: len(head) - len(kept)] if len(head) >= len(kept) else []
    if [name_of(field) for field in ours] != [name.lower().encode() for name in own]:
        names = ", ".join(name_of(field).decode("ascii", "replace") for field in ours) or "nothing"
        wrong.append(f"on top of the sender's headers should stand {', '.join(own)}, and there stands {names}")
    if head[len(ours) :] != kept:
        wrong.append(f"the sender's headers came as {b' / '.join(head[len(ours) :])[:300]!r}")
    if body != sent_body:
        wrong.append(f"the body is not the sender's: {len(body)} octets of {len(sent_body)}")
    return wrong


def split(content: bytes) -> tuple[list[bytes], bytes]:
    """-> (header fields with their folds, the rest from the blank line on)."""
    head, blank, body = content.partition(b"\r\n\r\n")
    return re.split(rb"\r\n(?![ \t])", head), blank + body


def name_of(field: bytes) -> bytes:
    """The name in lower case; b"" when this is no field."""
    match = _FIELD.match(field)
    return match[1].lower() if match else b""


def value_of(content: bytes, name: str) -> str:
    """The first field of that name, unfolded; "" when there is none."""
    for field in split(content)[0]:
        if name_of(field) == name.lower().encode():
            return re.sub(r"\s+", " ", field.partition(b":")[2].decode("utf-8", "replace")).strip()
    return ""
