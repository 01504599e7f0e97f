"""Journey 3: kill -9 in mid-traffic.  Every message that read 250 arrives, whoever is killed.

What was refused never arrives.  A second copy is allowed only of what was on the way to the primary in the
moment a relay was killed: the primary's 250 was lost with it.
"""

import random
import smtplib
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest

from tests.journeys.appliance import Appliance, alive, bound_to, kill
from tests.journeys.arrivals import subjects
from tests.journeys.client import ADDRESS, SENDER, message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import Primary
from tests.journeys.traffic import Traffic
from tests.neighbours.postfix import postfix
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink
from tests.neighbours.unbound import free_port, required

pytestmark = pytest.mark.neighbours

ON_THE_WAY = 5.0
"""Seconds before a relay's death in which its deliveries may have had no commit yet.  Usually milliseconds."""

LARGE = b"0123456789" * 7 * 60_000 + b"\r\n"

MOST_ON_THE_WAY = 20 * 16
"""Messages a relay has in hand for one next hop: connections times those of each."""


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


def a_worker(mx: Appliance) -> float:
    return kill(mx.child(random.choice(["worker 1", "worker 2"])))


def the_relay(mx: Appliance) -> float:
    return kill(mx.child("relay"))


def the_supervisor(mx: Appliance) -> float:
    """Its children end their work and go; the next appliance waits for them."""
    assert mx.process is not None
    when = kill(mx.process.pid)
    mx.ends()
    mx.start()
    return when


def all_of_them(mx: Appliance) -> float:
    assert mx.process is not None
    victims = [mx.process.pid, *mx.children()]
    when = min([kill(pid) for pid in victims])
    mx.ends()
    eventually(lambda: not any(alive(pid) for pid in victims))
    mx.start()
    return when


@pytest.mark.slow
@pytest.mark.parametrize("victim", [a_worker, the_relay, the_supervisor, all_of_them])
def test_kill(serve: Serve, sink: SmtpSink, victim: Callable[[Appliance], float]) -> None:
    """Three times in mid-traffic a part is killed: what read 250 arrives, what was refused does not."""
    mx = serve(f"example.jp  smtp:[127.0.0.1]:{sink.port}\n", smtp={"workers": 2})
    traffic = Traffic(mx.port).start()
    killed = []
    try:
        for _ in range(3):
            traffic.wait_for(100 + random.randrange(100))
            killed.append(victim(mx))
        traffic.wait_for(100)
    finally:
        traffic.stop()
    eventually(lambda: set(traffic.acked) <= set(counted(sink)), 60, lambda: f"missing: {missing(traffic, sink)}")
    mx.empty()
    arrived = counted(sink)
    in_the_account(mx, len(arrived))
    assert set(arrived) & traffic.refused == set()
    assert set(arrived) <= traffic.all
    twice = [id for id, copies in arrived.items() if copies > 1]
    if victim is a_worker:
        assert twice == []
    first = {id: min(d.when for d in sink.messages() if d.values("Subject") == [id]) for id in twice}
    assert [id for id, when in first.items() if not any(k - ON_THE_WAY < when <= k + 1 for k in killed)] == []
    assert "Traceback" not in mx.log


@pytest.mark.slow
def test_kill_before_a_real_primary(serve: Serve, primary: Primary) -> None:
    """The same before a real Postfix, each part once in random order: all that read 250 is in its mailbox, whole."""
    mx = serve(bound_to(["example.jp"], primary.port), smtp={"workers": 2})
    victims = [a_worker, the_relay, the_supervisor, all_of_them]
    random.shuffle(victims)
    traffic = Traffic(mx.port, senders=10).start()
    try:
        for victim in victims:
            traffic.wait_for(100 + random.randrange(100))
            victim(mx)
        traffic.wait_for(100)
    finally:
        traffic.stop()
    eventually(lambda: set(traffic.acked) <= set(subjects(primary)), 60)
    mx.empty()
    in_the_account(mx, len(set(subjects(primary))))
    assert set(subjects(primary)) & traffic.refused == set()
    assert set(subjects(primary)) <= traffic.all
    assert [m for m in primary.messages() if not m.content.endswith(b"-- the end\n")] == []


@pytest.mark.slow
def test_a_flood_while_relays_die(serve: Serve, sink: SmtpSink) -> None:
    """The 2,000 messages of smtp-source all arrive, whole, while three relays are killed one after another."""
    mx = serve(bound_to(["example.jp"], sink.port), smtp={"workers": 2})
    flood = [required("smtp-source"), "-s", "10", "-m", "2000", "-l", "4000", "-N", "-f", "alice@sender.test"]
    source = subprocess.Popen([*flood, "-t", "bob@example.jp", f"127.0.0.1:{mx.port}"])
    try:
        for n in range(1, 4):
            eventually(lambda n=n: len(list(sink.folder.iterdir())) > 300 * n or source.poll() is not None)
            the_relay(mx)
            eventually(lambda n=n: mx.log.count("started: relay") > n)
        assert source.wait(60) == 0
    finally:
        source.kill()
        source.wait()
    mx.empty(60)
    whole = Counter(d.recipients[0] for d in sink.messages() if len(d.raw) > 4000)
    assert len(whole) == 2000
    assert sum(whole.values()) - 2000 < 3 * MOST_ON_THE_WAY


def test_what_a_dead_worker_was_writing(serve: Serve) -> None:
    """A worker is killed in the middle of a large message: its successor removes the file and takes the next one."""
    mx = serve(bound_to(["example.jp"], free_port()))
    bodies = mx.folder / "state" / "bodies"
    with socket.create_connection(("127.0.0.1", mx.port), 20, (ADDRESS, 0)) as client, client.makefile("rb") as said:
        client.sendall(b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.jp>\r\nDATA\r\n")
        while not said.readline().startswith(b"354"):
            continue
        client.sendall(LARGE)
        eventually(lambda: any(file.stat().st_size for file in bodies.iterdir()))
        kill(mx.child("worker 1"))
        mx.logged("1 body files that its predecessor had not acknowledged: removed")
    assert list(bodies.iterdir()) == []
    assert send(mx.port, message("large") + LARGE).code == 250
    assert len(list(bodies.iterdir())) == 1


@pytest.mark.parametrize(("source", "moment"), [("client", b"\r\n.\r\n"), ("us", b"250 2.0.0 Ok: queued")])
def test_kill_between_dot_and_reply(serve: Serve, sink: SmtpSink, tmp_path: Path, source: str, moment: bytes) -> None:
    """A worker is killed when it has read the dot, or when it said 250 and nobody heard it: a real Postfix sends the
    message again, and it arrives once, or twice at most (RFC 5321 6.1)."""
    mx = serve(bound_to(["example.jp"], sink.port))
    killed = []

    def dies(octets: bytes) -> bool:
        if killed or moment not in octets:
            return False
        killed.append(kill(mx.child("worker 1")) if source == "us" else 0.0)
        return True

    with between(mx.port, source, dies, lambda: kill(mx.child("worker 1"))) as port:
        settings = {
            "relayhost": f"[127.0.0.1]:{port}", "relay_domains": "example.jp", "relay_transport": "smtp",
            "minimal_backoff_time": "2s", "maximal_backoff_time": "2s", "queue_run_delay": "3s",
        }  # fmt: skip
        with postfix(tmp_path / "sender", domains=["box.example"], settings=settings) as sender:
            with smtplib.SMTP("127.0.0.1", sender.port, timeout=30) as client:
                client.sendmail(SENDER, ["bob@example.jp"], message("kill", "Hello.\n-- the end\n"))
            eventually(lambda: "status=sent" in sender.log(), 60, sender.log)
        eventually(lambda: "kill" in counted(sink), why=lambda: mx.log)
    mx.empty()
    assert len(killed) == 1
    assert mx.log.count("died") == 1
    assert counted(sink)["kill"] in ((2,) if source == "us" else (1, 2))


@contextmanager
def between(port: int, source: str, dies: Callable[[bytes], bool], kill: Callable[[], float]) -> Iterator[int]:
    """A wire to `port`.  What `source` says that makes it die is the last on its connection: our 250 is not passed on,
    a dot is, and `kill` follows it.  -> its own port"""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pass_on(reads: socket.socket, writes: socket.socket, who: str) -> None:
            try:
                while octets := reads.recv(65536):
                    if who == source and dies(octets):
                        if who == "client":
                            writes.sendall(octets)
                            kill()
                        break
                    writes.sendall(octets)
            except OSError:
                pass  # the other side is gone
            for each in (reads, writes):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        def one(client: socket.socket) -> None:
            with client, suppress(OSError), socket.create_connection(("127.0.0.1", port), 30, (ADDRESS, 0)) as us:
                back = Thread(target=pass_on, args=(us, client, "us"))
                back.start()
                pass_on(client, us, "client")
                back.join()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    client.settimeout(30)
                    Thread(target=one, args=(client,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def in_the_account(mx: Appliance, arrived: int) -> None:
    """As many came in as arrived, all are accounted for, none twice, and nothing waits."""
    sheets = mx.objects("ledger")
    sums = [
        sum(many) for many in zip(*((s["in"], s["accounted"], s["ended"]["delivered"]) for s in sheets), strict=True)
    ]
    assert (sums, mx.cli("ledger").returncode) == ([arrived] * 3, 0)


def counted(sink: SmtpSink) -> Counter[str]:
    """Whole messages by subject; what a killed relay left unfinished is none."""
    return Counter(d.values("Subject")[0] for d in sink.messages() if d.raw.rstrip().endswith(b"-- the end"))


def missing(traffic: Traffic, sink: SmtpSink) -> list[str]:
    return sorted(set(traffic.acked) - set(counted(sink)))
