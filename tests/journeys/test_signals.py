"""Journey 4: SIGTERM ends without losing anything, SIGHUP changes the policy without dropping anybody."""

import os
import signal
import smtplib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.appliance import FIRST_USERS_RULES, bound_to, kill
from tests.journeys.arrivals import all_arrived, arrived, subjects
from tests.journeys.client import ADDRESS, message, send, transact
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.traffic import Traffic
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink
from tests.neighbours.unbound import free_port

pytestmark = pytest.mark.neighbours

REJECT = "/^Subject: unwanted/ REJECT not here\n"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


@contextmanager
def talk(port: int) -> Iterator[smtplib.SMTP]:
    """A client that has said EHLO."""
    smtp = smtplib.SMTP("127.0.0.1", port, "client.sender.test", 30, (ADDRESS, 0))
    smtp.ehlo()
    yield smtp
    smtp.close()


@pytest.mark.slow
def test_sigterm_in_traffic(serve: Serve, sink: SmtpSink) -> None:
    """SIGTERM: every message gets its reply, clients read 421, the end is status 0; each 250 arrives, and once."""
    mx = serve(bound_to(["example.jp"], sink.port), smtp={"workers": 2})
    traffic = Traffic(mx.port).start()
    for _ in range(2):
        traffic.wait_for(100)
        began = time.monotonic()
        assert mx.stop() == 0
        assert time.monotonic() - began < 10
        mx.start()
    traffic.wait_for(50)
    traffic.stop()
    mx.empty()
    assert traffic.unknown == set()
    assert traffic.farewells != []
    assert {text[:5] for text in traffic.farewells} == {"4.3.2"}
    all_arrived(sink, list(traffic.acked))


def test_sigterm_in_a_message(serve: Serve, sink: SmtpSink) -> None:
    """A message that is coming in when we are told to stop is taken to its end and answered; then 421 or the end."""
    mx = serve(bound_to(["example.jp"], sink.port))
    with talk(mx.port) as smtp:
        smtp.mail("alice@sender.test")
        smtp.rcpt("bob@example.jp")
        assert smtp.docmd("DATA")[0] == 354
        smtp.send(message("in the middle"))
        mx.tell(signal.SIGTERM)
        eventually(lambda: not listens(mx.port))
        smtp.send(b"a last line\r\n.\r\n")
        assert smtp.getreply()[0] == 250
    assert mx.ends() == 0
    mx.start()
    all_arrived(sink, ["in the middle"])


def test_sigterm_and_a_client_that_hangs(serve: Serve, sink: SmtpSink) -> None:
    """A client that does not end its message is waited for until stop_timeout, and dropped without a 250."""
    mx = serve(bound_to(["example.jp"], sink.port), smtp={"stop_timeout": "1s"})
    with talk(mx.port) as idle, talk(mx.port) as hanging:
        hanging.mail("alice@sender.test")
        hanging.rcpt("bob@example.jp")
        hanging.docmd("DATA")
        hanging.send(message("never ended"))
        assert mx.stop(timeout=15) == 0
        assert idle.getreply()[0] == 421
        with pytest.raises((OSError, smtplib.SMTPServerDisconnected)):
            hanging.getreply()
    assert subjects(sink) == []


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def test_sighup_new_rules(serve: Serve, sink: SmtpSink) -> None:
    """After SIGHUP a dialogue that began before it goes on, under the new rules."""
    mx = serve(bound_to(["example.jp"], sink.port))
    with talk(mx.port) as smtp:
        assert transact(smtp, message("unwanted before")).code == 250
        mx.header_checks = REJECT + FIRST_USERS_RULES
        mx.write()
        mx.reload()
        eventually(lambda: transact(smtp, message("unwanted")).text == "5.7.1 not here", 5)
        assert transact(smtp, message("wanted")).code == 250
    arrived(sink, "wanted")


def test_sighup_a_broken_file(serve: Serve, sink: SmtpSink) -> None:
    """A wrong file leaves the old policy in force, says so with file and line; the next right one is taken.

    A worker that dies meanwhile is replaced by one with the old policy, not by none.
    """
    mx = serve(bound_to(["example.jp"], sink.port))
    mx.header_checks = REJECT + "/unfinished\n"
    mx.transport_map = "example.jp\n"
    mx.write()
    mx.reload()
    mx.logged(r"error: reload: the old policy stays: .*header_checks:2: ")
    mx.logged(r"error: reload: the old policy stays: .*transport\.map:1: ")
    assert send(mx.port, message("unwanted, old policy")).code == 250
    kill(mx.child("worker 1"))
    mx.logged(r"worker 1 died")
    eventually(lambda: mx.log.count("started: worker 1") == 2)
    assert send(mx.port, message("unwanted, after a death")).code == 250
    mx.header_checks, mx.transport_map = REJECT, bound_to(["example.jp"], sink.port)
    mx.write()
    mx.reload()
    eventually(lambda: send(mx.port, message("unwanted, new policy")).code == 550, 5)
    all_arrived(sink, [s for s in subjects(sink) if "new" in s] + ["unwanted, old policy", "unwanted, after a death"])


def test_sighup_new_route(serve: Serve, sink: SmtpSink) -> None:
    """What waits for a primary that is gone goes to the one that the new transport.map names."""
    mx = serve(bound_to(["example.jp"], free_port()))
    send(mx.port, message("rerouted"))
    mx.logged("status=deferred")
    mx.transport_map = bound_to(["example.jp"], sink.port)
    mx.write()
    mx.reload()
    eventually(lambda: [m["recipients"][0]["next_hop"] for m in mx.queue()] in ([], [f"smtp:[127.0.0.1]:{sink.port}"]))
    assert mx.cli("flush").returncode == 0
    all_arrived(sink, ["rerouted"])


def test_sighup_what_wants_a_restart(serve: Serve, sink: SmtpSink) -> None:
    """A reload cannot open other ports or move the queue: it names them, and all that lives goes on where it was."""
    mx = serve(bound_to(["example.jp"], sink.port))
    smtp = {"listen": [f"127.0.0.1:{free_port()}"], "etrn_from": ["192.0.2.1"]}
    mx.settings = {**mx.settings, "smtp": smtp, "queue": {"store": "sqlite:other.db", "retry_max": "2h"}}
    mx.write()
    mx.reload()
    mx.logged(r"warning: smtp\.listen, queue\.store changed: restart to apply")
    mx.logged(r"reloaded|policy read again")
    assert send(mx.port, message("as before")).code == 250
    all_arrived(sink, ["as before"])
    assert not list(mx.folder.rglob("other.db"))


def test_sighup_a_proxy(serve: Serve, sink: SmtpSink) -> None:
    """Whom we believe follows a reload: a proxy is one from the next connection on, and none after the next reload."""
    mx = serve(bound_to(["example.jp"], sink.port))

    def comes() -> bytes:
        with socket.create_connection(("127.0.0.1", mx.port), 10) as client:
            client.sendall(b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\nQUIT\r\n")
            return b"".join(iter(lambda: client.recv(4096), b""))

    assert b"\r\n500 5.5.2 " in comes()
    mx.settings = {**mx.settings, "smtp": {"proxy_protocol_from": ["127.0.0.1"]}}
    mx.write()
    mx.reload()
    eventually(lambda: b"\r\n221 " in comes() and b"\r\n500 " not in comes(), 5)
    mx.logged(r"disconnect from unknown\[192\.0\.2\.9\]")
    mx.settings = {**mx.settings, "smtp": {}}
    mx.write()
    mx.reload()
    eventually(lambda: b"\r\n500 5.5.2 " in comes(), 5)


def test_sigterm_and_a_child_that_hangs(serve: Serve, sink: SmtpSink) -> None:
    """A worker that hears no signal is killed when its time is over, and the log says so."""
    mx = serve(bound_to(["example.jp"], sink.port), smtp={"stop_timeout": "0s"})
    os.kill(mx.child("worker 1"), signal.SIGSTOP)
    assert mx.stop(timeout=20) == 0
    mx.logged(r"warning: worker 1 did not end in time and was killed")


def test_sighup_a_shorter_quarantine(serve: Serve) -> None:
    """[quarantine] follows a reload, and at once: what is too old by the new file goes."""
    discard = "/^Subject: spam/ DISCARD\n"
    mx = serve(bound_to(["example.jp"], free_port()), header_checks=discard, quarantine={"keep": "1h"})
    assert send(mx.port, message("spam")).code == 250
    assert len(mx.quarantine()) == 1
    mx.settings["quarantine"] = {"keep": 0}
    mx.write()
    mx.reload()
    eventually(lambda: not mx.quarantine())
