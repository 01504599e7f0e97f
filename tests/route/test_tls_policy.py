"""route/tls_policy.py: which level a next hop wants."""

import string
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from backupmx.net.tls_client import Level
from backupmx.route import tls_policy
from backupmx.route.tls_policy import PolicyTrouble, TlsPolicies

DIGEST = ":".join(["A4"] * 32)


def policies(text: str, folder: Path = Path()) -> TlsPolicies:
    return tls_policy.parse(text, "tls_policy", TlsPolicies(), folder=folder)


TABLE = policies(
    f"""\
# comment
[primary1.example.net]:25   verify
[primary1.example.net]\tencrypt
example.jp                  secure match=.example.net:mail.example.jp, servername=mx.example.jp
.example.jp                 fingerprint
                            match={DIGEST}|{DIGEST[:59]} match={DIGEST.replace("A4", "b5")}
Other.Example               none
"""
)


@pytest.mark.parametrize(
    ("nexthop", "level"),
    [
        ("[primary1.example.net]:25", "verify"),
        ("[primary1.example.net]", "encrypt"),
        ("[primary1.example.net]:26", "may"),
        ("primary1.example.net", "may"),
        ("example.jp", "secure"),
        ("example.jp:25", "may"),
        ("a.example.jp", "fingerprint"),
        ("a.b.Example.JP", "fingerprint"),
        ("[a.example.jp]", "may"),
        ("other.example", "none"),
    ],
)
def test_lookup(nexthop: str, level: str) -> None:
    """A next hop finds the line written like it; only a plain name finds its parents' too (Postfix)."""
    assert str(TABLE.lookup(nexthop).level) == level


def test_what_it_says() -> None:
    """Names and digests are those of the line, else those of the level."""
    assert TABLE.lookup("[primary1.example.net]:25").match == ("hostname",)
    found = TABLE.lookup("example.jp")
    assert (found.match, found.servername) == ((".example.net", "mail.example.jp"), "mx.example.jp")
    assert TABLE.lookup("a.example.jp").match == ("a4" * 32, "a4" * 20, "b5" * 32)
    assert tls_policy.level("secure").lookup("example.jp").match == ("nexthop", "dot-nexthop")
    assert policies("a.example none\nA.example may\n").warnings == (
        'tls_policy:2: "A.example" again; the first line counts, take this one out',
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("example.jp", "has no level"),
        ("example.jp verify-ca", 'unknown level "verify-ca"'),
        ("example.jp dane", "dane is not in this version"),
        ("example.jp fingerprint", "fingerprint needs match="),
        ("example.jp fingerprint match=zz", '"zz" is no digest'),
        ("example.jp fingerprint match=" + "00" * 16, "is no digest"),
        ("example.jp encrypt match=hostname", "match= means nothing at level encrypt"),
        ("example.jp verify match=a,match", '"match": write NAME=VALUE'),
        ("example.jp verify match=a::b", '"" is no name'),
        ("example.jp verify matches=a", 'unknown attribute "matches"'),
        ("example.jp none protocols=TLSv1.2", "means nothing at level none"),
        ("example.jp encrypt protocols=TLSv9", 'protocols=TLSv9: "TLSv9"'),
        ("example.jp encrypt protocols=SSLv3", "no version of TLS is left"),
        ("example.jp encrypt protocols=TLSv1.2 protocols=TLSv1.3", "protocols= stands twice"),
        ("example.jp encrypt ciphers=low", "write high or medium"),
        ("example.jp encrypt exclude=ALL", "no cipher is left"),
        ("example.jp encrypt servername=a_b/c", "write a host name"),
        ("example.jp encrypt tafile=ca.pem", "tafile= means nothing at level encrypt"),
        ("example.jp verify tafile=ca.pem", "No such file"),
        ("example.jp verify tafile=junk.pem", "no certificates in PEM"),
        (" example.jp may", "begins with a blank"),
    ],
)
def test_mistakes(line: str, error: str, tmp_path: Path) -> None:
    """A mistake is told with its line and what to write; all of them at once."""
    (tmp_path / "junk.pem").write_text("junk\n")
    with pytest.raises(PolicyTrouble) as caught:
        policies(f"{line}\nb.example nonsense\n", tmp_path)
    first, second = caught.value.errors
    assert first.startswith("tls_policy:1: ")
    assert error in first
    assert second.startswith('tls_policy:2: unknown level "nonsense"')


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (">=TLSv1.2", "TLSv1.2 TLSv1.3"),
        ("!SSLv2:!SSLv3", "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"),
        ("!TLSv1:!TLSv1.1", "TLSv1.2 TLSv1.3"),
        ("TLSv1.2:TLSv1.3", "TLSv1.2 TLSv1.3"),
        (">=TLSv1.1:<=TLSv1.2", "TLSv1.1 TLSv1.2"),
        (">=TLSv1:!TLSv1.2", "TLSv1 TLSv1.1 TLSv1.3"),
    ],
)
def test_protocols(value: str, left: str) -> None:
    """Postfix's ways to name versions, old and new."""
    assert tls_policy._protocols(value) == tuple(left.split())
    assert policies(f"a.example encrypt protocols={value}").lookup("a.example").level is Level.ENCRYPT


def test_its_own_ca(tmp_path: Path) -> None:
    """tafile= names the CA of one next hop, relative to the file."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    found = policies("a.example secure tafile=ca.pem", tmp_path).lookup("a.example")
    assert found.context.cert_store_stats()["x509_ca"] == 1


@given(st.text(string.ascii_letters + string.digits + ' \t\n#.:[]/=|!<>,\\"', max_size=200) | st.text(max_size=50))
def test_any_text(text: str) -> None:
    """Whatever the file holds: policies, or errors that name their lines."""
    told: tuple[str, ...] = ()
    try:
        policies(text)
    except PolicyTrouble as trouble:
        told = trouble.errors
    assert [error for error in told if not error.startswith("tls_policy:")] == []
