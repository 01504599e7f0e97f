"""policy: the operator's files, read and checked together.

`read_policy(config)` gives what the files say or raises ConfigTrouble with
the errors of all of them at once: a broken rule, a bad transport line and a
missing certificate are one list, not three restarts.  `serve`, SIGHUP and
`check config` all call it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from backupmx.config import Config, ConfigTrouble
from backupmx.operate.tables import TableTrouble, read_table
from backupmx.recipients.known import Known, KnownTrouble
from backupmx.route.transport_map import Routes, TransportTrouble
from backupmx.rules.engine import Tables
from backupmx.rules.table import EMPTY, Table

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Files:
    """What the operator's files say."""

    tables: Tables
    routes: Routes
    known: Known | None
    """None: every address of a relay domain exists, as with an empty relay_recipient_maps."""
    warnings: tuple[str, ...]
    """Rules that could not be used and were skipped (rules.strict = false)."""


def read_policy(config: Config) -> Files:
    """Everything the configuration names.  Raises ConfigTrouble."""
    errors: list[str] = []

    def attempt(read: Callable[[], _T], instead: _T) -> _T:
        try:
            return read()
        except (TableTrouble, TransportTrouble, KnownTrouble) as trouble:
            errors.extend(getattr(trouble, "errors", None) or [str(trouble)])
        except OSError as error:
            errors.append(f"{error.filename}: {error.strerror}")
        return instead

    rules = config.rules

    def table(spec: str) -> Table:
        return attempt(lambda: read_table(config.table(spec)), EMPTY) if spec else EMPTY

    tables = Tables(
        header=table(rules.header_checks),
        mime=table(rules.mime_header_checks),
        nested=table(rules.nested_header_checks),
        body=table(rules.body_checks),
        milter=table(rules.added),
    )
    warnings = tuple(dict.fromkeys(_warnings(tables)))
    if rules.strict:
        errors.extend(w for w in warnings)
    routes = attempt(lambda: read_routes(config), None)
    known = attempt(lambda: read_known(config), None)
    if errors or routes is None:
        raise ConfigTrouble(errors)
    return Files(tables, routes, known, warnings)


def read_routes(config: Config) -> Routes:
    raise NotImplementedError


def read_known(config: Config) -> Known | None:
    raise NotImplementedError


def _warnings(tables: Tables) -> Iterator[str]:
    for table in (tables.header, tables.mime, tables.nested, tables.body, tables.milter):
        yield from table.warnings
