"""spam_builtin: GTUBE and a file of scored rules, inside this process.

It is no SpamAssassin.  It knows what the authentication checks found, the
headers and the client, and adds up the scores of policy/spam.toml.  It reads
no body (GTUBE aside), learns nothing and asks no block list.  It is for a
site that wants the certain cases thrown away and runs nothing else; where
spamd can run, run spamd.

GTUBE, the line every spam filter knows, scores 1000 wherever it stands in the
first 512 KiB, encoded or not.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backupmx import __version__
from backupmx.check.aside import aside
from backupmx.check.finding import Findings, Mail
from backupmx.check.parts import decoded
from backupmx.check.spam import Score
from backupmx.check.spam_rules import Rule, load
from backupmx.check.trouble import RulesTrouble
from backupmx.mail.message import Message

GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SHIPPED = Path(__file__).parent.parent / "policy" / "spam.toml"
_SEEN = 512 << 10


class Builtin:
    name = "builtin"
    largest = sys.maxsize

    def __init__(self, rules: Sequence[Rule], clock: Callable[[], float] = time.time) -> None:
        self._rules = tuple(rules)
        self._clock = clock
        self._version = f"backupmx {__version__}"

    async def score(self, mail: Mail, authentication: Findings) -> Score:
        return await aside(mail.message.size, self._scored, mail, authentication.results())

    def _scored(self, mail: Mail, words: frozenset[str]) -> Score:
        now = self._clock()
        hits = [rule for rule in self._rules if rule.hits(mail, words, now)]
        total = sum(rule.score for rule in hits)
        tests = [rule.name for rule in hits]
        if has_gtube(mail.message):
            total += 1000.0
            tests.insert(0, "GTUBE")
        return Score(total, tuple(tests), self._version)

    def depends_on(self, mail: Mail) -> None:
        """It is as fast as a digest, and the hour and the DNS change what it says."""

    async def ping(self) -> str:
        return f"{self._version}, {len(self._rules)} rules"


def read(path: Path) -> tuple[Rule, ...]:
    """The rules of a file.  Raises RulesTrouble, also when it cannot be read."""
    try:
        return load(path.read_text("utf-8"), str(path))
    except OSError as error:
        raise RulesTrouble([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise RulesTrouble([f"{path}: not UTF-8"]) from None


def has_gtube(message: Message) -> bool:
    """Pure.  Whether the line every spam filter knows is in it, also in an encoded part."""
    raw = b"".join(_beginning(message))
    return GTUBE in raw or any(GTUBE in part for part in decoded(raw))


def _beginning(message: Message) -> Iterator[bytes]:
    left = _SEEN
    for chunk in message.chunks():
        yield bytes(chunk[:left])
        left -= min(left, len(chunk))
