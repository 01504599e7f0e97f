"""run: all checks of one message at once, under one deadline.

    spf, dkim ──► dmarc ─┐
    arc ─────────────────┼─► builtin spam        virus, spamd: beside them
                         ▼
    Findings, one for each check that is on; of arc only if there is a chain

A virus that a rule throws away makes the spam check pointless: it is given up.

`run` never raises for what a message or an engine does, and is never late:
what is not done at the deadline is cancelled and found AWAY ("deadline").

`build` makes the checks from the configuration.

Trouble
    RulesTrouble   `build`: the files of yara or the builtin engine
    ValueError     `build`: an address that is none
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from backupmx.check.arc import Arc
from backupmx.check.breaker import EngineState
from backupmx.check.dkim import Dkim
from backupmx.check.dmarc import Dmarc
from backupmx.check.field import resinfo
from backupmx.check.finding import Finding, Findings, Mail, Seen
from backupmx.check.spam import Spam, SpamEngine
from backupmx.check.spam_builtin import SHIPPED as SHIPPED_SPAM
from backupmx.check.spam_builtin import Builtin, read
from backupmx.check.spam_rspamd import Rspamd
from backupmx.check.spam_spamd import Spamd
from backupmx.check.spf import Spf
from backupmx.check.trouble import RulesTrouble
from backupmx.check.virus import Virus, VirusEngine
from backupmx.check.virus_clamd import Clamd
from backupmx.check.virus_yara import SHIPPED as SHIPPED_YARA
from backupmx.check.virus_yara import Yara
from backupmx.config import Checks as Settings
from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.net.dns import Resolver
from backupmx.net.endpoint import Endpoint

_AUTHENTICATION = ("spf", "dkim", "dmarc", "arc")


class Checks:
    """The checks that are on.  None of the others is asked or mentioned."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        virus: Virus | None = None,
        spam: Spam | None = None,
        spf: Spf | None = None,
        dkim: Dkim | None = None,
        dmarc: Dmarc | None = None,
        arc: Arc | None = None,
    ) -> None:
        self.settings = settings
        self.virus, self.spam = virus, spam
        self._spf, self._dkim, self._dmarc, self._arc = spf, dkim, dmarc, arc
        self._journal = journal

    async def run(self, mail: Mail, settles: Callable[[Finding], bool] | None = None) -> Findings:
        """What every check that is on says of it.

        `settles`: whether a virus that was found is the end of the message whatever else is said; then nobody
        waits for the spam check, which is the dear one.
        """
        tasks = self._started(mail)
        if not tasks:
            return Findings()
        spared: set[str] = set()
        if settles and "spam" in tasks and "virus" in tasks:
            tasks["virus"].add_done_callback(partial(_spare, tasks["spam"], settles, spared))
        try:
            await asyncio.wait(tasks.values(), timeout=self.settings.deadline)
        finally:
            for task in tasks.values():
                task.cancel()  # of those that are done this changes nothing
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        found = [self._outcome(check, task, check in spared) for check, task in tasks.items()]
        return Findings(tuple(f for f in found if f is not None))

    @property
    def engines(self) -> tuple[VirusEngine | SpamEngine, ...]:
        """Those that can be away."""
        return (*(self.virus.engines if self.virus else ()), *((self.spam.engine,) if self.spam else ()))

    @property
    def states(self) -> tuple[EngineState, ...]:
        """Which engines this process holds to be up or away, since when and why."""
        breakers = (*(self.virus.breakers.values() if self.virus else ()), *((self.spam.breaker,) if self.spam else ()))
        return tuple(breaker.state for breaker in breakers)

    def _started(self, mail: Mail) -> dict[str, asyncio.Task[Finding | None]]:
        """A task for each check, in the order of their fields.  Those that need others wait for them."""
        tasks: dict[str, asyncio.Task[Finding | None]] = {}

        def start(check: str, looking: Awaitable[Finding | None]) -> None:
            tasks[check] = asyncio.ensure_future(self._guarded(check, looking))

        if self._spf:
            start("spf", self._spf.look(mail))
        if self._dkim:
            start("dkim", self._dkim.look(mail))
        if self._dmarc:
            needs = _some(tasks, ("spf", "dkim"))
            start("dmarc", _together(needs, self._dmarc, mail))
        if self._arc:
            start("arc", self._arc.look(mail))
        if self.virus:
            start("virus", self.virus.look(mail))
        if self.spam:
            needs = _some(tasks, _AUTHENTICATION) if isinstance(self.spam.engine, Builtin) else []
            start("spam", _after(needs, partial(self.spam.look, mail)))
        return tasks

    async def _guarded(self, check: str, looking: Awaitable[Finding | None]) -> Finding | None:
        """A bug in one check is a traceback in the log and a finding, not the end of the message."""
        try:
            return await looking
        except Exception as error:
            self._journal.bug(f"check {check}", error)
            return _none(check, Seen.UNSCANNABLE, f"internal error: {type(error).__name__}")

    def _outcome(self, check: str, task: "asyncio.Task[Finding | None]", spared: bool) -> Finding | None:
        if task.cancelled() and spared:
            return _none(check, Seen.SKIPPED, "a virus was found, and a rule throws it away")
        if task.cancelled():
            return _none(check, Seen.AWAY, "deadline", self.settings.deadline)
        return task.result()


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines with their rule files read; a process that is forked later has them as they were."""

    virus: tuple[VirusEngine, ...] = ()
    spam: SpamEngine | None = None


def engines(config: Config) -> Engines:
    """Those that a configuration asks for.  Raises RulesTrouble with the errors of all, ValueError."""
    virus: tuple[VirusEngine, ...] = ()
    errors: list[str] = []
    try:
        virus = tuple(_virus_engines(config))
    except ValueError as trouble:
        errors.extend(getattr(trouble, "errors", None) or [f"checks.virus: {trouble}"])
    try:
        spam = _spam_engine(config)
    except ValueError as trouble:
        errors.extend(getattr(trouble, "errors", None) or [f"checks.spam: {trouble}"])
    if errors:
        raise RulesTrouble(errors)
    return Engines(virus, spam)


def build(config: Config, resolver: Resolver, journal: Journal, ready: Engines | None = None) -> Checks:
    """The checks that a configuration asks for.  Raises RulesTrouble, unless `ready` are its engines."""
    settings = config.checks
    ready = ready or engines(config)
    virus, spam = list(ready.virus), ready.spam
    return Checks(
        settings,
        journal,
        virus=Virus(virus, config.hostname, journal) if virus else None,
        spam=Spam(spam, settings.spam.required_score, config.hostname, journal, settings.spam.required_score_for)
        if spam
        else None,
        spf=Spf(resolver) if settings.spf.enabled else None,
        dkim=Dkim(resolver) if settings.dkim.enabled else None,
        dmarc=Dmarc(resolver) if settings.dmarc.enabled else None,
        arc=Arc(resolver) if settings.arc.enabled else None,
    )


def _virus_engines(config: Config) -> Iterator[VirusEngine]:
    seconds = _seconds(config.checks.virus.timeout, config.checks.deadline)
    for name in config.checks.virus.engines:
        if name == "clamd":
            virus = config.checks.virus
            yield Clamd(Endpoint.parse(virus.address), seconds, max_age=virus.max_age)
        else:
            own = config.policy_path("yara")  # a site's own rules, beside backupmx.toml
            yield Yara(own if own.is_dir() else SHIPPED_YARA, seconds)


def _spam_engine(config: Config) -> SpamEngine | None:
    spam = config.checks.spam
    if spam.engine == "spamd":
        return Spamd(Endpoint.parse(spam.address), _seconds(spam.timeout, config.checks.deadline))
    if spam.engine == "rspamd":
        return Rspamd(Endpoint.parse(spam.address), _seconds(spam.timeout, config.checks.deadline))
    if spam.engine == "builtin":
        return Builtin(read(config.policy_path(spam.rules) if spam.rules else SHIPPED_SPAM))
    return None


def _seconds(timeout: float, deadline: float) -> float:
    """An engine's own time ends before the deadline of all: its silence is then its own finding."""
    return min(timeout, deadline * 0.9)


def _spare(
    spam: "asyncio.Task[Finding | None]",
    settles: Callable[[Finding], bool],
    spared: set[str],
    virus: "asyncio.Task[Finding | None]",
) -> None:
    """When the virus check is done: is the spam check still worth its time?"""
    finding = None if virus.cancelled() else virus.result()
    if finding and finding.seen is Seen.FOUND and settles(finding) and spam.cancel():
        spared.add("spam")


def _some(tasks: dict[str, asyncio.Task[Finding | None]], names: Sequence[str]) -> list[asyncio.Task[Finding | None]]:
    return [tasks[name] for name in names if name in tasks]


async def _together(needs: Sequence["asyncio.Task[Finding | None]"], dmarc: Dmarc, mail: Mail) -> Finding:
    """DMARC after SPF and DKIM, its first look-up beside theirs.  If that took long, little time is left."""
    started = time.monotonic()
    await asyncio.gather(dmarc.prefetch(mail), *([asyncio.wait(needs)] if needs else []))

    def look(found: Findings) -> Awaitable[Finding]:
        return dmarc.look(mail, found, max(1.0, dmarc.seconds - (time.monotonic() - started)))

    return await _after(needs, look)


async def _after(
    needs: Sequence["asyncio.Task[Finding | None]"], look: Callable[[Findings], Awaitable[Finding]]
) -> Finding:
    """Looks when the findings it needs are there."""
    if needs:
        await asyncio.wait(needs)
    found = (task.result() for task in needs if not task.cancelled())
    return await look(Findings(tuple(f for f in found if f is not None)))


def _none(check: str, seen: Seen, detail: str, seconds: float = 0.0) -> Finding:
    """The finding of a check that came to none: an authentication check says temperror."""
    if check not in _AUTHENTICATION:
        return Finding(check, check, seen, detail, seconds=seconds)
    results = (resinfo(check, "temperror", detail),)
    return Finding(check, check, seen, detail, results=results, facts={"result": "temperror"}, seconds=seconds)
