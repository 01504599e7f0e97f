"""net/tls_client.py: names and digests of real certificates."""

import hashlib
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backupmx.net import tls_client
from backupmx.net.tls_client import Level, TlsPolicy, Untrusted

CA = trustme.CA()


def shaken(certificate: trustme.LeafCert, policy: TlsPolicy) -> ssl.SSLObject:
    """The client's end of a handshake with a server that shows this certificate."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server_context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = policy.context.wrap_bio(to_client, to_server, server_hostname="mx.example.jp")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (client, server):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    return client


def policy(level: Level, *match: str, ca: trustme.CA = CA, tmp_path: Path) -> TlsPolicy:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return TlsPolicy(level, tls_client.context(level, ca_file=file), match)


@pytest.mark.parametrize(
    ("names", "match", "good"),
    [
        (["mx.example.jp"], "hostname", True),
        (["MX.Example.JP"], "hostname", True),
        (["*.example.jp"], "hostname", True),
        (["*.jp"], "hostname", False),
        (["mx.example.jp.evil.example"], "hostname", False),
        (["other.example", "mx.example.jp"], "hostname", True),
        (["example.jp"], "hostname", False),
        (["example.jp"], "nexthop", True),
        (["mx.example.jp"], "nexthop", False),
        (["mx.example.jp"], "dot-nexthop", True),
        (["a.b.example.jp"], "dot-nexthop", True),
        (["notexample.jp"], "dot-nexthop", False),
        (["a.partner.example"], ".partner.example", True),
        (["partner.example"], ".partner.example", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.11", False),
    ],
)
def test_names(names: list[str], match: str, good: bool, tmp_path: Path) -> None:
    """A certificate counts for the names it holds, a wildcard for one label; nothing else does."""
    verify = policy(Level.VERIFY, match, tmp_path=tmp_path)
    client = shaken(CA.issue_cert(*names), verify)
    if good:
        assert verify.check(client, "mx.example.jp", "example.jp") == "Verified"
    else:
        with pytest.raises(Untrusted, match="it is for"):
            verify.check(client, "mx.example.jp", "example.jp")


def test_common_name() -> None:
    """The common name counts only where there is no DNS name (RFC 6125 6.4.4)."""
    subject = (("commonName", "cn.example"),)
    assert list(tls_client.certified({"subject": (subject,)})) == ["cn.example"]
    named = {"subject": (subject,), "subjectAltName": (("DNS", "A.example"), ("IP Address", "192.0.2.1"))}
    assert list(tls_client.certified(named)) == ["a.example", "192.0.2.1"]
    assert list(tls_client.certified({})) == []


def test_another_ca(tmp_path: Path) -> None:
    """At verify a certificate by somebody else ends the handshake; at encrypt it does not matter."""
    stranger = trustme.CA().issue_cert("mx.example.jp")
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken(stranger, policy(Level.SECURE, "nexthop", tmp_path=tmp_path))
    encrypt = policy(Level.ENCRYPT, tmp_path=tmp_path)
    assert encrypt.check(shaken(stranger, encrypt), "mx.example.jp", "example.jp") == "Untrusted"


@pytest.mark.parametrize("what", ["certificate", "public key"])
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("key", list(trustme.KeyType))
def test_fingerprints(what: str, digest: str, key: trustme.KeyType, tmp_path: Path) -> None:
    """The digest of the certificate or of its public key counts, as `openssl x509` and `openssl pkey` make it."""
    issued = trustme.CA().issue_cert("mx.example.jp", key_type=key)
    parsed = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
    der = parsed.public_bytes(Encoding.DER)
    if what == "public key":
        der = parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    right = policy(Level.FINGERPRINT, "00" * 32, hashlib.new(digest, der).hexdigest(), tmp_path=tmp_path)
    assert right.check(shaken(issued, right), "mx.example.jp", "") == "Verified"
    wrong = policy(Level.FINGERPRINT, "00" * 32, tmp_path=tmp_path)
    with pytest.raises(Untrusted, match="none of the fingerprints"):
        wrong.check(shaken(issued, wrong), "mx.example.jp", "")


def test_protocols() -> None:
    """Only the versions that are named are spoken."""
    made = tls_client.context(Level.ENCRYPT, protocols=("TLSv1.2",))
    assert (made.minimum_version, made.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    client = shaken(CA.issue_cert("mx.example.jp"), TlsPolicy(Level.ENCRYPT, made))
    assert client.version() == "TLSv1.2"
