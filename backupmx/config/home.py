"""home: where the appliance lives: its configuration file, its state, its queue.

    find       the configuration file: named, or in the usual places
    home_of    of a file's settings only those two that say where the appliance writes

A command for an appliance that runs (`backupmx flush`) needs no more than its
home: the appliance has read the whole file and found it good, and what somebody
wrote into it since shall not keep mail from going out.  It also spares the command
0.2 s, most of its life: nothing here imports pydantic, nor may it.
"""

import os
import pwd
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backupmx.config.sections import Config

SEARCH = (
    Path("backupmx.toml"),
    Path("/usr/local/etc/backupmx/backupmx.toml"),
    Path("/etc/backupmx/backupmx.toml"),
)
"""Where a command looks when neither -c nor $BACKUPMX_CONFIG names a file."""

STORE = "sqlite:queue.db"
"""The default of queue.store."""


class ConfigTrouble(Exception):
    """The configuration cannot be used.  `errors` are sentences: "FILE: KEY: what, and what to write"."""

    def __init__(self, errors: Sequence[str], rest: "Config | None" = None) -> None:
        """`rest`: the configuration without what is wrong in it, so that the files it names can be read too."""
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)
        self.rest = rest


class Housed(Protocol):
    """A Home, or a whole Config."""

    def state_path(self, path: str) -> Path: ...

    @property
    def queue_store(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of one appliance is."""

    path: Path
    """The configuration file."""
    state_dir: str
    store: str

    def state_path(self, path: str) -> Path:
        """Of a file we write: relative to state_dir, which is relative to the configuration's own directory."""
        return self.path.parent / self.state_dir / path

    @property
    def queue_store(self) -> str:
        """queue.store with its path made whole: "sqlite:/var/spool/backupmx/queue.db"."""
        kind, _, path = self.store.partition(":")
        return f"{kind}:{self.state_path(path)}"


def find(named: str | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """The configuration file: -c, $BACKUPMX_CONFIG, then the usual places.  Raises ConfigTrouble."""
    if named or (named := environment.get("BACKUPMX_CONFIG")):
        return Path(named)
    for path in SEARCH:
        if path.exists():
            return path
    places = ", ".join(str(p) for p in SEARCH)
    raise ConfigTrouble(
        [f"no configuration found in {places}; name one with -c FILE, or write one with backupmx init DIR"]
    )


def home_of(path: Path) -> Home:
    """By the file of a running appliance.  Raises ConfigTrouble."""
    values = read_toml(path)
    queue = values.get("queue", {})
    state_dir, store = values.get("state_dir", ""), queue.get("store", STORE) if isinstance(queue, dict) else None
    if not isinstance(state_dir, str) or not isinstance(store, str):
        raise ConfigTrouble([f"{path}: state_dir or queue.store: not a text; see backupmx check config"])
    return Home(path.absolute(), state_dir, store)


def read_toml(path: Path) -> dict[str, object]:
    """What the file says, unchecked.  Raises ConfigTrouble."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = unreadable(error) if isinstance(error, OSError) else "not UTF-8"
        raise ConfigTrouble([f"{path}: {why}"]) from None
    return toml(text, path)


def unreadable(error: OSError) -> str:
    """What the system says of a file; where rights are what lacks, whose, and what to do."""
    said = error.strerror or str(error)
    if not isinstance(error, PermissionError):
        return said
    user = whose(os.geteuid())
    return f"{said}; make it, and the folders above it, readable for the user {user} (chgrp, chmod)"


def whose(uid: int) -> str:
    """The user's name; the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def toml(text: str, path: Path) -> dict[str, object]:
    """The same of a text; `path` is where it stands."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigTrouble([f"{path}: {error}"]) from None
