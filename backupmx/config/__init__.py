"""config: every setting of backupmx.toml.

    values      durations and sizes, as they are written
    sections    what there is to set: name, type, default, its sentence
    recipients  [recipients], which is long
    read        find and read the file: a frozen tree, or every error at once

Durations are numbers of seconds or "30s", "15m", "5d"; sizes are octets or
"50MiB".  Everything has a default but `hostname` and `relay.transport_map`.
"""

from backupmx.config.read import SEARCH, ConfigTrouble, find, load, parse
from backupmx.config.recipients import Recipients, RecipientSource
from backupmx.config.sections import Checks, Config, Milter, Smtp, Spam, Virus
from backupmx.config.values import OnError, octets, seconds

__all__ = [
    "SEARCH",
    "Checks",
    "Config",
    "ConfigTrouble",
    "Milter",
    "OnError",
    "RecipientSource",
    "Recipients",
    "Smtp",
    "Spam",
    "Virus",
    "find",
    "load",
    "octets",
    "parse",
    "seconds",
]
