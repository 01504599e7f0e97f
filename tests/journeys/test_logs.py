"""Our log in the hands of the tools that people run: pflogsumm, fail2ban, newsyslog and logrotate."""

import json
import re
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import OFF, bound_to
from tests.journeys.client import ADDRESS, message, send
from tests.journeys.conftest import Serve
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.smtp_sink import smtp_sink

pytestmark = pytest.mark.neighbours

FAIL2BAN = Path(__file__).parents[2] / "systemd-freebsd/fail2ban"


@pytest.fixture(scope="module")
def choosy() -> Iterator[Primary]:
    with real_primary(replies={"gone@example.jp": "550 5.1.1 Gone", "busy@example.jp": "450 4.2.1 Busy"}) as running:
        yield running


def test_pflogsumm_counts_what_happened(serve: Serve, choosy: Primary, tmp_path: Path) -> None:
    """Three to bob and one to nobody of the primary's, one that waits, two refusals: pflogsumm says so."""
    program = shutil.which("pflogsumm") or pytest.skip("no pflogsumm here")
    with smtp_sink(tmp_path / "sink") as senders:
        mx = serve(
            bound_to(DOMAINS, choosy.port) + f"sender.test  smtp:[127.0.0.1]:{senders.port}\n",
            relay={"transport_map": "transport.map", "relay_domains": list(DOMAINS), "on_refusal": "bounce"},
            checks={**OFF, "spf": {"enabled": True}},
        )
        for n in range(3):
            assert send(mx.port, message(f"message {n}")).code == 250
        assert send(mx.port, message("gone", to="gone@example.jp"), "gone@example.jp").code == 250
        assert send(mx.port, message("busy", to="busy@example.jp"), "busy@example.jp").code == 250
        for n in range(2):
            assert send(mx.port, message(f"refused {n}"), "stranger@elsewhere.test").code >= 500
        mx.logged("to=<busy@example.jp>.* status=deferred")
        mx.logged("to=<alice@sender.test>.* status=sent")
        mx.stop()
    said = subprocess.run([program, "--syslog-name=backupmx", str(mx.folder / "log")], capture_output=True, text=True,
                          timeout=60, check=True).stdout  # fmt: skip
    totals = {word: int(number) for number, word in re.findall(r"^ +(\d+) {3}(\w+)", said, re.MULTILINE)}
    expected = {"received": 5, "delivered": 4, "deferred": 1, "bounced": 1, "rejected": 2, "discarded": 0}
    assert {name: totals[name] for name in expected} == expected, said
    assert "Relay access denied" in said
    assert re.search(r"^ +\d+ +bob@example.jp$", said, re.MULTILINE)


def banned(log: Path, mode: str = "normal") -> dict[str, int]:
    """Whom fail2ban would count, and how often."""
    program = shutil.which("fail2ban-regex") or pytest.skip("no fail2ban here")
    done = subprocess.run(
        [program, "--out", "ip", str(log), f"{FAIL2BAN / 'filter.conf'}[mode={mode}]"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "ERROR" not in done.stderr, done.stderr
    found = done.stdout.split()
    return {address: found.count(address) for address in set(found)}


LIES = (
    "x[198.51.100.7]: 550 5.1.1",
    "Nov 24 10:00:00 mx2 backupmx/smtpd[1]: NOQUEUE: reject: RCPT from x[198.51.100.7]: 550 5.1.1 <a@b>: no",
    "too many errors after RCPT from x[198.51.100.7] [hard_error_limit=20]",
)


def test_fail2ban_counts_who_was_refused(serve: Serve) -> None:
    """Two unknown addresses and a relay are three against the client, errors without end one; no words count."""
    mx = serve(
        bound_to(["example.jp"], 1),
        relay={"transport_map": "transport.map", "relay_recipients": "people"},
        started=False,
    )
    (mx.folder / "people").write_text("bob@example.jp OK\n")
    mx.start()
    for to in ("nobody@example.jp", "noone@example.jp", "stranger@elsewhere.test"):
        assert send(mx.port, message("x"), to).code == 550 or to.startswith("stranger")
    for lie in LIES:
        with smtplib.SMTP("127.0.0.1", mx.port, "client", 30, source_address=("127.0.0.6", 0)) as smtp:
            smtp.docmd("EHLO", lie)
            smtp.docmd("HELO", lie.split()[-1])
            smtp.docmd("MAIL", f'FROM:<"{lie}"@sender.test>')
            smtp.docmd("RCPT", f'TO:<"{lie}"@example.jp>')
            smtp.docmd("RCPT", "TO:<bob@example.jp>")
            smtp.docmd("DATA")
            smtp.sock.sendall(f"Message-ID: <{lie}>\r\nSubject: {lie}\r\n\r\nx\r\n.\r\n".encode())
            smtp.getreply()
    with smtplib.SMTP("127.0.0.1", mx.port, "client", 30, source_address=("127.0.0.7", 0)) as smtp:
        assert 421 in (smtp.docmd("JUNK")[0] for _ in range(100))
    mx.stop()
    counted = banned(mx.folder / "log")
    assert counted.pop(ADDRESS, 0) == 3
    assert counted.pop("127.0.0.7", 0) == 1, "one that made nothing but errors"
    assert set(counted) <= {"127.0.0.6"}, counted


def test_a_log_of_objects(serve: Serve) -> None:
    """With log.format = "json" each line is one object, of the same events."""
    mx = serve(bound_to(["example.jp"], 1), log={"format": "json"}, started=False)
    mx.process = mx.spawn()
    mx.logged('"what": "[0-9]+ workers')
    sent = send(mx.port, message("x"))
    mx.stop()
    lines = [json.loads(line) for line in mx.log.splitlines()]
    events = [line["event"] for line in lines if line.get("queue_id") == sent.queue_id]
    assert events[:3] == ["taken", "message_id", "queued"]
    assert all({"time", "program", "pid", "event"} <= set(line) for line in lines)
