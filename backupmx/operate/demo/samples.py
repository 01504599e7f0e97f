"""Pure.  samples: what the demo sends, and what should become of it.

The messages themselves are policy/samples/*.eml.  Expectations are written
here by hand: header names, findings, the rule that acts.  A rule is named by
the text of its pattern; its line number is looked up in the header_checks file
that the appliance reads.
"""

import base64
import random
from collections.abc import Mapping
from dataclasses import dataclass

from backupmx.mail.message import canonical

LARGE = 3 << 20
"""Octets, about, of the large message."""

_QUIET = {"virus": "clean", "spam": "clean"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that should act: its pattern, its action, the header it acts on."""

    pattern: str
    action: str
    header: str


@dataclass(frozen=True, slots=True)
class Sample:
    file: str
    about: str
    sender: str
    delivered: bool
    seen: Mapping[str, str]
    """Check -> what it should see; one that a virus may cut short is not here.  Empty: no check should run."""
    results: tuple[str, ...] = ()
    """What the checks of SPF, DKIM and DMARC should say, in the log and in Authentication-Results."""
    rules: tuple[Rule, ...] = ()
    """Rules that should act on what the client sent, in order."""
    own_rules: tuple[Rule, ...] = ()
    """Rules that should act on the fields our checks add, in order."""


FROM_EMPTY = r"/^From:\s*<>/m"
FLAG = r"/^X\-Spam\-Flag:\s+YES/m"
VIRUS = r"/^X\-Virus\-Status:\s+Yes/m"
LEVEL = r"/^X\-Spam\-Level:/m"
CHECKER = r"/^X\-Spam\-Checker\-Version:/m"
STATUS_NO = r"/^X\-Spam\-Status:\s+No/m"
SCANNED = r"/^X\-Virus\-Scanned:/m"
STATUS_CLEAN = r"/^X\-Virus\-Status:\s+Clean/m"

_SCAN_GOES = Rule(SCANNED, "IGNORE", "X-Virus-Scanned")
_VIRUS_CLEAN_GOES = Rule(STATUS_CLEAN, "IGNORE", "X-Virus-Status")
_SPAM_SCAN_GOES = (Rule(CHECKER, "IGNORE", "X-Spam-Checker-Version"), Rule(LEVEL, "IGNORE", "X-Spam-Level"))
CLEAN_GOES = (_SCAN_GOES, _VIRUS_CLEAN_GOES, *_SPAM_SCAN_GOES, Rule(STATUS_NO, "IGNORE", "X-Spam-Status"))
"""A clean bill of health is not passed on: neither a forged one nor ours."""

OWNER = "takahashi@example.jp"
NEIGHBOUR = "suzuki@example.net"
PEOPLE = (OWNER, NEIGHBOUR)

SAMPLES = (
    Sample(
        "clean.eml", "an ordinary mail", "sato@sender.example", True, _QUIET,
        results=("spf=pass", "dkim=none", "dmarc=pass"), own_rules=CLEAN_GOES,
    ),
    Sample(
        "signed.eml", "a mail with a DKIM signature", "notice@signed.example", True, _QUIET,
        results=("spf=pass", "dkim=pass", "dmarc=pass"), own_rules=CLEAN_GOES,
    ),
    Sample(
        "forged-headers.eml", "forged X-Spam-* and X-Virus-*: they go, the mail goes on", "news@sender.example", True,
        _QUIET, results=("spf=pass", "dkim=none", "dmarc=pass"),
        rules=CLEAN_GOES, own_rules=CLEAN_GOES,
    ),
    Sample(
        "flagged-elsewhere.eml", "X-Spam-Flag: YES from another server", "delivery@sender.example", False, {},
        rules=(Rule(FLAG, "DISCARD", "X-Spam-Flag"),),
    ),
    Sample(
        "from-empty.eml", "From: <>, from nobody", "x@bulk.example", False, {},
        rules=(Rule(FROM_EMPTY, "DISCARD", "From"),),
    ),
    Sample(
        "gtube.eml", "the line that every spam filter knows", "test@bulk.example", False,
        {"virus": "clean", "spam": "found"}, results=("spf=fail", "dmarc=fail"),
        own_rules=(_SCAN_GOES, _VIRUS_CLEAN_GOES, *_SPAM_SCAN_GOES, Rule(FLAG, "DISCARD", "X-Spam-Flag")),
    ),
    Sample(
        "eicar.eml", "the file that every virus scanner knows, attached", "invoice@sender.example", False,
        {"virus": "found"}, results=("spf=pass", "dmarc=pass"),
        own_rules=(_SCAN_GOES, Rule(VIRUS, "DISCARD", "X-Virus-Status")),
    ),
    Sample(
        "large.eml", "3 MB of photographs", "studio@sender.example", True, _QUIET,
        results=("spf=pass", "dkim=none", "dmarc=pass"), own_rules=CLEAN_GOES,
    ),
)  # fmt: skip


def content(sample: Sample, stored: bytes) -> bytes:
    """The sample as it goes over the wire: CRLF, the large one filled."""
    if b"@ATTACHMENT@" in stored:
        noise = random.Random(2026).randbytes(LARGE * 72 // 98)  # noqa: S311  (the same bytes every time)
        stored = stored.replace(b"@ATTACHMENT@\n", base64.encodebytes(noise))
    return canonical(stored)


def line_of(table: str, pattern: str) -> int:
    """The number of the line of a header_checks text that begins with `pattern`; 0: none does."""
    for number, line in enumerate(table.splitlines(), 1):
        if line.startswith(pattern + " "):
            return number
    return 0


def note(number: int, recipient: str) -> bytes:
    """A small mail for the hours when the primary is down, CRLF."""
    return canonical(
        f"From: Sato <sato@sender.example>\nTo: {recipient}\nSubject: While you were away, {number}\n"
        f"Date: Mon, 24 Nov 2025 12:0{number}:00 +0900\nMessage-ID: <away-{number}@sender.example>\n\n"
        f"Number {number}.\n".encode()
    )
