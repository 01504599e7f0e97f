"""Pure.  vocabulary: the actions a table may name, and what each wants behind it.

    REJECT [text]      refused; "4.x.x text" makes it temporary.  Ends everything.
    DISCARD [text]     the client reads 250.  Ends everything.
    PASS [text]        no more rules for this message, no milters.
    REDIRECT address   one recipient in place of all.  No more rules, no milters.
    HOLD [text]        kept until an operator releases it
    FILTER hop         another next hop; the last one counts
    BCC address        one recipient more
    PREPEND, REPLACE   a header before, or in place of, this one
    IGNORE, STRIP      this header, or body line, is left out
    WARN, INFO         only logged
    DUNNO, OK          nothing, and no later rule is asked about this header

Words are read without regard to case, and end at a blank or a tab.  For a
header that a check or a milter adds, PREPEND and PASS are not known.
"""

import re
from typing import Literal

from backupmx.mail.address import Malformed, as_sent, check
from backupmx.mail.headers import label
from backupmx.rules.syntax import SPACE

Where = Literal["header", "body", "added"]

WORDS = frozenset(
    (
        "REJECT", "DISCARD", "PASS", "REDIRECT", "HOLD", "FILTER", "BCC", "PREPEND", "REPLACE", "IGNORE", "STRIP",
        "WARN", "INFO", "DUNNO", "OK",
    )
)  # fmt: skip


def split(text: bytes) -> tuple[str, bytes]:
    """Action text -> (word in capitals, argument).  Only blank and tab end the word."""
    word = re.split(rb"[ \t]", text, maxsplit=1)[0]
    return word.decode("latin-1").upper(), text[len(word) :].lstrip(SPACE)


def remark(word: str, argument: bytes, where: Where | None) -> str | None:
    """Why Postfix would take no action; None: it would.  `where` None: before any message is there."""
    shown = argument.decode("utf-8", "backslashreplace")
    if word not in WORDS or (where == "added" and word == "PASS"):
        return f"unknown action {word}"
    if word == "FILTER" and b":" not in argument:
        return f'bad FILTER command "{shown}": need transport:destination'
    if word in ("REDIRECT", "BCC") and b"@" not in argument:
        return f'bad {word} address "{shown}": need user@domain'
    if word in ("REDIRECT", "BCC") and where is None and not _is_address(argument):
        return f'bad {word} address "{shown}": need user@domain and nothing else'
    if word in ("PREPEND", "REPLACE"):
        if not argument:
            return f"{word} action without text"
        if where in ("header", "added") and not label(argument):
            return f'bad {word} header text "{shown}": need "headername: headervalue"'
    if word == "PREPEND" and where == "added":
        return "the PREPEND action is not implemented for added headers"
    return None


def address(argument: bytes) -> str | None:
    """Where mail for this argument goes; None: nowhere.  Postfix takes anything with an "@" and bounces the rest."""
    try:
        return as_sent(argument.decode("utf-8"))
    except (Malformed, UnicodeDecodeError):
        return None


def _is_address(argument: bytes) -> bool:
    """As an operator should have written it."""
    try:
        return bool(check(argument.decode("utf-8")))
    except (Malformed, UnicodeDecodeError):
        return False
