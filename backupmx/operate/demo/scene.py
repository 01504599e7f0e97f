"""scene: the folder, the configuration and the ports of the demo.

The configuration is the shipped backupmx.toml with the few lines changed that
say where: `edited` replaces values of keys that must be there, so the demo
cannot drift from what operators get.
"""

import errno
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backupmx.operate.demo.step import Trouble

DOOR = "127.0.0.1"


class PortTaken(Trouble):
    """Another program listens where the demo wants to."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where everything is."""

    folder: Path
    port: int
    """Where the appliance listens, on 127.0.0.1."""
    primaries: Mapping[str, int]
    """Domain -> the port of its primary."""
    dns: str
    """IP:PORT of the demo's DNS."""
    people: tuple[str, ...]
    """Who exists."""

    @property
    def config(self) -> Path:
        return self.folder / "backupmx.toml"

    @property
    def header_checks(self) -> Path:
        return self.folder / "header_checks"

    def dress(self) -> None:
        """Turn the policy that `backupmx init` wrote into that of the demo.  Raises OSError, Trouble."""
        self.config.write_text(edited(self.config.read_text("utf-8"), self._changes()), "utf-8")
        routes = "".join(f"{domain}  smtp:[{DOOR}]:{port}\n" for domain, port in self.primaries.items())
        (self.folder / "transport.map").write_text(routes, "utf-8")
        (self.folder / "recipients").write_text("".join(f"{person}  OK\n" for person in self.people), "utf-8")

    def _changes(self) -> dict[tuple[str, str], object]:
        return {
            ("", "state_dir"): "state",
            ("", "user"): "",
            ("smtp", "listen"): [f"{DOOR}:{self.port}"],
            ("relay", "relay_recipients"): "recipients",
            ("queue", "min_free"): "10MiB",  # a demo's disk may be small; the messages are
            ("dns", "servers"): [self.dns],
            ("admin", "listen"): "",  # the screen is the page
            ("log", "format"): "json",
        }


def edited(text: str, changes: Mapping[tuple[str, str], object]) -> str:
    """Pure.  A TOML text with values replaced, (section, key) each; comments after them go.  Raises Trouble."""
    left = dict(changes)
    section = ""
    lines = []
    for line in text.splitlines():
        if head := re.match(r"\[([\w.]+)\]", line):
            section = head[1]
        key = (section, line.partition("=")[0].strip())
        # JSON's strings, lists and numbers are TOML's.
        lines.append(f"{key[1]} = {json.dumps(left.pop(key))}" if key in left else line)
    if left:
        raise Trouble(f"the shipped backupmx.toml has no {' and no '.join('.'.join(k).lstrip('.') for k in left)}")
    return "\n".join(lines) + "\n"


def free_port(wanted: int = 0) -> int:
    """A port of 127.0.0.1 that nobody listens on; 0: any.  Raises PortTaken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((DOOR, wanted))
            probe.listen()
        except OSError as error:
            why = {errno.EADDRINUSE: "another program listens there", errno.EACCES: "only root may listen there"}
            reason = why.get(error.errno or 0, error.strerror)
            raise PortTaken(f"{DOOR}:{wanted}: {reason}; choose another port with --port N (0: any free one)") from None
        port: int = probe.getsockname()[1]
        return port
