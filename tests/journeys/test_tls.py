"""STARTTLS as OpenSSL's own client meets it."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from backupmx.net.tls_keys import MOST
from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.neighbours.openssl import Talk
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours


@dataclass
class Site:
    """An appliance with two workers, two names and their certificates."""

    mx: Appliance
    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def renew(self, name: str = "mx2.example.test") -> None:
        """As certbot does: a new file takes the old one's place."""
        new = self.folder / "new.pem"
        self.authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(new))
        new.rename(self.folder / f"{name}.pem")

    def shake(self, *options: str) -> str:
        """What `openssl s_client` prints of a session."""
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.mx.port}", "-starttls", "smtp", "-crlf", "-ign_eof",
             "-CAfile", str(self.folder / "ca.pem"), *options],
            input="EHLO client.example\nQUIT\n", capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        return done.stdout + done.stderr

    def serial(self, *options: str) -> str:
        """Of the certificate that is shown."""
        shown = self.shake(*options)
        pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", shown, re.DOTALL)
        assert pem, shown
        command = ["openssl", "x509", "-noout", "-serial"]
        return subprocess.run(command, input=pem[0], capture_output=True, text=True, check=True).stdout

    def workers(self) -> int:
        """How many have met a client so far."""
        return len(set(re.findall(r"smtpd\[(\d+)\]: connect", self.mx.log)))


@pytest.fixture
def site(serve: Serve, tmp_path: Path) -> Iterator[Site]:
    shutil.which("openssl") or pytest.skip("no openssl here")
    smtp = {"workers": 2, "tls_chain_files": ["mx2.example.test.pem"], "tls_sni_map": "tls_sni.map"}
    mx = serve(bound_to(["example.jp"], free_port()), started=False, smtp=smtp)
    site = Site(mx, mx.folder)
    site.authority.cert_pem.write_to_path(str(site.folder / "ca.pem"))
    (site.folder / "tls_sni.map").write_text("mx.example.jp mx.example.jp.pem\n")
    for name in ("mx2.example.test", "mx.example.jp"):
        site.renew(name)
    mx.start()
    yield site
    assert "Traceback" not in mx.log


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_sessions_are_resumed(site: Site, version: str) -> None:
    """A ticket is good at every worker, through a reload too, and not after a renewal."""
    ticket = str(site.folder / "ticket")
    assert "New, TLSv1." in site.shake(version, "-sess_out", ticket)
    again = [site.shake(version, "-sess_in", ticket) for _ in range(8)]
    while site.workers() < 2:
        again.append(site.shake(version, "-sess_in", ticket))
        assert len(again) < 100
    assert all("Reused, TLSv1." in each for each in again)
    site.mx.reload()
    site.mx.tell(signal.SIGHUP)
    assert all("Reused, TLSv1." in site.shake(version, "-sess_in", ticket) for _ in range(8))
    before = site.serial()
    site.renew()
    eventually(lambda: all(site.serial() != before for _ in range(6)))
    assert all("New, TLSv1." in site.shake(version, "-sess_in", ticket) for _ in range(6))


@pytest.mark.parametrize("name", ["mx2.example.test", "mx.example.jp"])
def test_renewal(site: Site, name: str) -> None:
    """A renewed certificate is shown a second later; a broken one leaves the old in use, loudly, also over SIGHUP."""
    verified = ("-servername", name, "-verify_hostname", name, "-verify_return_error")
    assert "Verify return code: 0 (ok)" in site.shake(*verified)
    before = site.serial(*verified)
    site.renew(name)
    eventually(lambda: all(site.serial(*verified) != before for _ in range(6)))
    now = site.serial(*verified)
    (site.folder / f"{name}.pem").write_text("half a fi")
    eventually(lambda: site.serial(*verified) == now and "the old certificates stay in use" in site.mx.log)
    site.mx.tell(signal.SIGHUP)
    site.mx.logged(rf"error: reload: the old policy stays: .*{name}\.pem")
    assert site.serial(*verified) == now
    site.renew(name)
    eventually(lambda: all(site.serial(*verified) != now for _ in range(6)))


def test_versions(site: Site) -> None:
    """TLS 1.1 is refused in the handshake; who speaks no better sends in clear."""
    old = site.shake("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
    assert re.search("Cipher is (\\(NONE\\)|0000)|alert protocol version", old), old
    site.mx.logged(r"SSL_accept error from \S+: UNSUPPORTED_PROTOCOL")
    assert send(site.mx.port, message("in clear")).code == 250


def test_tls_without_starttls(site: Site) -> None:
    """A client that begins with a handshake reads at once what is wrong, and the log has it."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.mx.port}"],
        input="", capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    site.mx.logged(r"SSL_accept error from \S+: a handshake without STARTTLS")


def test_received_names_version_and_cipher(site: Site) -> None:
    """Mail that swaks brought over TLS says so in our Received:."""
    swaks = shutil.which("swaks") or pytest.skip("no swaks here")
    done = subprocess.run(
        [swaks, "--server", f"127.0.0.1:{site.mx.port}", "--tls", "--to", "bob@example.jp", "--from", "a@sender.test",
         "--tls-ca-path", str(site.folder / "ca.pem")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"TLS started with cipher TLSv1\.3:TLS_AES_\w+", done.stdout)
    (queued,) = site.mx.queue()
    exported = site.mx.cli("queue", "export", queued["queue_id"]).stdout
    assert re.search(r"\(using TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)\)", exported)
    assert " with ESMTPS id " in exported


def test_keys_without_end(site: Site) -> None:
    """A client may change its keys, and not for ever: each change is dear, and nobody else is served meanwhile."""
    talk = Talk(site.mx.port)
    assert all(talk.new_keys() for _ in range(MOST))
    assert talk.say(b"NOOP\r\n") == b"250 2.0.0 Ok\r\n"
    talk.new_keys()
    assert talk.say(b"NOOP\r\n") == b""
    talk.close()
    site.mx.logged(r"SSL_accept error from localhost\[127\.0\.0\.1\]: more than 32 key updates")
    assert send(site.mx.port, message("from somebody else")).code == 250
