"""Each level of TLS with Debian's Postfix as the primary: mail goes as the policy wants it, or waits."""

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from backupmx.route import tls_policy
from tests.neighbours.postfix import Postfix, postfix
from tests.relay.scene import scene

pytestmark = pytest.mark.neighbours

CA = trustme.CA()
OTHER = trustme.CA()
LEAF = CA.issue_cert("localhost", "mx.example.jp")
DIGEST = hashlib.sha256(ssl.PEM_cert_to_DER_cert(LEAF.cert_chain_pems[0].bytes().decode()))


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    folder = tmp_path_factory.mktemp("tls")
    chain = folder / "chain.pem"
    chain.write_bytes(LEAF.private_key_and_cert_chain_pem.bytes())
    with postfix(folder, tls=chain) as instance:
        yield instance


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    with postfix(tmp_path_factory.mktemp("plain")) as instance:
        yield instance


async def sent(tmp_path: Path, port: int, policy: str, ca: trustme.CA = CA, host: str = "localhost") -> list[str]:
    """The log of one message to the primary under a policy."""
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = tls_policy.parse(
        f"[{host}]:{port} {policy}",
        "tls_policy",
        tls_policy.level("none"),
        ca_file=tmp_path / "ca.pem",
        folder=tmp_path,
    )
    async with scene(tmp_path, f"example.jp smtp:[{host}]:{port}", tls=tls) as s:
        await s.put("u@example.jp")
        await s.settled()
        return [line.decode().partition("]: ")[2] for line in s.log]


@pytest.mark.parametrize(
    ("policy", "trust"),
    [
        ("may", "Untrusted"),
        ("encrypt", "Untrusted"),
        ("encrypt protocols=TLSv1.2", "Untrusted"),
        ("verify", "Verified"),
        ("secure", "Verified"),
        ("secure match=.example.jp", "Verified"),
        pytest.param(f"fingerprint match={DIGEST.hexdigest()}", "Verified", id="fingerprint"),
    ],
)
async def test_it_goes(policy: str, trust: str, tmp_path: Path, primary: Postfix) -> None:
    """A level that the primary satisfies: the mail goes encrypted, and the log says how sure we are."""
    log = await sent(tmp_path, primary.port, policy)
    (line,) = [line for line in log if "TLS connection established" in line]
    version = "TLSv1.2" if "TLSv1.2" in policy else "TLSv1.3"
    assert line.startswith(f"{trust} TLS connection established to localhost[127.0.0.1]:{primary.port}: {version} with")
    assert any("status=sent" in line for line in log)


async def test_none(tmp_path: Path, primary: Postfix) -> None:
    """At level none nobody asks for TLS."""
    log = await sent(tmp_path, primary.port, "none")
    assert not any("TLS connection" in line for line in log)
    assert any("status=sent" in line for line in log)


@pytest.mark.parametrize(
    ("policy", "ca", "status", "words"),
    [
        ("verify", OTHER, "4.7.5", "Server certificate of localhost[127.0.0.1] not trusted: "),
        ("secure", OTHER, "4.7.5", "not trusted: "),
        ("verify match=primary.example.jp", CA, "4.7.5", "it is for localhost, mx.example.jp, not primary.example.jp"),
        (f"fingerprint match={'00' * 32}", CA, "4.7.5", "it has none of the fingerprints"),
    ],
)
async def test_it_waits(policy: str, ca: trustme.CA, status: str, words: str, tmp_path: Path, primary: Postfix) -> None:
    """A primary that is not who it should be gets nothing, not even in clear: deferred, with the reason."""
    before = primary.log().count("client=")
    (line,) = [line for line in await sent(tmp_path, primary.port, policy, ca) if "status=" in line]
    assert f"dsn={status}, status=deferred" in line
    assert words in line
    assert primary.log().count("client=") == before


@pytest.mark.parametrize("policy", ["encrypt", "verify", f"fingerprint match={'00' * 32}"])
async def test_no_tls_there(policy: str, tmp_path: Path, plain: Postfix) -> None:
    """A primary without STARTTLS gets nothing where TLS is required (4.7.4)."""
    (line,) = [line for line in await sent(tmp_path, plain.port, policy) if "status=" in line]
    assert "dsn=4.7.4, status=deferred (TLS is required, but was not offered by host localhost[127.0.0.1])" in line


async def test_broken_there(tmp_path: Path) -> None:
    """A primary that offers STARTTLS and says 454: at may in clear within the same try, at encrypt it waits."""
    chain = tmp_path / "chain.pem"
    chain.write_text("no certificate at all\n")
    with postfix(tmp_path, tls=chain) as broken:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        may = await sent(tmp_path / "a", broken.port, "may")
        encrypt = await sent(tmp_path / "b", broken.port, "encrypt")
    assert any("status=sent" in line for line in may)
    (line,) = [line for line in encrypt if "status=" in line]
    assert (
        "dsn=4.7.4, status=deferred (TLS is required, but host localhost[127.0.0.1] refused to start TLS: 454" in line
    )


async def test_the_reason_that_tells(primary: Postfix, tmp_path: Path) -> None:
    """A certificate that is not good enough is the reason mail waits, also where a further address takes no
    connection."""
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    hop = f"[localhost]:{primary.port}, [127.0.0.99]:{primary.port}"
    tls = tls_policy.parse(
        f"[localhost]:{primary.port} verify match=other.example", "tls_policy", tls_policy.level("none"),
        ca_file=tmp_path / "ca.pem", folder=tmp_path,
    )  # fmt: skip
    async with scene(tmp_path, f"example.jp smtp:{hop}", tls=tls) as s:
        await s.put("u@example.jp")
        await s.settled()
        assert s.events("dsn=4.7.5", "Server certificate not verified") == 1
        (state,) = (await s.queue.hop_states()).values()
        assert "certificate" in state.error
