"""services: do engines and milters answer, which others run here, and do they detect anything?

    survey(config)      each engine and milter that is listed, asked
    found_here(...)     those that listen in their usual places, or where a service file
                        of this machine says, and are not listed (places)
    unheard(...)        services of this machine that nobody hears of
    detect              EICAR for viruses, GTUBE for spam, each sent through

Nothing is sent to a service but its greeting, unless `detect` is wished: then
a message from us to our postmaster, which no queue ever sees.

A check that finds a socket it may not open says so: that is the most common
trouble with milters (their group has to let us in).
"""

import asyncio
import base64
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backupmx.check import milters
from backupmx.check.finding import Findings, Mail
from backupmx.check.milter_listed import Milter
from backupmx.check.run import build
from backupmx.check.spam import SpamEngine
from backupmx.check.spam_rspamd import Rspamd
from backupmx.check.spam_spamd import Spamd
from backupmx.check.trouble import EngineAway, TooLarge, Unscannable
from backupmx.check.virus import VirusEngine
from backupmx.check.virus_clamd import Clamd, Stats
from backupmx.config import Config
from backupmx.journal import silent
from backupmx.mail.envelope import Client, Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.mail.verdict import Fate, Verdict
from backupmx.net.dns import Resolver
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import MilterTrouble, Timeouts, dialogue
from backupmx.operate.serve.places import OUR_HEADERS, Installed, Place
from backupmx.operate.serve.policy import read_engines, read_milters
from backupmx.route.routes import Routes

EICAR, GTUBE = "EICAR", "GTUBE"

_SECONDS = 5.0
# In pieces: no scanner shall take this file, or a core dump, for what it is not.
_EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
_GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-" + b"ANTI-UBE-TEST-EMAIL*C.34X"
_SIGNS = {
    EICAR: (b"eicar", b"infected", b"x-virus-status: yes"),
    GTUBE: (b"gtube", b"x-spam-flag: yes", b"x-spam-status: yes", b"x-spam: yes"),
}


@dataclass(frozen=True, slots=True)
class Service:
    """What we learnt of one."""

    kind: str
    name: str
    address: str
    """"" for what is embedded."""
    listed: bool
    answers: bool
    detail: str
    """Its version, or what is wrong."""
    seconds: float
    detects: bool | None = None
    """Whether it found what it is there to find; None: not asked, or nothing expected of it."""
    stanza: str = ""
    """What to write into backupmx.toml, when it is not listed."""
    trouble: str = ""
    """What is wrong although it answers: old signatures, mail that is too large for it."""
    stats: Stats | None = None
    """clamd only: how busy it is."""
    service: str = ""
    """The service file that led to it."""
    signatures: float | None = None
    """clamd only: when its signatures were made, Unix time; None: it does not say."""

    @property
    def good(self) -> bool:
        return self.answers and self.detects is not False and not self.trouble


@dataclass(frozen=True, slots=True)
class Wish:
    detect: bool
    mail: Callable[[str], Mail]
    """EICAR or GTUBE -> a message."""
    routes: Routes
    required: float
    """From this score on it is spam."""
    largest: int
    """Octets of a message."""
    max_age: float
    """Seconds; signatures may be so old."""


async def survey(config: Config, routes: Routes, detect: bool) -> list[Service]:
    """Everything that is listed, asked at once; in the order of the configuration.  Raises ConfigTrouble."""
    ready, listed = read_engines(config), read_milters(config).all
    resolver = Resolver(config.dns.servers)
    checks = build(config, resolver, silent(), ready)
    wish = _wish(config, routes, detect)
    virus = checks.virus.engines if checks.virus else ()
    spam = (checks.spam.engine,) if checks.spam else ()
    asked = [
        *(_virus(engine, _address(config, engine.name), True, wish) for engine in virus),
        *(_spam(engine, _address(config, engine.name), True, wish) for engine in spam),
        *(_milter(replace(milter, timeouts=_quick(milter.timeouts)), True, wish, config.hostname) for milter in listed),
    ]
    services = list(await asyncio.gather(*asked))
    await resolver.close()
    return services


async def found_here(config: Config, routes: Routes, places: Sequence[Place], detect: bool) -> list[Service]:
    """Of `places` those where somebody listens that is not listed; of one name only the first."""
    wish = _wish(config, routes, detect)
    taken = {_real(address) for address in _listed(config)}
    new = [place for place in places if _real(place.address) not in taken]
    found = await asyncio.gather(*(_try(place, wish, config.hostname) for place in new))
    first: dict[tuple[str, str], Service] = {}
    for service in found:
        if service is not None and _real(service.address) not in {_real(s.address) for s in first.values()}:
            first.setdefault((service.kind, service.name), service)
    return list(first.values())


def unheard(installed: Sequence[Installed], asked: Iterable[Service]) -> list[Service]:
    """Pure.  Services of this machine of whose name nobody answers and none is listed."""
    known = {service.name for service in asked}
    return [
        Service(each.kind, each.name, ", ".join(each.addresses), False, False, "nobody listens", 0.0, service=each.file)
        for each in installed
        if each.name not in known
    ]


async def _try(place: Place, wish: Wish, hostname: str) -> Service | None:
    """None: nobody is there, or somebody else."""
    if place.kind == "milter":
        milter = Milter(place.name, Endpoint.parse(place.address, "inet"), Timeouts(_SECONDS, _SECONDS, _SECONDS))
        service = await _milter(milter, False, wish, hostname)
        stanza = f'[[milter]]\nname = "{place.name}"\naddress = "{place.address}"\n'
    elif place.name == "clamd":
        clamd = Clamd(Endpoint.parse(place.address), _SECONDS, max_age=wish.max_age)
        service = await _virus(clamd, place.address, False, wish)
        stanza = f'[checks.virus]\nengine = "clamd"\naddress = "{place.address}"\n'
    else:
        engine = {"spamd": Spamd, "rspamd": Rspamd}[place.name](Endpoint.parse(place.address), _SECONDS)
        service = await _spam(engine, place.address, False, wish)
        stanza = f'[checks.spam]\nengine = "{place.name}"\naddress = "{place.address}"\n'
    closed = "Permission denied" in service.detail
    return replace(service, stanza=stanza, service=place.service) if service.answers or closed else None


async def _virus(engine: VirusEngine, address: str, listed: bool, wish: Wish) -> Service:
    async def detects() -> bool:
        return bool((await engine.scan(wish.mail(EICAR).message)).signature)

    service = await _engine(engine, address, listed, detects if wish.detect else None)
    if not (service.answers and isinstance(engine, Clamd)):
        return service
    try:
        stats, takes = await engine.stats(), await engine.takes(wish.largest + OUR_HEADERS)
    except (EngineAway, Unscannable) as trouble:
        return replace(service, answers=False, detail=str(trouble))
    wrong = "; ".join(filter(None, (engine.too_old, _too_small(takes, wish))))
    return replace(service, stats=stats, trouble=wrong, signatures=engine.made)


def _too_small(takes: bool, wish: Wish) -> str:
    needs = -(-(wish.largest + OUR_HEADERS) // (1 << 20))
    return "" if takes else f"too small for smtp.message_size_limit: write StreamMaxLength {needs}M into clamd.conf"


async def _spam(engine: SpamEngine, address: str, listed: bool, wish: Wish) -> Service:
    async def detects() -> bool:
        score = await engine.score(wish.mail(GTUBE), Findings())
        return score.certain or score.score >= wish.required

    return await _engine(engine, address, listed, detects if wish.detect else None)


async def _engine(
    engine: VirusEngine | SpamEngine,
    address: str,
    listed: bool,
    detects: Callable[[], Awaitable[bool]] | None,
) -> Service:
    started = time.monotonic()
    try:
        version = await engine.ping()
        seconds = time.monotonic() - started
        found = await detects() if detects else None
    except (EngineAway, Unscannable, TooLarge) as trouble:
        return Service("engine", engine.name, address, listed, False, str(trouble), time.monotonic() - started)
    return Service("engine", engine.name, address, listed, True, version, seconds, found)


async def _milter(milter: Milter, listed: bool, wish: Wish, hostname: str) -> Service:
    started, address = time.monotonic(), str(milter.endpoint)
    try:
        async with dialogue(milter.endpoint, milter.timeouts) as opened:
            seconds, version = time.monotonic() - started, opened.terms.version
    except MilterTrouble as trouble:
        return Service("milter", milter.name, address, listed, False, str(trouble), time.monotonic() - started)
    expected = expects(milter.name) if wish.detect else ""
    found, wrong = await _marks(milter, wish, expected, hostname) if expected else (None, "")
    service = Service("milter", milter.name, address, listed, True, f"milter protocol {version}", seconds, found)
    return replace(service, trouble=wrong)


async def _marks(milter: Milter, wish: Wish, what: str, hostname: str) -> tuple[bool, str]:
    """Whether a milter refuses, holds, discards or marks the test message.

    One that puts it off has found nothing: the engine behind it is away, or it greylists.  Its words are the trouble.
    """
    mail, shown = wish.mail(what), _Open()
    milked = await milters.Milters([replace(milter, on_error="accept")], hostname, silent()).run(
        mail, 0, 0, shown, wish.routes
    )
    written = b"\n".join(shown.headers).lower()
    if milked.verdict.fate is Fate.DEFER:
        return False, f"it puts mail off: {milked.verdict.reply}"
    return milked.verdict.fate is not Fate.ACCEPT or any(sign in written for sign in _SIGNS[what]), ""


class _Open:
    """No rules: every header a milter writes is let through, and remembered."""

    verdict = Verdict()

    def __init__(self) -> None:
        self.headers: list[bytes] = []

    def show(self, header: bytes) -> bytes | None:
        self.headers.append(header)
        return header


def expects(milter: str) -> str:
    """Pure.  What a milter of this name should find; "" for one that finds neither."""
    name = milter.lower()
    return EICAR if "clam" in name or "virus" in name else GTUBE if "spam" in name else ""


def test_mail(what: str, hostname: str, postmaster: str) -> Mail:
    """Pure.  From us to our postmaster: EICAR as an attachment, GTUBE as text."""
    postmaster = postmaster or f"postmaster@{hostname}"
    headers = [
        f"From: backupmx <postmaster@{hostname}>",
        f"To: {postmaster}",
        f"Subject: {what}, a test by backupmx check services",
        "Date: Tue, 01 Jan 2030 00:00:00 +0000",
        f"Message-ID: <check-services-{what.lower()}@{hostname}>",
        "MIME-Version: 1.0",
    ]
    body = b"\r\n" + _GTUBE + b"\r\n"
    if what == EICAR:
        headers.append('Content-Type: multipart/mixed; boundary="b"')
        part = b'Content-Type: application/octet-stream; name="eicar.com"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        body = b"\r\n--b\r\n" + part + base64.b64encode(_EICAR) + b"\r\n--b--\r\n"
    message = Message(tuple(header.encode("utf-8", "replace") for header in headers), (body,))
    client = Client("192.0.2.1", 25, "unknown", hostname, "ESMTP")  # RFC 5737: nobody's address, on nobody's list
    return Mail(message, Envelope(f"postmaster@{hostname}", (Recipient(postmaster),)), client, "NOQUEUE")


def _address(config: Config, engine: str) -> str:
    spam = config.checks.spam.address
    return {"clamd": config.checks.virus.address, "spamd": spam, "rspamd": spam}.get(engine, "")


def _listed(config: Config) -> list[str]:
    engines = [config.checks.virus.address] if "clamd" in config.checks.virus.engines else []
    engines += [config.checks.spam.address] if config.checks.spam.engine in ("spamd", "rspamd") else []
    return engines + [milter.address for milter in config.milter]


def _real(address: str) -> str:
    kind, _, place = address.partition(":")
    return f"unix:{os.path.realpath(place)}" if kind == "unix" else place.replace("localhost", "127.0.0.1")


def _wish(config: Config, routes: Routes, detect: bool) -> Wish:
    checks = config.checks
    return Wish(
        detect,
        lambda what: test_mail(what, config.hostname, routes.postmaster),
        routes,
        checks.spam.required_score,
        config.smtp.message_size_limit,
        checks.virus.max_age,
    )


def _quick(timeouts: Timeouts) -> Timeouts:
    return Timeouts(min(timeouts.connect, _SECONDS), timeouts.command, timeouts.content)
