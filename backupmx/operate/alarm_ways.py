"""alarm_ways: how an alarm reaches somebody: the log, mail, a webhook, a program.

Each gets all that is new in one message.  A way that fails raises WayTrouble; what it should
have told is told again at the next look.

    webhook, command   {"hostname", "text", "began": [{"key", "since", "text"}], "ended": [...]}

"text" is one string with a line each, which is what chat services show.
"""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Protocol

from backupmx import __version__
from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.operate import digest_text
from backupmx.operate.alarms import News
from backupmx.queue.entry import QueueTrouble
from backupmx.queue.sqlite import open_queue
from backupmx.route.routes import Routes

_SECONDS = 30.0


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
        headers = {"Content-Type": "application/json", "User-Agent": f"backupmx/{__version__}"}
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 config admits http and https
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
                pass  # 2xx, else it raises
        except (OSError, ValueError) as error:
            raise WayTrouble(str(error)) from None


class Command:
    def __init__(self, command: tuple[str, ...], hostname: str) -> None:
        self._command, self._hostname = command, hostname

    async def tell(self, news: News, now: float) -> None:
        await asyncio.to_thread(self._run, report(news, self._hostname, now))

    def _run(self, body: bytes) -> None:
        try:
            done = subprocess.run(  # noqa: S603 the operator's own command, no shell
                self._command, input=body, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                timeout=_SECONDS, check=False, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise WayTrouble(f"{self._command[0]} took longer than {_SECONDS:.0f} s") from None
        except OSError as error:
            raise WayTrouble(f"{self._command[0]} cannot be run: {error.strerror}") from None
        if done.returncode:
            last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
            raise WayTrouble(f"{self._command[0]} ended with status {done.returncode}{f': {last}' if last else ''}")


def report(news: News, hostname: str, now: float) -> bytes:
    """Pure.  As JSON."""
    said = {
        "hostname": hostname,
        "text": "\n".join((f"backupmx on {hostname}", *news.lines(now))),
        "began": [asdict(one) for one in news.began],
        "ended": [asdict(one) for one in news.ended],
    }
    return json.dumps(said).encode()
