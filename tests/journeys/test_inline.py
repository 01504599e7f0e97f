"""Journey 1: what the first user's server was for: checked, judged by his own rules, brought to a real Postfix.

swaks or a small client -> backupmx serve -> Primary, with Debian's clamd, spamd and unbound.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

from tests.check.conftest import Key
from tests.journeys.appliance import HOSTNAME, Appliance, bound_to
from tests.journeys.arrivals import arrived, subjects
from tests.journeys.client import ADDRESS, message, send
from tests.journeys.conftest import Certificates
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.clamd import EICAR
from tests.neighbours.unbound import required

pytestmark = pytest.mark.neighbours

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@pytest.fixture(scope="module")
def tls_primary(certificates: Certificates) -> Iterator[Primary]:
    with real_primary(tls=certificates.chain) as running:
        yield running


@pytest.fixture(scope="module")
def mx(
    tmp_path_factory: pytest.TempPathFactory, tls_primary: Primary, dns: str, clamd_address: str, spamd_address: str,
    certificates: Certificates,
) -> Iterator[Appliance]:  # fmt: skip
    """The first user's server: every check on, his rules, STARTTLS both ways, two workers."""
    settings = {
        "dns": {"servers": [dns]},
        "smtp": {"tls_chain_files": [str(certificates.chain)], "workers": 2},
        "checks": {"virus": {"address": clamd_address}, "spam": {"address": spamd_address}},
    }
    appliance = Appliance(tmp_path_factory.mktemp("mx"), settings, bound_to(DOMAINS, tls_primary.port)).start()
    yield appliance
    assert appliance.stop() == 0
    assert "Traceback" not in appliance.log


def discarded(mx: Appliance, primary: Primary, content: bytes, subject: str, why: str) -> None:
    """The client reads 250, the quarantine has it with its reason, and mail sent after it arrives without it."""
    sent = send(mx.port, content)
    assert sent.code == 250
    kept = {entry["queue_id"]: entry["reason"] for entry in mx.quarantine()}
    assert why in kept[sent.queue_id]
    after = f"sent after {subject}"
    send(mx.port, message(after))
    arrived(primary, after)
    assert subject not in subjects(primary)


def swaks(mx: Appliance, *arguments: str) -> str:
    """-> what it printed; it must have delivered."""
    command = [required("swaks"), "--server", "127.0.0.1", "--port", str(mx.port), "--helo", "client.sender.test"]
    command += ["--local-interface", ADDRESS]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_clean_mail(mx: Appliance, tls_primary: Primary) -> None:
    """Clean mail arrives with what we found in Authentication-Results and without any X-Spam-* or X-Virus-*."""
    swaks(
        mx,
        "--from",
        "alice@sender.test",
        "--to",
        "bob@example.jp",
        "--header",
        "Subject: swaks, clean",
        "--body",
        "Hi.",
    )
    mail = arrived(tls_primary, "swaks, clean")
    assert (mail.recipient, mail.sender) == ("bob@example.jp", "alice@sender.test")
    assert b"\nX-Spam" not in mail.content
    assert b"\nX-Virus" not in mail.content
    (results,) = mail.values("Authentication-Results")
    assert results.startswith(f"{HOSTNAME};")
    assert "spf=pass" in results
    assert "dmarc=pass" in results
    assert mail.content.startswith(b"Received: from client.sender.test (client.sender.test [127.0.0.5])\n")
    assert f"by {HOSTNAME} (backupmx) with ESMTP id ".encode() in mail.content


def test_forged_marks(mx: Appliance, tls_primary: Primary) -> None:
    """Forged marks that say clean arrive as little as our own, and so does a forged result in our name."""
    forged = message(
        "forged, clean", X_Spam_Status="No, score=-99", X_Spam_Level="", X_Spam_Checker_Version="SpamAssassin 9",
        X_Virus_Scanned="ClamAV 9", X_Virus_Status="Clean", Authentication_Results=f"{HOSTNAME}; dkim=pass",
    )  # fmt: skip
    assert send(mx.port, forged).code == 250
    mail = arrived(tls_primary, "forged, clean")
    assert b"\nX-Spam" not in mail.content
    assert b"\nX-Virus" not in mail.content
    (results,) = mail.values("Authentication-Results")
    assert "dkim=pass" not in results


@pytest.mark.parametrize(
    ("subject", "headers", "rule"),
    [
        ("forged spam flag", {"X_Spam_Flag": "YES"}, "header_checks:3"),
        ("forged virus status", {"X_Virus_Status": "Yes (Something)"}, "header_checks:4"),
        ("empty author", {"From": "<>"}, "header_checks:2"),
    ],
)
def test_discarded_by_its_headers(
    mx: Appliance, tls_primary: Primary, subject: str, headers: dict[str, str], rule: str
) -> None:
    """What the author's own DISCARD lines name is answered 250, kept in quarantine and not brought."""
    raw = message(subject, **{name: value for name, value in headers.items() if name != "From"})
    if "From" in headers:
        raw = raw.replace(b"From: Alice <alice@sender.test>", b"From: <>")
    discarded(mx, tls_primary, raw, subject, rule)


def test_gtube(mx: Appliance, tls_primary: Primary) -> None:
    """What spamd calls spam is discarded by the author's line for X-Spam-Flag: YES, our own mark this time."""
    discarded(mx, tls_primary, message("gtube", f"{GTUBE}\n"), "gtube", "header_checks:3")


def test_eicar(mx: Appliance, tls_primary: Primary, tmp_path: Path) -> None:
    """A virus in an attachment that swaks sends is discarded by the author's line for X-Virus-Status: Yes."""
    (tmp_path / "eicar.com").write_bytes(EICAR)
    before = len(mx.quarantine())
    swaks(
        mx, "--from", "alice@sender.test", "--to", "bob@example.jp", "--header", "Subject: eicar",
        "--body", "See the attachment.", "--attach-type", "application/octet-stream",
        "--attach", f"@{tmp_path}/eicar.com",
    )  # fmt: skip
    kept = mx.quarantine()
    assert len(kept) == before + 1
    assert "header_checks:4" in kept[-1]["reason"]
    assert "Eicar-Test-Signature" in kept[-1]["reason"]
    id = kept[-1]["queue_id"]
    refused = mx.cli("quarantine", "release", id)
    assert (refused.returncode, "--force" in refused.stderr) == (1, True)
    assert "eicar" not in subjects(tls_primary)


def test_release_from_quarantine(mx: Appliance, tls_primary: Primary) -> None:
    """What was discarded by mistake arrives when an operator releases it."""
    sent = send(mx.port, message("released", X_Spam_Flag="YES"))
    released = mx.cli("quarantine", "release", sent.queue_id)
    assert (released.returncode, released.stderr) == (0, "")
    mail = arrived(tls_primary, "released")
    assert mail.values("X-Spam-Flag") == ["YES"], mail.content


def test_signed_mail(mx: Appliance, tls_primary: Primary, key: Key) -> None:
    """DKIM-signed mail arrives byte for byte as it was sent, below what we put on top; its signature verifies."""
    raw = message("signed", "Dear Bob,\n\n.a line with a dot\n..two dots\ntrailing blanks  \n\n\n")
    signed = dkim.sign(raw, b"s1", b"sender.test", key.private, include_headers=[b"From", b"To", b"Subject"]) + raw
    assert send(mx.port, signed).code == 250
    mail = arrived(tls_primary, "signed")
    assert mail.content.endswith(b"\n" + signed.replace(b"\r\n", b"\n"))
    (results,) = mail.values("Authentication-Results")
    assert "dkim=pass" in results
    assert dkim.verify(mail.content.replace(b"\n", b"\r\n"), dnsfunc=lambda name, timeout=5: key.record)


def test_forged_author(mx: Appliance, tls_primary: Primary) -> None:
    """Mail that fails SPF and DMARC arrives and says so: what to do with it is the primary's to decide."""
    raw = message("forged author").replace(b"From: Alice <alice@sender.test>", b"From: Eve <eve@forger.test>")
    assert send(mx.port, raw, sender="eve@forger.test").code == 250
    (results,) = arrived(tls_primary, "forged author").values("Authentication-Results")
    assert "spf=fail" in results
    assert "dmarc=fail" in results


def test_large_mail(mx: Appliance, tls_primary: Primary) -> None:
    """A message of 20 MB arrives whole."""
    line = b"0123456789" * 7 + b"\r\n"
    raw = message("large").rstrip(b"\r\n") + b"\r\n" + line * (20_000_000 // len(line)) + b"the end\r\n"
    assert send(mx.port, raw).code == 250
    assert arrived(tls_primary, "large").content.endswith(b"\n" + raw.replace(b"\r\n", b"\n"))


def test_starttls(mx: Appliance, tls_primary: Primary, certificates: Certificates) -> None:
    """STARTTLS is taken from the client and used to the primary; each Received says so."""
    assert send(mx.port, message("tls"), tls=certificates.client).code == 250
    mail = arrived(tls_primary, "tls")
    ours = mail.values("Received")[0]
    assert "(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))" in ours
    assert "with ESMTPS id" in ours
    assert b"(using TLSv1.3 with cipher" in mail.own
    assert b"with ESMTPS id" in mail.own


def test_a_life_in_the_log(mx: Appliance, tls_primary: Primary) -> None:
    """grep QUEUEID tells a message's life in the shapes of Postfix: client, message-id, size, status=sent."""
    sent = send(mx.port, message("logged", Message_ID="<logged@sender.test>"))
    arrived(tls_primary, "logged")
    mx.logged(rf"{sent.queue_id}: removed")
    life = [line.partition("backupmx/")[2] for line in mx.log.splitlines() if f" {sent.queue_id}: " in line]
    shapes = [
        r"smtpd\[\d+\]: \S+: client=client.sender.test\[127.0.0.5\]",
        r"cleanup\[\d+\]: \S+: message-id=<logged@sender.test>",
        r"qmgr\[\d+\]: \S+: from=<alice@sender.test>, size=\d+, nrcpt=1 \(queue active\)",
        r"smtp\[\d+\]: \S+: to=<bob@example.jp>, relay=127.0.0.1\[127.0.0.1\]:\d+, delay=[\d.]+, dsn=2.0.0,"
        r" status=sent \(250",
        r"qmgr\[\d+\]: \S+: removed",
    ]
    told = [line for line in life if not line.startswith("cleanup") or "message-id" in line]
    assert [bool(re.match(shape, line)) for shape, line in zip(shapes, told, strict=True)] == [True] * 5, told
