"""check services: who answers, who is found, and does anybody detect anything?"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupmx.check.virus_clamd import Stats
from backupmx.config import Config, load
from backupmx.operate.cli import check_services
from backupmx.operate.serve.places import Installed, Place
from backupmx.operate.serve.policy import read_policy
from backupmx.operate.services import EICAR, GTUBE, Service, expects, found_here, survey, test_mail, unheard
from backupmx.route.routes import Routes
from tests.check.faults import engine, in_turn
from tests.neighbours.clamav_milter import clamav_milter
from tests.neighbours.clamd import clamd
from tests.neighbours.opendkim import opendkim
from tests.neighbours.rspamd import rspamd_scanner
from tests.neighbours.spamass_milter import spamass_milter
from tests.neighbours.spamd import spamd
from tests.net.scripted_milter import ScriptedMilter, add, reply

test_mail.__test__ = False  # type: ignore[attr-defined]

OFF = '[checks.virus]\nengine = "off"\n[checks.spam]\nengine = "off"\n'


def configured(folder: Path, text: str = OFF) -> tuple[Config, Routes]:
    (folder / "transport.map").write_text("example.jp smtp:[primary1.example.net]\n")
    path = folder / "backupmx.toml"
    path.write_text(f'hostname = "mx2.example.net"\n[relay]\ntransport_map = "transport.map"\n{text}')
    config = load(path)
    return config, read_policy(config).routes


def listed(name: str, address: str) -> str:
    return f'[[milter]]\nname = "{name}"\naddress = "{address}"\n'


def told(services: list[Service]) -> list[tuple[str, bool, bool | None]]:
    return [(service.name, service.answers, service.detects) for service in services]


async def test_what_is_embedded_answers_and_detects(tmp_path: Path) -> None:
    """YARA finds EICAR, the built-in engine GTUBE; without --detect nobody is asked to."""
    text = '[checks.virus]\nengine = "yara"\n[checks.spam]\nengine = "builtin"\n'
    config, routes = configured(tmp_path, text)
    assert told(await survey(config, routes, detect=True)) == [("yara", True, True), ("builtin", True, True)]
    assert told(await survey(config, routes, detect=False)) == [("yara", True, None), ("builtin", True, None)]


async def test_who_is_away_is_said(tmp_path: Path) -> None:
    """An engine and a milter that do not answer, each with the reason."""
    text = f'[checks.virus]\naddress = "unix:{tmp_path}/clamd"\n[checks.spam]\nengine = "off"\n'
    config, routes = configured(tmp_path, text + listed("opendkim", f"unix:{tmp_path}/sock"))
    services = await survey(config, routes, detect=True)
    assert told(services) == [("clamd", False, None), ("opendkim", False, None)]
    assert [service.detail.rpartition(": ")[2] for service in services] == ["No such file or directory"] * 2
    assert not any(service.good for service in services)


@pytest.mark.parametrize(
    ("name", "edits", "script", "detects"),
    [
        ("my-clamav", [add(b"X-Virus-Status", b"Infected (Eicar)")], {}, True),
        ("my-clamav", [add(b"X-Virus-Status", b"Clean")], {}, False),
        ("spamass", [add(b"X-Spam-Flag", b"YES")], {}, True),
        ("rspamd", [], {b"E": [reply("554 5.7.1 Gtube pattern")]}, True),
        ("spamass", [add(b"X-Spam-Status", b"No, score=0")], {}, False),
        ("clamav", [], {b"E": [b"t"]}, False),
        ("opendkim", [], {}, None),
    ],
)
async def test_milters_are_asked_for_what_they_are_for(
    tmp_path: Path, name: str, edits: list[bytes], script: dict[bytes, list[bytes]], detects: bool | None
) -> None:
    """By its name: a virus milter has to do something about EICAR, a spam milter about GTUBE, others nothing."""
    async with ScriptedMilter(script, edits=edits) as milter:
        config, routes = configured(tmp_path, OFF + listed(name, milter.address))
        (service,) = await survey(config, routes, detect=True)
    assert (service.answers, service.detects, service.detail) == (True, detects, "milter protocol 6")


async def test_others_are_found_with_their_lines(tmp_path: Path) -> None:
    """Who listens in a usual place and is not listed is told with the section to add; who is listed is not."""
    async with ScriptedMilter() as one, ScriptedMilter() as two:
        places = [
            Place("milter", "opendkim", one.address), Place("milter", "opendkim", two.address),
            Place("milter", "rspamd", two.address), Place("milter", "clamav-milter", f"unix:{tmp_path}/none"),
            Place("engine", "clamd", one.address.replace("inet", "tcp")),
        ]  # fmt: skip
        config, routes = configured(tmp_path)
        others = await found_here(config, routes, places, detect=False)
        assert [(service.name, service.address) for service in others] == [
            ("opendkim", one.address), ("rspamd", two.address),
        ]  # fmt: skip
        stanza = f'[[milter]]\nname = "opendkim"\naddress = "{one.address}"\n'
        assert others[0].stanza == stanza
        config, routes = configured(tmp_path, OFF + stanza)
        assert "opendkim" not in [s.name for s in await found_here(config, routes, places[:1], detect=False)]


@pytest.mark.parametrize(
    ("name", "what"),
    [("clamav-milter", EICAR), ("virus", EICAR), ("spamass-milter", GTUBE), ("rspamd", GTUBE), ("opendkim", "")],
)
def test_what_a_name_promises(name: str, what: str) -> None:
    """clam and virus mean EICAR, spam means GTUBE."""
    assert expects(name) == what


def test_the_test_message_is_a_message() -> None:
    """It goes from us to our postmaster, whoever that is."""
    mail = test_mail(EICAR, "mx2.example.net", "postmaster@example.jp")
    assert mail.envelope.addresses == ("postmaster@example.jp",)
    assert test_mail(GTUBE, "mx2.example.net", "").envelope.addresses == ("postmaster@mx2.example.net",)
    assert mail.message.values(b"Subject") == [b"EICAR, a test by backupmx check services"]


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (Service("milter", "opendkim", "unix:/x", True, True, "milter protocol 6", 0.0004),
         "milter opendkim (unix:/x): milter protocol 6, 0.4 ms"),
        (Service("engine", "yara", "", True, True, "YARA-X", 0.0, True),
         "engine yara: YARA-X, 0.0 ms, finds the test message"),
        (Service("engine", "clamd", "unix:/x", True, False, "unix:/x: Connection refused", 0.0),
         "engine clamd (unix:/x): AWAY: unix:/x: Connection refused"),
        (Service("engine", "clamd", "unix:/x", True, True, "ClamAV 1.4", 0.001, None, "", "old", Stats(2, 1, 10, 5.0)),
         "engine clamd (unix:/x): ClamAV 1.4, 1.0 ms, queue 2, threads 1 of 10; TROUBLE: old"),
        (Service("milter", "rspamd", "inet:h:1", True, True, "milter protocol 6", 0.01, False),
         "milter rspamd (inet:h:1): milter protocol 6, 10.0 ms, DOES NOT FIND the test message"),
    ],
)  # fmt: skip
def test_one_line_each(service: Service, said: str) -> None:
    """Name, place, version, latency, and whether it finds what it should."""
    assert check_services.line(service) == said


def run(config: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "backupmx", "check", "services", "-c", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(tmp_path: Path) -> None:
    """0 when all that is listed answers, 1 when one is away, 2 when the configuration cannot be used; --json too."""
    configured(tmp_path)
    path = tmp_path / "backupmx.toml"
    good = run(path)
    assert (good.returncode, good.stdout.splitlines()[0]) == (0, "no engine and no milter is listed")
    configured(tmp_path, OFF + listed("x", f"unix:{tmp_path}/none"))
    away = run(path, "--json")
    assert away.returncode == 1
    record = json.loads(away.stdout.splitlines()[0])
    assert (record["kind"], record["name"], record["listed"], record["answers"]) == ("milter", "x", True, False)
    path.write_text("hostname = 1\n")
    assert run(path).returncode == 2


@contextmanager
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Place]]]:
    """Configuration lines for clamd, spamd and two milters of Debian's, and a third in its place."""
    new = tmp_path_factory.mktemp
    with (
        clamd(new("clamd")) as (clamd_address, _), spamd(new("spamd")) as spamd_address,
        clamav_milter(new("clamav"), clamd_address) as clamav, opendkim(new("opendkim")) as dkim,
        spamass_milter(new("spamass"), spamd_address) as spamass,
    ):  # fmt: skip
        text = f'[checks.virus]\naddress = "{clamd_address}"\n[checks.spam]\naddress = "{spamd_address}"\n'
        text += listed("clamav-milter", clamav) + listed("opendkim", dkim)
        yield text, [Place("milter", "spamass-milter", spamass), Place("milter", "opendkim", dkim)]


@pytest.mark.neighbours
async def test_debian_s_own(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """clamd and clamav-milter find EICAR, spamd GTUBE; spamass-milter is found in its place."""
    with real(tmp_path_factory) as (text, places):
        config, routes = configured(tmp_path, text)
        services = await survey(config, routes, detect=True)
        others = await found_here(config, routes, places, detect=True)
    assert told(services) == [
        ("clamd", True, True), ("spamd", True, True), ("clamav-milter", True, True), ("opendkim", True, None),
    ]  # fmt: skip
    assert told(others) == [("spamass-milter", True, True)]


@pytest.mark.neighbours
async def test_a_milter_whose_engine_is_away(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """clamav-milter without its clamd answers, and puts everything off: that is no detection."""
    with clamav_milter(tmp_path_factory.mktemp("clamav"), f"unix:{tmp_path}/none") as address:
        config, routes = configured(tmp_path, OFF + listed("clamav-milter", address))
        (service,) = await survey(config, routes, detect=True)
    assert (service.answers, service.detects, service.good) == (True, False, False)
    assert service.trouble.startswith("it puts mail off: 451 4.7.1")


@pytest.mark.neighbours
async def test_clamd_s_stream_max_length(tmp_path: Path) -> None:
    """What is larger than clamd takes would be put off for ever: told, with the line for clamd.conf."""
    line = "StreamMaxLength 51M"
    for megabytes, trouble in (
        (25, f"too small for smtp.message_size_limit: write {line} into clamd.conf"),
        (51, ""),
    ):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        with clamd(folder, megabytes << 20) as (address, _):
            text = f'[checks.virus]\naddress = "{address}"\n[checks.spam]\nengine = "off"\n'
            config, routes = configured(tmp_path, text)
            (service,) = await survey(config, routes, detect=False)
        assert (service.trouble, service.good) == (trouble, not trouble)
        assert service.stats is not None


async def test_old_signatures_are_trouble(tmp_path: Path) -> None:
    """clamd answers, and what it knows is older than max_age: not good."""
    answers = in_turn(b"ClamAV 1.4.6/27815/Mon Nov 23 08:27:00 2020\0", b"COMMAND UNAVAILABLE\0", b"stream: OK\0")
    async with engine(tmp_path, answers) as address:
        text = f'[checks.virus]\naddress = "{address}"\n[checks.spam]\nengine = "off"\n'
        config, routes = configured(tmp_path, text)
        (service,) = await survey(config, routes, detect=False)
    assert service.answers
    assert service.trouble == "signatures of 2020-11-23, older than checks.virus.max_age"
    assert ", signatures of 2020-11-23 08:27" in check_services.line(service)
    assert not service.good


@pytest.mark.neighbours
async def test_rspamd_s_scanner_is_found(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Over HTTP; it finds GTUBE, and its section is printed."""
    with rspamd_scanner(tmp_path_factory.mktemp("rspamd")) as address:
        config, routes = configured(tmp_path)
        (service,) = await found_here(config, routes, [Place("engine", "rspamd", address, "/x.service")], detect=True)
    assert (service.answers, service.detects, service.service) == (True, True, "/x.service")
    assert service.stanza == f'[checks.spam]\nengine = "rspamd"\naddress = "{address}"\n'


def test_services_that_nobody_hears_of() -> None:
    """A service file is here, and no socket of that name answers or is listed."""
    asked = [Service("milter", "opendkim", "unix:/x", True, True, "", 0.0)]
    here = [Installed("milter", "opendkim", "/a.service"), Installed("milter", "x-milter", "/b.service", ("unix:/y",))]
    (silent,) = unheard(here, asked)
    assert (silent.name, silent.service, silent.detail, silent.good) == (
        "x-milter",
        "/b.service",
        "nobody listens",
        False,
    )
