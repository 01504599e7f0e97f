"""appliance: the supervisor.  Sockets, identity, children, signals: start, run, stop.

    serve ─► Appliance ─fork─► relay     one: claims from the queue, brings mail to the primaries
                       ├fork─► worker    several: the door, one event loop each
                       └fork─► page      one, where there is one: what an operator sees and does in a browser

The supervisor reads every file, binds the ports (as root when asked), drops to
`user`, takes the lock of the state directory, and forks.  Children have the
policy from it, as it was read: a file that is broken afterwards keeps no
replacement of a dead child from its work.  Every worker has listening
sockets of its own on the same addresses (SO_REUSEPORT), or duplicates of those
that systemd opened (activation.py); the supervisor keeps them open, so
connections that waited for a worker that died are served by its successor.

    SIGTERM, SIGINT   the ports are closed, children end their dialogues and
                      attempts, then we go; who hangs is killed
    SIGHUP            the policy is read again; a wrong file keeps the old one
    a child dies      it is replaced, after a wait that grows while it keeps dying
    we die (kill -9)  the children see the pipe close, end their work and go;
                      until then they hold the lock, so no second appliance
                      starts on the same queue

systemd is told of each of these, and every half WatchdogSec= that we live (notify.py).

Why fork and not a pool of threads?  The work is Python; a core each is what
makes it fast.  Why not exec?  A child needs nothing but what was loaded and
checked already, and starts in milliseconds.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backupmx.config import Config, ConfigTrouble
from backupmx.journal import Journal
from backupmx.net.tls import kept
from backupmx.operate import page
from backupmx.operate.report import tally
from backupmx.operate.serve import activation, courier, worker
from backupmx.operate.serve.identity import become, out_of_reach
from backupmx.operate.serve.lock import PATIENCE, becomes_free, lock, taken
from backupmx.operate.serve.loop import SIGNALS
from backupmx.operate.serve.notify import Manager
from backupmx.operate.serve.policy import Files, read_all
from backupmx.operate.serve.ports import close, listening, shown
from backupmx.operate.serve.reload import read_again
from backupmx.receive.anvil import Anvil

_SIGNALS = (*SIGNALS, signal.SIGCHLD)
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0
_GRACE = 5.0
"""After smtp.stop_timeout children close their queue and go; who has not by then hangs."""
_STEADY = 30.0
"""A child that lived so long was all right: its next death waits _FIRST_WAIT again."""
_STATUS_EVERY = 15.0
"""Seconds after which the line of `systemctl status` is made anew, where somebody reads it."""


@dataclass(slots=True)
class Child:
    """One place for a process: who sits there now, and when the next may."""

    name: str
    main: Callable[[], int]
    pid: int = 0
    started: float = 0.0
    wait: float = _FIRST_WAIT
    again_at: float = 0.0
    fell: bool = False
    """Who sat here died; an alarm stands until its successor has lived _STEADY."""


class Appliance:
    """One appliance on one state directory.  `run` returns the exit status."""

    def __init__(self, path: Path) -> None:
        """Reads the files.  Raises ConfigTrouble with everything that is in the way of a start."""
        self._path = path
        try:
            self._config, self._files = read_all(path)
        except ConfigTrouble as trouble:
            raise ConfigTrouble([*trouble.errors, *(obstacles(trouble.rest) if trouble.rest else ())]) from None
        if errors := obstacles(self._config, PATIENCE):
            raise ConfigTrouble(errors)
        self._journal = Journal(format=self._config.log.format)
        self._manager = Manager()
        self._tally = tally.Publisher(tally.path(self._config), "supervisor", self._journal)
        self._told = False
        """The tally knows how we are."""
        self._children: list[Child] = []
        self._stopping = False
        self._patience_ends = float("inf")
        self._lock = -1
        self._pipe = (-1, -1)
        self._sockets: list[list[socket.socket]] = []

    def run(self) -> int:
        """Start everything, wait for signals, stop everything."""
        self._sockets = listening(self._config.smtp.listen, self._config.smtp.workers)
        activation.done()
        become(self._config.user)
        os.umask(0o077)
        self._lock = lock(self._config)
        self._pipe = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        courier.prepare(self._config, self._journal)
        self._told = self._tally.begin()
        self._children = self._places()
        for child in self._children:
            self._start(child)
        self._journal.started(f"{len(self._sockets)} workers on {shown(self._sockets)}, one relay")
        self._manager.ready()
        self._tell_manager()
        while not (self._stopping and not any(child.pid for child in self._children)):
            self._wait()
        self._tally.end()
        self._journal.stopped("backupmx")
        return 0

    def _places(self) -> list[Child]:
        anvil = Anvil(len(self._sockets), ipv6_prefix=self._config.smtp.client_ipv6_prefix_length)

        def receiving(n: int, name: str, mine: list[socket.socket]) -> Callable[[], int]:
            def main() -> int:
                self._close_sockets(but=mine)
                anvil.died(n)  # what our predecessor held open
                return worker.main(name, self._config, self._files, mine, self._pipe[0], anvil.hand(n))

            return main

        def relaying() -> int:
            self._close_sockets()
            return courier.main(self._config, self._files, self._pipe[0])

        names = {f"worker {n + 1}": (n, mine) for n, mine in enumerate(self._sockets)}
        mail = [Child("relay", relaying), *(Child(name, receiving(n, name, mine)) for name, (n, mine) in names.items())]
        return [*mail, Child("page", self._show)] if self._has_page() else mail

    def _has_page(self) -> bool:
        """Somewhere to show it, and with what; what is wanted and cannot be is said."""
        if not self._config.admin.listen:
            return False
        if absent := page.missing():
            self._journal.warned(f"no page on admin.listen: {', '.join(absent)} missing; pip install 'backupmx[page]'")
        return not absent

    def _show(self) -> int:
        from backupmx.operate.page import process  # in this child alone: the others do without its libraries

        self._close_sockets()
        return process.main(self._config, self._files, self._pipe[0])

    def _close_sockets(self, but: list[socket.socket] | None = None) -> None:
        """A port is closed only when nobody holds it: what a process does not serve it must not keep open."""
        close(mine for mine in self._sockets if mine is not but)

    def _wait(self) -> None:
        """One signal, or the time at which a child may be started again."""
        now = time.monotonic()
        vacant = [c.again_at for c in self._children if not c.pid and not self._stopping]
        fell = [c.started + _STEADY for c in self._children if c.pid and c.fell]
        status = _STATUS_EVERY if self._manager.listens else 3600
        longest = now + min(self._manager.every or 3600, status if self._told else tally.EVERY)
        timeout = max(0.0, min([*vacant, *fell, self._patience_ends, longest]) - now)
        info = signal.sigtimedwait(_SIGNALS, timeout)
        if info is not None:
            if info.si_signo == signal.SIGHUP and not self._stopping:
                self._reload()
            elif info.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._stop()
        self._reap()
        if time.monotonic() >= self._patience_ends:
            self._kill_who_hangs()
        for child in self._children:
            if not child.pid and not self._stopping and child.again_at <= time.monotonic():
                self._start(child)
            if child.pid and child.fell and child.started + _STEADY <= time.monotonic():
                child.fell = False
                self._journal.clear(f"child {child.name}")
        self._told = self._tally.publish()
        self._tell_manager()

    def _tell_manager(self) -> None:
        """A sign of life, and how we are in one line."""
        if not self._manager.listens:
            return
        self._manager.alive()
        running = sum(1 for child in self._children if child.pid)
        if self._stopping:
            self._manager.told(f"stopping: {running} processes end their work")
            return
        wrong = [standing.alarm.text for standing in tally.read(self._config).alarms]
        where = f"{running} of {len(self._children)} processes on {shown(self._sockets)}"
        self._manager.told(f"ALARM: {'; '.join(wrong)} ({where})" if wrong else where)

    def _start(self, child: Child) -> None:
        child.started = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:  # no process to be had now: the others go on, this place is tried again
            self._vacant(child, error.strerror or "fork failed")
            return
        if pid:
            child.pid = pid
            self._journal.started(f"{child.name}, pid {pid}")
            return
        status = 70
        try:
            os.close(self._pipe[1])
            status = child.main()
        except BaseException as error:
            self._journal.bug(child.name, error)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            child.pid = 0
            self._tally.forget(pid)
            if not self._stopping:
                self._died(child, status)

    def _died(self, child: Child, status: int) -> None:
        how = f"signal {-status}" if (status := os.waitstatus_to_exitcode(status)) < 0 else f"status {status}"
        self._vacant(child, how)

    def _vacant(self, child: Child, how: str) -> None:
        lived = time.monotonic() - child.started
        child.wait = _FIRST_WAIT if lived > _STEADY else min(child.wait * 2, _LONGEST_WAIT)
        child.again_at = time.monotonic() + child.wait
        child.fell = True
        self._journal.died(child.name, how, child.wait)

    def _stop(self) -> None:
        if not self._stopping:
            self._patience_ends = time.monotonic() + self._config.smtp.stop_timeout + _GRACE
        self._stopping = True
        self._manager.stopping()
        self._close_sockets()
        self._signal(signal.SIGTERM)

    def _kill_who_hangs(self) -> None:
        """As if the power went: what they had not acknowledged its sender has still, what they had is on the disk."""
        for child in self._children:
            if child.pid:
                self._journal.warned(f"{child.name} did not end in time and was killed")
        self._signal(signal.SIGKILL)
        self._patience_ends = float("inf")

    def _reload(self) -> None:
        """The new files are read here first: only what is right reaches the children."""
        self._manager.reloading()
        try:
            config, files, fixed = read_again(self._config)
        except ConfigTrouble as trouble:
            self._journal.reload_failed(trouble.errors)
        else:
            if fixed:
                self._journal.warned(f"{', '.join(fixed)} changed: restart to apply")
            self._take(config, files)
        self._manager.ready()

    def _take(self, config: Config, files: Files) -> None:
        self._config, self._files = config, replace(files, tls=kept(self._files.tls, files.tls))
        if self._has_page() and not any(child.name == "page" for child in self._children):
            self._children.append(Child("page", self._show))
        self._signal(signal.SIGHUP)
        self._journal.reloaded("policy read again")

    def _signal(self, number: int) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)


def obstacles(config: Config, patience: float = 0.0) -> list[str]:
    """What this host has against a start: another appliance, no such user, ports that cannot be had."""
    errors: list[str] = []
    if not becomes_free(config, patience):
        errors.append(taken(config))
    try:
        errors.extend(out_of_reach(config.user))
    except ConfigTrouble as trouble:
        errors.extend(f"{config.path}: {error}" for error in trouble.errors)
    try:
        close(listening(config.smtp.listen, 1))
    except ConfigTrouble as trouble:
        errors.extend(f"{config.path}: {error}" for error in trouble.errors)
    return errors
