"""virus_yara: YARA-X inside this process, with the rules of policy/yara/*.yar.

It scans the raw message and every base64 or quoted-printable part decoded.
A matching rule's name is the signature.  It knows what its rules know: the
shipped ones find EICAR and disguised programs.  It unpacks no archives; where
ClamAV can run, run ClamAV.

A message above 64 KiB is scanned in a thread.  A scan over its time, or a
message with more encoded parts than `parts.MOST`, is Unscannable.

Trouble
    RulesTrouble   a rule file that YARA-X does not take, with file and place;
                   or yara-x is not installed.  At start, loudly: an engine that
                   is configured and silently missing is worse than none.
"""

import asyncio
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from backupmx.check.parts import decoded
from backupmx.check.trouble import RulesTrouble, Unscannable
from backupmx.check.virus import Scan
from backupmx.mail.message import Message

if TYPE_CHECKING:
    import yara_x  # an extra, imported where it is used: FreeBSD has no wheel

_OFF_LOOP = 64 << 10
_VERSION = version("yara-x") if find_spec("yara_x") else ""
SHIPPED = Path(__file__).parent.parent / "policy" / "yara"


class Yara:
    name = "yara"

    def __init__(self, folder: Path, seconds: float) -> None:
        """Compiles every *.yar of the folder.  Raises RulesTrouble."""
        self._rules = _compiled(folder)
        self._count = sum(1 for _ in self._rules)
        self._seconds = max(1, round(seconds))
        self._scanner = self._new_scanner()

    async def scan(self, message: Message) -> Scan:
        if message.size > _OFF_LOOP:
            found = await asyncio.to_thread(lambda: self._match(self._new_scanner(), message))
        else:
            found = self._match(self._scanner, message)
        return Scan(found, self._version())

    async def ping(self) -> str:
        return f"{self._version()}, {self._count} rules"

    def _version(self) -> str:
        return f"YARA-X {_VERSION}"

    def _new_scanner(self) -> "yara_x.Scanner":
        """One a thread: a scanner is not shared.  Costs 0.4 ms, more than scanning a small message."""
        import yara_x

        scanner = yara_x.Scanner(self._rules)
        scanner.set_timeout(self._seconds)
        return scanner

    def _match(self, scanner: "yara_x.Scanner", message: Message) -> str:
        import yara_x

        try:
            for piece in _pieces(message):
                for rule in scanner.scan(piece).matching_rules:
                    return rule.identifier
        except yara_x.TimeoutError:
            raise Unscannable(f"not done in {self._seconds} s") from None
        except yara_x.ScanError as error:
            raise Unscannable(str(error)) from None
        return ""


def _pieces(message: Message) -> Iterator[bytes]:
    raw = b"".join(message.chunks())
    yield raw
    yield from decoded(raw)


def _compiled(folder: Path) -> "yara_x.Rules":
    if find_spec("yara_x") is None:
        raise RulesTrouble(['checks.virus.engine: yara-x is not installed; pip install "backupmx[yara]"'])
    import yara_x

    compiler = yara_x.Compiler()
    errors = []
    for path in sorted(folder.glob("*.yar")):
        try:
            compiler.new_namespace(path.stem)
            compiler.add_source(path.read_text("utf-8"), origin=str(path))
        except (yara_x.CompileError, UnicodeDecodeError, OSError) as error:
            errors.append(f"{path}: {error}")
    if errors:
        raise RulesTrouble(errors)
    return compiler.build()
