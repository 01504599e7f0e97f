"""The neighbours that the checks ask, one of each for all tests of this folder."""

import base64
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from backupmx.net.dns import Resolver
from tests.neighbours.clamd import clamd
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import unbound


@pytest.fixture(scope="session")
def clamd_addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with clamd(tmp_path_factory.mktemp("clamd")) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def spamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with spamd(tmp_path_factory.mktemp("spamd")) as address:
        yield address


class Key:
    """An RSA key to sign with, and its record."""

    def __init__(self, bits: int = 2048) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public = base64.b64encode(public)
        self.record = b"v=DKIM1; k=rsa; p=" + self.public


@pytest.fixture(scope="session")
def key() -> Key:
    return Key()


@pytest.fixture(scope="session")
def small_key() -> Key:
    return Key(768)


def txt(name: str, text: str) -> str:
    strings = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
    return f"{name}. 300 IN TXT {strings}"


ZONE = [
    # SPF
    txt("sender.test", "v=spf1 ip4:192.0.2.0/24 -all"),
    txt("mx1.sender.test", "v=spf1 a -all"),
    "mx1.sender.test. 300 IN A 192.0.2.1",
    txt("elsewhere.test", "v=spf1 ip4:198.51.100.1 -all"),
    txt("soft.test", "v=spf1 ~all"),
    txt("chain.test", "v=spf1 include:one.chain.test mx ptr exists:%{ir}.list.test -all"),
    txt("one.chain.test", "v=spf1 include:two.chain.test ?all"),
    txt("two.chain.test", "v=spf1 a:nowhere.test redirect=soft.test"),
    "chain.test. 300 IN MX 10 mail.chain.test.",
    "mail.chain.test. 300 IN A 192.0.2.1",
    txt("loop.test", "v=spf1 include:loop.test -all"),
    txt("double.test", "v=spf1 -all"),
    txt("double.test", "v=spf1 +all"),
    txt("broken-include.test", "v=spf1 include:host.servfail.test -all"),
    txt("early.test", "v=spf1 ip4:192.0.2.1 include:host.servfail.test -all"),
    txt("huge.test", "v=spf1 " + "ip4:198.51.100.1 " * 600 + "-all"),
    txt("long-term.test", "v=spf1 a:" + "x" * 600 + " -all"),
    *(txt(f"v{n}.void.test", "v=spf1 -all") for n in range(1)),
    txt("void.test", "v=spf1 a:n1.test a:n2.test a:n3.test a:n4.test +all"),
    txt("many.test", "v=spf1 " + " ".join(f"include:m{n}.test" for n in range(11)) + " +all"),
    *(txt(f"m{n}.test", "v=spf1 ?all") for n in range(11)),
    # DMARC
    txt("_dmarc.sender.test", "v=DMARC1; p=reject; sp=quarantine; np=none"),
    txt("_dmarc.strict.test", "v=DMARC1; p=reject; aspf=s; adkim=s"),
    txt("_dmarc.elsewhere.test", "v=DMARC1; p=none"),
    txt("_dmarc.department.sender.test", "v=DMARC1; p=none; psd=n"),
    txt("_dmarc.registry.test", "v=DMARC1; p=reject; psd=y"),
    "shop.sender.test. 300 IN A 192.0.2.9",
]


@pytest.fixture(scope="session")
def zone(key: Key, small_key: Key) -> list[str]:
    names = ("sender.test", "elsewhere.test", "strict.test", "sub.strict.test", "department.sender.test")
    return [
        *ZONE,
        *(txt(f"s1._domainkey.{name}", key.record.decode()) for name in names),
        txt("small._domainkey.sender.test", small_key.record.decode()),
        txt("revoked._domainkey.sender.test", "v=DKIM1; p="),
        txt("strict._domainkey.sender.test", "t=s; p=" + key.public.decode()),
        txt("tls._domainkey.sender.test", "s=other; p=" + key.public.decode()),
        txt("nonsense._domainkey.sender.test", "p=AAAA"),
        txt("text._domainkey.sender.test", "this is no key; p"),
    ]


@pytest.fixture(scope="session")
def dns_server(tmp_path_factory: pytest.TempPathFactory, zone: list[str]) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("unbound")
    with unbound(folder, zone, servfail=["servfail.test."], silent=["silent.test."]) as server:
        yield server


@pytest.fixture
def resolver(dns_server: str) -> Resolver:
    return Resolver([dns_server], timeout=4)
