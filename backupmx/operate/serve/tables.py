"""tables: a table specification -> a table, read from its file.

    [pcre:|regexp:]PATH          pcre without a prefix
    pcre:{ {RULE}, {RULE} }      the rules themselves (Postfix 3.7)

Trouble
    TableTrouble   the file cannot be read, or the specification names a kind of
                   table we do not have.  `serve` and `check config` stop,
                   replay-headers and lint exit with status 2.

What is wrong *inside* a table is no trouble here: it is in `Table.warnings`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from backupmx.config.home import unreadable
from backupmx.rules.syntax import Kind
from backupmx.rules.table import EMPTY, Table, load
from backupmx.rules.tables import Tables

if TYPE_CHECKING:
    from backupmx.config import Config

_OTHER_KINDS = ("hash", "btree", "lmdb", "cdb", "dbm", "texthash", "inline", "static", "ldap", "mysql", "pgsql", "cidr")


class TableTrouble(Exception):
    """A table that cannot be read: which, and what to do."""

    def __init__(self, file: str, remedy: str) -> None:
        super().__init__(f"{file}: {remedy}")
        self.file = file
        self.remedy = remedy


def read_table(spec: str) -> Table:
    """Raises TableTrouble.  "" is no table."""
    spec = spec.strip()
    if not spec:
        return EMPTY
    kind, path = split(spec)
    if path.startswith("{"):
        return load(_inline(path, spec), f"{kind}:{{}}", kind)
    try:
        return load(Path(path).read_bytes(), path, kind)
    except OSError as error:
        raise TableTrouble(path, f"{unreadable(error)}: name a file that can be read") from None


def read_tables(config: "Config") -> Tables:
    """Those of [rules].  Raises TableTrouble."""
    return Tables(*(read_table(config.table(spec)) for spec in config.rules.specs))


def split(spec: str) -> tuple[Kind, str]:
    """ "regexp:/etc/x" -> ("regexp", "/etc/x").  Raises TableTrouble for Postfix's other kinds of table."""
    kind, colon, path = spec.partition(":")
    if colon and kind in ("pcre", "regexp"):
        return cast(Kind, kind), path.strip()
    if colon and kind in _OTHER_KINDS:
        raise TableTrouble(spec, f"{kind}: tables hold no patterns: write pcre:PATH or regexp:PATH")
    return "pcre", spec


def _inline(text: str, spec: str) -> bytes:
    """{ {rule}, {rule} } -> the rules as lines of a file.  Braces inside a rule must balance, as in Postfix."""
    rules: list[str] = []
    if not text.endswith("}"):
        raise TableTrouble(spec, "write pcre:{ {RULE}, {RULE} }: the last } is missing")
    inner = text[1:-1]
    at = 0
    while at < len(inner):
        if inner[at] in ", \t\r\n":
            at += 1
            continue
        if inner[at] != "{":
            raise TableTrouble(spec, "write pcre:{ {RULE}, {RULE} }: each rule stands in braces of its own")
        end = _closing(inner, at)
        if end < 0:
            raise TableTrouble(spec, "write pcre:{ {RULE}, {RULE} }: a } is missing")
        rules.append(inner[at + 1 : end].strip())
        at = end + 1
    return "\n".join(rules).encode("utf-8", "surrogateescape") + b"\n"


def _closing(text: str, at: int) -> int:
    level = 0
    for n in range(at, len(text)):
        level += (text[n] == "{") - (text[n] == "}")
        if not level:
            return n
    return -1
