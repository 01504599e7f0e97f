"""notify: what systemd hears from us (sd_notify(3)): ready, reloading, stopping, alive, and one line of status.

systemd names a datagram socket in NOTIFY_SOCKET and, when the unit has
WatchdogSec=, how often it wants a sign of life.  Elsewhere there is no such
socket and nothing is sent.

    appliance ─ ready, told, alive, reloading, stopping ─► Manager ─► systemd

READY comes when ports are open, the queue is usable and every process is
started.  A sign of life comes from the supervisor's own loop: it proves that
whoever replaces a dead child is alive, not that each child is.

Trouble: none.  A manager that cannot be told stops no mail.

Why not python-systemd?  A datagram of a few words is no reason to build a C
extension.
"""

import os
import socket
import time
from collections.abc import MutableMapping

_A_SECOND = 1_000_000
_LONGEST_STATUS = 200


class Manager:
    """The service manager that started us, or nobody.  Takes its words out of `environ`: no child is to use them."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ, pid: int | None = None) -> None:
        name = environ.pop("NOTIFY_SOCKET", "")
        mine = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid() if pid is None else pid))
        usec = environ.pop("WATCHDOG_USEC", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.every = int(usec) / _A_SECOND / 2 if mine and name and usec.isdecimal() and int(usec) else None
        """Seconds between two signs of life: half of what it waits for.  None: it asked for none."""
        self._told = ""

    @property
    def listens(self) -> bool:
        """Somebody is there to be told."""
        return bool(self._address)

    def ready(self) -> None:
        """We serve; also after `reloading`."""
        self._send("READY=1")

    def reloading(self) -> None:
        """SIGHUP was heard.  The time is what Type=notify-reload compares (systemd 253 and later)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(time.monotonic() * _A_SECOND)}")

    def stopping(self) -> None:
        """SIGTERM was heard, dialogues and deliveries end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The sign of life that WatchdogSec= waits for."""
        if self.every is not None:
            self._send("WATCHDOG=1")

    def told(self, status: str) -> None:
        """What `systemctl status` shows; sent when it has changed."""
        line = "".join(c if c.isprintable() else "?" for c in status)[:_LONGEST_STATUS]
        if line != self._told:
            self._send(f"STATUS={line}")
            self._told = line

    def _send(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
                wire.settimeout(1)  # a manager that hangs does not hang us
                wire.sendto(words.encode("utf-8", "replace"), self._address)
        except OSError:
            pass  # it went, or its queue is full: what it is not told now it is told the next time
