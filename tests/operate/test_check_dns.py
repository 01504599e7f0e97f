"""check dns: our place in a real resolver's zones, with real certificates and a real policy host."""

import asyncio
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from backupmx.config import load
from backupmx.net.tls_client import public_key
from backupmx.operate.cli import cli
from backupmx.operate.inspect.finding import Finding, Grade
from backupmx.operate.inspect.mta_sts import PolicyTrouble, parse
from backupmx.operate.inspect.names import Web, look
from backupmx.operate.serve.policy import read_policy
from tests.neighbours.unbound import free_port, unbound

pytestmark = pytest.mark.neighbours
HERE = (
    "mx2.test. 60 IN A 127.0.0.2", "2.0.0.127.in-addr.arpa. 60 IN PTR mx2.test.",
    "primary.test. 60 IN A 127.0.0.1", "mx2.jp.test. 60 IN A 127.0.0.2",
)  # fmt: skip
GOOD = ("jp.test. 60 IN MX 10 primary.test.", "jp.test. 60 IN MX 20 mx2.test.")


class Scene:
    """A configuration of one domain, jp.test, behind primary.test on a port that may listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.port = free_port()
        self.certificate(self.ca.issue_cert("mx2.test", "mx2.jp.test"))
        (folder / "transport.map").write_text(f"jp.test smtp:[primary.test]:{self.port}\n")

    def certificate(self, leaf: trustme.LeafCert) -> None:
        leaf.private_key_and_cert_chain_pem.write_to_path(self.folder / "all.pem")
        self.der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    def looked(
        self, zone: Sequence[str], more: str = "", web: Web | None = None, **how: Sequence[str]
    ) -> list[Finding]:
        with unbound(self.folder, (*HERE, *zone), **how) as resolver:  # type: ignore[arg-type]
            self.configure(resolver, more)
            return asyncio.run(self._look(web))

    def configure(self, resolver: str, more: str = "") -> None:
        (self.folder / "backupmx.toml").write_text(
            f'hostname = "mx2.test"\n[dns]\nservers = ["{resolver}"]\n'
            f'[smtp]\ntls_chain_files = ["all.pem"]\n[relay]\ntransport_map = "transport.map"\n{more}'
        )

    async def _look(self, web: Web | None) -> list[Finding]:
        config = load(self.folder / "backupmx.toml")
        return [finding async for finding in look(config, read_policy(config), [], web)]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def wrongs(findings: Sequence[Finding]) -> dict[str, str]:
    return {finding.check: finding.text for finding in findings if finding.wrong}


def test_all_is_well(scene: Scene) -> None:
    """In the MX set behind the primary, names that agree, a certificate that fits, a primary that answers."""
    with socket.create_server(("127.0.0.1", scene.port)):
        findings = scene.looked(GOOD)
    assert wrongs(findings) == {}
    assert {f.check for f in findings if f.grade is Grade.GOOD} == {"address", "ptr", "mx", "certificate", "port-25"}


@pytest.mark.parametrize(
    ("zone", "words", "remedy"),
    [
        (["jp.test. 60 IN MX 10 primary.test."], "not in its MX set (10 primary.test)", "MX 20 mx2.test."),
        (["jp.test. 60 IN MX 10 primary.test.", "jp.test. 60 IN MX 10 mx2.test."], "as good (10) as", "MX 20"),
        (["jp.test. 60 IN MX 10 primary.test.", "jp.test. 60 IN MX 5 mx2.test."], "better (5) than", "MX 20"),
        (["jp.test. 60 IN MX 5 mx2.test."], "its only MX", "THE-PRIMARY"),
        (["jp.test. 60 IN MX 0 ."], "null MX", "transport.map"),
        (["jp.test. 60 IN TXT x"], "has no MX record", "MX 20 mx2.test."),
        ([*GOOD, "jp.test. 60 IN MX 30 gone.test."], "gone.test has no address", "out of the MX set"),
    ],
)  # fmt: skip
def test_our_place_in_the_set(scene: Scene, zone: list[str], words: str, remedy: str) -> None:
    """Missing, equal, better, alone: each is said with the record to write."""
    (found,) = [f for f in scene.looked(zone) if f.check == "mx" and f.wrong]
    assert words in found.text
    assert remedy in found.remedy


def test_another_name_of_ours_in_the_set(scene: Scene) -> None:
    """Known by its address; the certificate is asked for under that name too."""
    findings = scene.looked([GOOD[0], "jp.test. 60 IN MX 20 mx2.jp.test."])
    assert "mx" not in wrongs(findings)
    assert "mx2.jp.test" in [f.about for f in findings if f.check == "certificate" and f.grade is Grade.GOOD]


def test_dns_that_does_not_answer(scene: Scene) -> None:
    """SERVFAIL is "nobody can tell", with status 1, and not "we are missing"."""
    findings = scene.looked([], servfail=["jp.test"])
    assert [f.grade for f in findings if f.check == "mx"] == [Grade.UNKNOWN]


@pytest.mark.parametrize(
    ("zone", "check", "words"),
    [
        (["mx2.test. 60 IN A 127.0.0.3"], "ptr", "has no name"),
        (["mx2.test. 60 IN A 127.0.0.4", "4.0.0.127.in-addr.arpa. 60 IN PTR else.test."], "ptr", "does not lead back"),
    ],
)
def test_reverse_names(scene: Scene, zone: list[str], check: str, words: str) -> None:
    """An address without a name, or with one that is another's."""
    assert words in wrongs(scene.looked([*GOOD, *zone]))[check]


def test_a_greeting_that_leads_elsewhere(scene: Scene) -> None:
    """relay.helo_name must lead to where we connect from."""
    findings = scene.looked([*GOOD, "out.test. 60 IN A 127.0.0.9"], 'helo_name = "out.test"\n')
    assert "127.0.0.9: not to where we connect from" in wrongs(findings)["helo"]


def test_an_alias_is_no_mx(scene: Scene, tmp_path: Path) -> None:
    """Our name must not be a CNAME."""
    with unbound(tmp_path, [*GOOD, "mx2.test. 60 IN CNAME real.test.", "real.test. 60 IN A 127.0.0.2"]) as resolver:
        scene.configure(resolver)
        findings = asyncio.run(scene._look(None))
    assert "alias of real.test" in wrongs(findings)["address"]


def test_certificates(scene: Scene) -> None:
    """For another name, expired, or about to end."""
    scene.certificate(scene.ca.issue_cert("other.test"))
    assert wrongs(scene.looked(GOOD))["certificate"] == "is for other.test"
    now = datetime.now(UTC)
    scene.certificate(scene.ca.issue_cert("mx2.test", not_before=now - timedelta(9), not_after=now - timedelta(1)))
    assert "expired" in wrongs(scene.looked(GOOD))["certificate"]
    scene.certificate(scene.ca.issue_cert("mx2.test", not_after=now + timedelta(days=3, hours=1)))
    assert "ends in 3 days" in wrongs(scene.looked(GOOD))["certificate"]


def test_tlsa(scene: Scene) -> None:
    """A TLSA record that matches the key we show, and one that does not, with the one to write."""
    digest = sha256(public_key(scene.der)).hexdigest()
    record = "_25._tcp.mx2.test. 60 IN TLSA 3 1 1 "
    assert "tlsa" not in wrongs(scene.looked([*GOOD, record + digest]))
    (found,) = [f for f in scene.looked([*GOOD, record + "00" * 32]) if f.check == "tlsa"]
    assert (found.wrong, digest in found.remedy) == (True, True)


@contextmanager
def policy_host(ca: trustme.CA, answer: bytes, status: int = 200) -> Iterator[Web]:
    """https://mta-sts.jp.test/ on a port of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/.well-known/mta-sts.txt" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("mta-sts.jp.test").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = ssl.create_default_context()
    ca.configure_trust(client)
    try:
        yield Web(server.server_address[1], client)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


STS = ('_mta-sts.jp.test. 60 IN TXT "v=STSv1; id=1"', "mta-sts.jp.test. 60 IN A 127.0.0.1")


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (b"version: STSv1\r\nmode: enforce\r\nmx: primary.test\r\nmx: mx2.test\r\n", 200, ""),
        (b"version: STSv1\nmode: enforce\nmx: *.test\n", 200, ""),
        (b"version: STSv1\nmode: enforce\nmx: primary.test\n", 200, "does not list mx2.test: senders that heed"),
        (b"version: STSv1\nmode: testing\nmx: *.jp.test\n", 200, "report us"),
        (b"<html>", 200, "it is no policy"),
        (b"", 302, "redirects are not followed"),
        (b"version: STSv1\n" + b"x" * (65 << 10), 200, "larger than 64 KiB"),
    ],
)  # fmt: skip
def test_mta_sts(scene: Scene, answer: bytes, status: int, words: str) -> None:
    """A policy that lists us, forgets us, or cannot be read."""
    with policy_host(scene.ca, answer, status) as web:
        found = wrongs(scene.looked([*GOOD, *STS], web=web)).get("mta-sts", "")
    assert (words in found) if words else (found == "")


def test_a_policy_host_that_nobody_trusts(scene: Scene) -> None:
    """Its certificate must be good: a policy from anybody else is none."""
    with policy_host(scene.ca, b"") as web:
        found = wrongs(scene.looked([*GOOD, *STS], web=Web(web.port)))["mta-sts"]
    assert "the certificate of mta-sts.jp.test" in found


@pytest.mark.parametrize("text", ["", "version: STSv1", "mode: enforce", "\x00\x1b[31m", "version: STSv1\nmode: other"])
def test_policies_that_are_none(text: str) -> None:
    """Junk is no policy, and no exception but this."""
    with pytest.raises(PolicyTrouble):
        parse(text)


def test_the_command(scene: Scene, tmp_path: Path) -> None:
    """Lines for people with what to do below; objects with --json; domains that are not ours are refused."""
    with unbound(tmp_path, (*HERE, GOOD[0])) as resolver:
        scene.configure(resolver)
        config = str(tmp_path / "backupmx.toml")
        result = CliRunner().invoke(cli, ["check", "dns", "-c", config])
        told = CliRunner().invoke(cli, ["check", "dns", "jp.test", "--json", "-c", config])
        stranger = CliRunner().invoke(cli, ["check", "dns", "else.test", "-c", config])
    assert result.exit_code == told.exit_code == stranger.exit_code == 1
    assert "BAD   jp.test: mx: we are not in its MX set" in result.output
    assert "        add jp.test. MX 20 mx2.test." in result.output
    assert f"primary.test[127.0.0.1]:{scene.port}: port-25: Connection refused" in result.output
    assert {"mx", "port-25", "certificate"} <= {json.loads(line)["check"] for line in told.output.splitlines()}
