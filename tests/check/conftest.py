"""The neighbours that the checks ask, one of each for all tests of this folder."""

import base64
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from nacl.signing import SigningKey

from backupmx.check.virus_clamd import Clamd
from backupmx.net.dns import Resolver
from backupmx.net.endpoint import Endpoint
from tests.neighbours.clamd import clamd
from tests.neighbours.spamd import spamd
from tests.neighbours.unbound import unbound


@pytest.fixture(scope="session")
def clamd_addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with clamd(tmp_path_factory.mktemp("clamd")) as addresses:
        yield addresses


@pytest.fixture(name="clamd", params=["unix", "tcp"])
def real_clamd(request: pytest.FixtureRequest, clamd_addresses: tuple[str, str]) -> Clamd:
    """Debian's, over each kind of socket."""
    return Clamd(Endpoint.parse(clamd_addresses[request.param == "tcp"]), 20)


@pytest.fixture(scope="session")
def spamd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with spamd(tmp_path_factory.mktemp("spamd")) as address:
        yield address


class Key:
    """An RSA key to sign with, and its record."""

    def __init__(self, private: bytes = b"", public: bytes = b"", kind: bytes = b"rsa") -> None:
        if not private:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
            der = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            public = base64.b64encode(key.public_key().public_bytes(*der))
        self.private, self.public = private, public
        self.record = b"v=DKIM1; k=%s; p=%s" % (kind, public)


# 768 bits, which cryptography no longer makes.  Signs nothing but these tests.
SMALL_PRIVATE = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIBywIBAAJhALvYYve25bx1PvDAp/4NnY31L0P5FCeaYwgoZd/rIZbAa7eqjzk2
mwPV482BjpQ7ideX+oIHxq4R1u+dhB7iJppmsyoAw6As8XmrZeYmQKHPFkT4WkB+
0I0zC07QkFqXMwIDAQABAmBb4WPHNrb4j4DR0epZ4d8G6L7NyK+LD4ERJHFwLVqo
mkYV+F9F5Oe94IkkpBJRfyz+DoGkZIGYqoO6XZjzjz0kSMF0xY3EDZB90giYJTDi
U1jy/owhnQ0jNEqgtFu4f8ECMQDtQIM82/IMHHPYw0uV8lrwSNA8Da4y2zbmZe7z
XnBzv9AQmu8QMn+SvLEb4NoWtG8CMQDKsGaSfZ+gxpX4HJL9yWSmC3DYTKJ6tYy9
i5AJ/Vfh3wMy9qEsQ4J9W5m6UtTD030CMQCishDNVU8hOwm+Zf6Zbz8pc+VIqWEC
Aw4c5V39io+28JywJm82Pkr5x2f05DbqRwUCMGUMlsaXrJp6BtBgZoPyAKSrdYHQ
ivyEQHtK9e+VB1hLV4vz2xx3N7oJjdWPcBWE/QIxANgRL3W6mFchQgGOMO/lW2QL
27xeEF7e4HxSnsHFG3GDYV5HbeCS1LuxA82XL9o8PA==
-----END RSA PRIVATE KEY-----
"""
SMALL_PUBLIC = (
    b"MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhALvYYve25bx1PvDAp/4NnY31L0P5FCeaYwgoZd/rIZbAa7eqjzk2mwPV482BjpQ7ideX"
    b"+oIHxq4R1u+dhB7iJppmsyoAw6As8XmrZeYmQKHPFkT4WkB+0I0zC07QkFqXMwIDAQAB"
)


@pytest.fixture(scope="session")
def key() -> Key:
    return Key()


@pytest.fixture(scope="session")
def edwards_key() -> Key:
    key = SigningKey.generate()
    return Key(base64.b64encode(bytes(key)), base64.b64encode(bytes(key.verify_key)), b"ed25519")


@pytest.fixture(scope="session")
def small_key() -> Key:
    return Key(SMALL_PRIVATE, SMALL_PUBLIC)


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
    txt("chain.test", "v=spf1 include:one.chain.test mx exists:%{ir}.list.test -all"),
    txt("one.chain.test", "v=spf1 include:two.chain.test ?all"),
    txt("two.chain.test", "v=spf1 a:nowhere.test redirect=soft.test"),
    "chain.test. 300 IN MX 10 mail.chain.test.",
    "mail.chain.test. 300 IN A 192.0.2.1",
    txt("loop.test", "v=spf1 include:loop.test -all"),
    txt("double.test", "v=spf1 -all"),
    txt("double.test", "v=spf1 +all"),
    txt("broken-include.test", "v=spf1 include:host.refused.test -all"),
    txt("early.test", "v=spf1 ip4:192.0.2.1 include:host.refused.test -all"),
    txt("huge.test", "v=spf1 " + "ip4:198.51.100.1 " * 600 + "-all"),
    txt("long-term.test", "v=spf1 a:" + "x" * 600 + " -all"),
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
def zone(key: Key, small_key: Key, edwards_key: Key) -> list[str]:
    names = ("sender.test", "elsewhere.test", "strict.test", "sub.strict.test", "department.sender.test")
    return [
        *ZONE,
        *(txt(f"s1._domainkey.{name}", key.record.decode()) for name in names),
        txt("small._domainkey.sender.test", small_key.record.decode()),
        txt("ed._domainkey.sender.test", edwards_key.record.decode()),
        txt("revoked._domainkey.sender.test", "v=DKIM1; p="),
        txt("strict._domainkey.sender.test", "t=s; p=" + key.public.decode()),
        txt("tls._domainkey.sender.test", "s=other; p=" + key.public.decode()),
        txt("nonsense._domainkey.sender.test", "p=AAAA"),
        txt("text._domainkey.sender.test", "this is no key; p"),
    ]


@pytest.fixture(scope="session")
def dns_server(tmp_path_factory: pytest.TempPathFactory, zone: list[str]) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("unbound")
    with unbound(folder, zone, refused=["refused.test."]) as server:
        yield server


@pytest.fixture
def resolver(dns_server: str) -> Resolver:
    return Resolver([dns_server], timeout=4)
