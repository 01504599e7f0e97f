"""alarm_ways: how an alarm reaches somebody: the log, mail, a webhook, a program.

Each gets all that is new in one message.  A way that fails raises WayTrouble; what it should
have told is told again at the next look.  Each has half a minute, whatever the other side does:
one that hangs keeps the others waiting no longer, and leaves nothing running.

A webhook is asked where it was written and nowhere else: a redirect would turn the POST into a
GET that tells nothing, and let its host choose whom we ask.

    webhook, command   {"hostname", "text", "began": [{"key", "since", "text"}], "ended": [...]}

"text" is one string with a line each, which is what chat services show.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import urlsplit

from backupmx import __version__
from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate.report import digest_text
from backupmx.operate.report.alarms import News
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.sqlite import open_queue
from backupmx.route.routes import Routes

_SECONDS = 30.0
_AGENT = f"backupmx/{__version__}"


class WayTrouble(Exception):
    """It was not told.  Its text: why."""


class Way(Protocol):
    async def tell(self, news: News, now: float) -> None:
        """Raises WayTrouble."""
        ...


def ways(config: Config, routes: Routes, journal: Journal, wake: Callable[[], None]) -> Mapping[str, Way]:
    """Those that [alarms] names, and the log."""
    found: dict[str, Way] = {"log": Log(journal)}
    if config.alarms.mail_to:
        found["mail"] = Mail(config, routes, journal, wake)
    if config.alarms.webhook:
        found["webhook"] = Webhook(config.alarms.webhook, config.hostname)
    if config.alarms.command:
        found["command"] = Command(config.alarms.command, config.hostname)
    return found


class Log:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def tell(self, news: News, now: float) -> None:
        for one in news.began:
            self._journal.alarm_begins(one.key, one.text)
        for one in news.ended:
            self._journal.alarm_over(one.key, one.text, now - one.since)


class Mail:
    """By our own queue, as the digest: it survives a crash, and waits like all mail when it cannot go."""

    def __init__(self, config: Config, routes: Routes, journal: Journal, wake: Callable[[], None]) -> None:
        self._config, self._routes, self._journal, self._wake = config, routes, journal, wake

    async def tell(self, news: News, now: float) -> None:
        config, to = self._config, self._config.alarms.mail_to
        entry = digest_text.own_mail(
            config.hostname, to, self._routes.next_hop(to), self._routes.signature, news.subject(),
            [f"backupmx on {config.hostname}:", "", *news.lines(now)], now,
        )  # fmt: skip
        try:
            queue = await open_queue(config.queue_store, journal=self._journal, on_commit=self._wake)
            try:
                await queue.put(entry)
            finally:
                await queue.close()
        except QueueTrouble as trouble:
            raise WayTrouble(str(trouble)) from None
        self._journal.queued(entry.id, "", entry.message.size, 1)


class Webhook:
    def __init__(self, url: str, hostname: str) -> None:
        self._url, self._hostname = url, hostname

    async def tell(self, news: News, now: float) -> None:
        await asyncio.to_thread(self._post, report(news, self._hostname, now))

    def _post(self, body: bytes) -> None:
        parts, headers = urlsplit(self._url), {"Content-Type": "application/json", "User-Agent": _AGENT}
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        place = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        try:
            with contextlib.closing(kind(parts.hostname or "", parts.port, timeout=_SECONDS)) as connection:
                connection.connect()
                with _no_longer_than(_SECONDS, connection.sock):
                    connection.request("POST", place, body, headers)
                    answer = connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            raise WayTrouble(f"{parts.hostname}: {error or type(error).__name__}") from None
        if answer.status // 100 != 2:
            raise WayTrouble(f"{parts.hostname}: status {answer.status} {answer.reason}")


class Command:
    def __init__(self, command: tuple[str, ...], hostname: str) -> None:
        self._command, self._hostname = command, hostname

    async def tell(self, news: News, now: float) -> None:
        await asyncio.to_thread(self._run, report(news, self._hostname, now))

    def _run(self, body: bytes) -> None:
        try:
            process = subprocess.Popen(  # noqa: S603 the operator's own command, no shell
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise WayTrouble(f"{self._command[0]} cannot be run: {error.strerror}") from None
        try:
            _, said = process.communicate(body, _SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            raise WayTrouble(f"{self._command[0]} took longer than {_SECONDS:.0f} s") from None
        if process.returncode:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
            raise WayTrouble(f"{self._command[0]} ended with status {process.returncode}{f': {last}' if last else ''}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Of it and all that it started.  One that became somebody else (sudo) lives on, and is not waited for."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except PermissionError:
        pass
    for pipe in (process.stdin, process.stderr):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def _no_longer_than(seconds: float, connection: socket.socket) -> Iterator[None]:
    """A timeout is for each octet; this is for the whole.  Raises TimeoutError, also of what looks like an answer."""
    late = threading.Event()

    def close() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it is gone already
            connection.shutdown(socket.SHUT_RDWR)

    end = threading.Timer(seconds, close)
    end.daemon = True
    end.start()
    try:
        yield
    finally:
        end.cancel()
        if late.is_set():
            raise TimeoutError(f"no answer within {seconds:.0f} s")


def report(news: News, hostname: str, now: float) -> bytes:
    """Pure.  As JSON."""
    said = {
        "hostname": hostname,
        "text": "\n".join((f"backupmx on {hostname}", *news.lines(now))),
        "began": [asdict(one) for one in news.began],
        "ended": [asdict(one) for one in news.ended],
    }
    return json.dumps(said).encode()
