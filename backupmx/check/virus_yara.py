"""virus_yara: YARA-X inside this process, with the rules of policy/yara/*.yar.

It scans the raw message and every base64 or quoted-printable part decoded.
A matching rule's name is the signature.  It knows what its rules know: the
shipped ones find EICAR and disguised programs.  It unpacks no archives; where
ClamAV can run, run ClamAV.

A large message is scanned in a thread (aside).  A scan over its time, or a
message with more encoded parts than `parts.MOST`, is Unscannable.

Trouble
    RulesTrouble   a rule file that YARA-X does not take, with file and place;
                   or yara-x is not installed.  At start, loudly: an engine that
                   is configured and silently missing is worse than none.
"""

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from backupmx.check.aside import aside, whole
from backupmx.check.parts import decoded
from backupmx.check.trouble import RulesTrouble, Unscannable
from backupmx.check.virus import Scan
from backupmx.mail.message import Message

if TYPE_CHECKING:
    import yara_x  # an extra, imported where it is used: FreeBSD has no wheel

_VERSION = version("yara-x") if find_spec("yara_x") else ""
SHIPPED = Path(__file__).parent.parent / "policy" / "yara"


class Yara:
    name = "yara"
    too_old = ""  # who writes them knows how old they are

    def __init__(self, folder: Path, seconds: float) -> None:
        """Compiles every *.yar of the folder.  Raises RulesTrouble."""
        self._rules = _compiled(folder)
        self._count = sum(1 for _ in self._rules)
        self._seconds = max(1, round(seconds))

    async def scan(self, message: Message) -> Scan:
        signature, trouble = await aside(message.size, _matched, self._rules, message, self._seconds)
        if trouble:
            raise Unscannable(trouble)
        return Scan(signature, self._version())

    async def signatures(self) -> str:
        return self._version()  # of one set of rules: another comes with another Yara

    async def ping(self) -> str:
        return f"{self._version()}, {self._count} rules"

    def _version(self) -> str:
        return f"YARA-X {_VERSION}"


def _matched(rules: "yara_x.Rules", message: Message, seconds: int) -> tuple[str, str]:
    """-> the first rule that matches, or what went wrong.

    A scanner must die in the thread that made it: it is made anew for each
    message (50 us), and trouble is a value, because an exception would carry
    this frame, and the scanner in it, to the caller's thread.
    """
    import yara_x

    scanner = yara_x.Scanner(rules)
    scanner.set_timeout(seconds)
    try:
        for piece in _pieces(message):
            for rule in scanner.scan(piece).matching_rules:
                return rule.identifier, ""
    except yara_x.TimeoutError:
        return "", f"not done in {seconds} s"
    except (yara_x.ScanError, Unscannable) as error:
        return "", str(error)
    return "", ""


def _pieces(message: Message) -> Iterator[bytes]:
    raw = whole(message.chunks())
    yield raw
    yield from decoded(raw)


def _compiled(folder: Path) -> "yara_x.Rules":
    if find_spec("yara_x") is None:
        raise RulesTrouble(['checks.virus.engine: yara-x is not installed; pip install "backupmx[yara]"'])
    rules, errors = _built(folder)
    if rules is None:
        raise RulesTrouble(errors)
    return rules


def _built(folder: Path) -> "tuple[yara_x.Rules | None, list[str]]":
    """-> the rules, or every error.  As in `_matched`: a compiler, too, must die where it was made."""
    import yara_x

    compiler = yara_x.Compiler()
    errors = []
    for path in sorted(folder.glob("*.yar")):
        try:
            compiler.new_namespace(path.stem)
            compiler.add_source(path.read_text("utf-8"), origin=str(path))
        except (yara_x.CompileError, UnicodeDecodeError, OSError) as error:
            errors.append(f"{path}: {error}")
    return (None if errors else compiler.build()), errors
