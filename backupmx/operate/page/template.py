"""template: HTML of the templates beside this file.  Everything is escaped, and what does not print is shown so."""

import time
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backupmx.operate.measures import ago, clock, moment, size
from backupmx.operate.printable import printable


def _shown(value: Any) -> Any:
    """Of a text what prints; markup of our own as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(value: str) -> Markup:
    """A text of several lines, for a textarea: line ends and tabs stay, what else does not print is shown as such."""
    lines = ("\t".join(map(printable, line.split("\t"))) for line in value.replace("\r\n", "\n").split("\n"))
    return Markup("\n").join(lines)


def _since(when: float | None) -> str:
    """How long ago: "3h 5m"; "" for never."""
    return "" if when is None else ago(max(0.0, time.time() - when))


def _until(when: float) -> str:
    left = when - time.time()
    return f"in {ago(left)}" if left > 0 else "now"


def many(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def host(next_hop: str) -> str:
    """ "smtp:[primary1.example.net]:25" -> "primary1.example.net", for a headline."""
    place = next_hop.partition(":")[2] or next_hop
    return place[1:].partition("]")[0] if place.startswith("[") else place


_environment = Environment(
    loader=PackageLoader("backupmx.operate.page"), autoescape=True, undefined=StrictUndefined, finalize=_shown,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_environment.filters |= {
    "since": _since, "until": _until, "moment": moment, "size": size, "many": many, "host": host,
    "clock": clock, "n": "{:,}".format, "lines": _lines,
}  # fmt: skip


def render(name: str, **values: Any) -> str:
    return _environment.get_template(name).render(**values)
