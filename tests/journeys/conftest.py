"""The neighbours of the journeys: one each for all tests of a process; what a test stops or kills is its own."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.check.conftest import Key
from tests.journeys.appliance import Appliance
from tests.journeys.primary import Primary, real_primary
from tests.neighbours.clamd import clamd
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import unbound


def txt(name: str, text: str) -> str:
    strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
    return f"{name}. 300 IN TXT {strings}"


@pytest.fixture(scope="session")
def key() -> Key:
    """sender.test signs with it."""
    return Key()


@pytest.fixture(scope="session")
def dns(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Iterator[str]:
    """A real resolver that knows sender.test, our primaries' names and 127.0.0.1's."""
    zone = [
        txt("sender.test", "v=spf1 ip4:127.0.0.5 -all"),
        txt("forger.test", "v=spf1 -all"),
        txt("_dmarc.sender.test", "v=DMARC1; p=reject"),
        txt("_dmarc.forger.test", "v=DMARC1; p=none"),
        txt("s1._domainkey.sender.test", key.record.decode()),
        "5.0.0.127.in-addr.arpa. 300 IN PTR client.sender.test.",
        "client.sender.test. 300 IN A 127.0.0.5",
        "sender.test. 300 IN MX 10 mx.sender.test.",
        "mx.sender.test. 300 IN A 127.0.0.1",
        "primaries.test. 300 IN MX 10 nobody-there.test.",
        "primaries.test. 300 IN MX 20 primary.test.",
        "nobody-there.test. 300 IN A 127.0.0.9",
        "primary.test. 300 IN A 127.0.0.1",
    ]
    with unbound(tmp_path_factory.mktemp("unbound"), zone, silent=["silent.test."]) as server:
        yield server


@pytest.fixture(scope="session")
def clamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clamd(tmp_path_factory.mktemp("clamd"), stream_max=50 << 20) as (unix, _):
        yield unix


@pytest.fixture(scope="session")
def spamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with spamd(tmp_path_factory.mktemp("spamd")) as address:
        yield address


@dataclass(frozen=True, slots=True)
class Certificates:
    chain: Path
    """Key and certificate in one file."""
    client: ssl.SSLContext
    """It trusts them."""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = trustme.CA()
    issued = authority.issue_cert("mx2.example.test", "primary.example.test", "127.0.0.1")
    chain = tmp_path_factory.mktemp("tls") / "chain.pem"
    chain.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Certificates(chain, client)


@pytest.fixture
def primary() -> Iterator[Primary]:
    with real_primary() as running:
        yield running


Serve = Callable[..., Appliance]


@pytest.fixture
def serve(tmp_path: Path, dns: str) -> Iterator[Serve]:
    """serve(transport_map, header_checks=…, **settings) -> an appliance that runs until the test ends."""
    with ExitStack() as stack:

        def start(transport_map: str, *, started: bool = True, **settings: Any) -> Appliance:
            rules = {"header_checks": settings.pop("header_checks")} if "header_checks" in settings else {}
            settings = {"dns": {"servers": [dns]}, **settings}
            appliance = Appliance(tmp_path / "backupmx", settings, transport_map, **rules)
            stack.callback(_end, appliance)
            return appliance.start() if started else appliance

        yield start


def _end(appliance: Appliance) -> None:
    """What is left of a test that failed goes too."""
    if appliance.process is not None and appliance.process.poll() is None:
        children = appliance.children()
        try:
            appliance.stop()
        except Exception:
            appliance.process.kill()
            appliance.process.wait()
            for pid in children:
                from tests.journeys.appliance import kill

                kill(pid)
