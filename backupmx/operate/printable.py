"""Pure.  printable: strangers' words on an operator's terminal, as text and in JSON.

Senders, Message-IDs and what a primary said are written by others.  A control
character among them could move the cursor, colour a line or answer for the
operator (ESC, and its 8-bit sisters 0x80-0x9f); a direction mark could turn a
line around.  All of these are written as an escape; letters of any script stay.
"""

import json
from dataclasses import asdict


def printable(text: str) -> str:
    """The same text with everything escaped that str.isprintable does not know as print: "\\x9b", "\\u202e"."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def json_text(value: object) -> str:
    """JSON that reads well and is as harmless: "\\u009b" for what does not print, also for a lone surrogate.

    A dataclass is an object of its fields.
    """
    text = json.dumps(value, ensure_ascii=False, default=asdict)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
