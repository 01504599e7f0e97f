"""config: every setting of backupmx.toml.

    values      durations and sizes, as they are written
    clients     the part of [smtp] that may refuse clients
    sections    what there is to set: name, type, default, its sentence
    alarms      [alarms]
    recipients  [recipients], which is long
    home        find the file, and of it only where the appliance lives
    read        the whole file: a frozen tree, or every error at once

Durations are numbers of seconds or "30s", "15m", "5d"; sizes are octets or
"50MiB".  Everything has a default but `hostname` and `relay.transport_map`.

What is not of `home` is imported when somebody asks for it: pydantic takes 0.2 s
until the tree is there, and some commands do not want it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from backupmx.config.home import SEARCH, ConfigTrouble, Home, Housed, find, home_of

if TYPE_CHECKING:
    from backupmx.config.read import load, parse
    from backupmx.config.recipients import Recipients, RecipientSource
    from backupmx.config.sections import Checks, Config, Milter, Smtp, Spam, Virus
    from backupmx.config.values import OnError, octets, seconds

__all__ = [
    "SEARCH",
    "Checks",
    "Config",
    "ConfigTrouble",
    "Home",
    "Housed",
    "Milter",
    "OnError",
    "RecipientSource",
    "Recipients",
    "Smtp",
    "Spam",
    "Virus",
    "find",
    "home_of",
    "load",
    "octets",
    "parse",
    "seconds",
]

_OF = {
    "read": ("load", "parse"),
    "recipients": ("RecipientSource", "Recipients"),
    "sections": ("Checks", "Config", "Milter", "Smtp", "Spam", "Virus"),
    "values": ("OnError", "octets", "seconds"),
}
_MODULES = {name: module for module, names in _OF.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
