"""Journey 2: the primary is away, and comes back: its mail waits with the reason and goes out, all of it, once."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import bound_to
from tests.journeys.arrivals import all_arrived, arrived
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import DOMAINS, Primary
from tests.neighbours.smtp_sink import SmtpSink, smtp_sink

pytestmark = pytest.mark.neighbours


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[SmtpSink]:
    with smtp_sink(tmp_path / "sink") as running:
        yield running


def test_flush(serve: Serve, primary: Primary) -> None:
    """Mail for a primary that is stopped waits with the reason; `flush` brings all of it and its account is exact."""
    primary.stop()
    mx = serve(bound_to(DOMAINS, primary.port))
    names = [f"waits {n}" for n in range(5)]
    for name in names:
        assert send(mx.port, message(name)).code == 250
    eventually(lambda: all(r["delay_reason"] or r["attempts"] == 0 for m in mx.queue() for r in m["recipients"]))
    waiting = mx.queue()
    (tried, *_) = [r for m in waiting for r in m["recipients"] if r["attempts"]]
    assert len(waiting) == 5
    assert "Connection refused" in tried["delay_reason"]
    assert tried["next_hop"] == f"smtp:[127.0.0.1]:{primary.port}"
    assert time.time() < tried["next_attempt"] < time.time() + 60
    still_away = mx.cli("flush", "--json")
    assert still_away.returncode == 1
    assert '"waiting": 5, "delivered": 0, "deferred": 5, "refused": 0' in still_away.stdout
    primary.start()
    (account,) = mx.objects("flush", "example.jp")
    assert {k: v for k, v in account.items() if k != "seconds"} == {
        "waiting": 5, "delivered": 5, "deferred": 0, "refused": 0,
    }  # fmt: skip
    all_arrived(primary, names)
    assert mx.queue() == []
    (nothing,) = mx.objects("flush")
    assert nothing["waiting"] == 0


def test_recovery(serve: Serve, primary: Primary) -> None:
    """A primary that comes back gets its mail without anybody saying flush, and new mail does not wait any more."""
    primary.stop()
    mx = serve(bound_to(DOMAINS, primary.port), queue={"min_free": 0, "retry_min": "2s", "retry_max": "2s"})
    for n in range(3):
        assert send(mx.port, message(f"recovers {n}")).code == 250
    mx.logged(r"is down, next probe in")
    primary.start()
    all_arrived(primary, [f"recovers {n}" for n in range(3)])
    mx.logged(r"is up after")
    assert send(mx.port, message("at once")).code == 250
    arrived(primary, "at once", 5)


def test_known_before_any_mail(serve: Serve, sink: SmtpSink) -> None:
    """A primary that is away is known to be, and mail that comes says so in the queue without a try of its own."""
    sink.stop()
    mx = serve(bound_to(DOMAINS, sink.port), relay={"probe_interval": "1s"})
    mx.logged(r"is down, next probe in")
    (hop,) = mx.objects("status")[0]["next_hops"]
    assert (hop["state"], "Connection refused" in hop["error"], hop["next_probe"] > time.time()) == ("down", True, True)
    send(mx.port, message("waits"))
    ((recipient,),) = [m["recipients"] for m in mx.queue()]
    assert (recipient["attempts"], "Connection refused" in recipient["delay_reason"]) == (0, True)


def test_the_primary_calls(serve: Serve, sink: SmtpSink) -> None:
    """Whoever is back and connects to us has its mail at once, though the next probe is half a minute away."""
    sink.stop()
    mx = serve(bound_to(DOMAINS, sink.port), relay={"probe_interval": "1s"})
    mx.logged(r"is down, next probe in")
    for n in range(3):
        send(mx.port, message(f"waits {n}"))
    sink.start()

    def calls() -> bool:
        with socket.create_connection(("127.0.0.1", mx.port)):
            return "answers again" in mx.log

    eventually(calls)  # what a worker knows is two seconds old at most
    all_arrived(sink, [f"waits {n}" for n in range(3)])


def test_flush_of_one_domain(serve: Serve, primary: Primary, sink: SmtpSink) -> None:
    """`flush DOMAIN` leaves the mail of other domains where it is."""
    primary.stop()
    sink.stop()
    mx = serve(bound_to(["example.jp"], primary.port) + bound_to(["example.net"], sink.port))
    send(mx.port, message("one"), "bob@example.jp")
    send(mx.port, message("other"), "bob@example.net")
    eventually(lambda: mx.log.count("status=deferred") == 2)
    primary.start()
    sink.start()
    (account,) = mx.objects("flush", "example.net")
    assert (account["waiting"], account["delivered"]) == (1, 1)
    all_arrived(sink, ["other"])
    assert [m["recipients"][0]["address"] for m in mx.queue()] == ["bob@example.jp"]
    assert mx.cli("flush", "elsewhere.test").returncode == 1


def test_flush_wants_an_appliance(serve: Serve, primary: Primary) -> None:
    """With nobody there to deliver, `flush` says so instead of waiting for ever."""
    mx = serve(bound_to(DOMAINS, primary.port))
    assert mx.stop() == 0
    done = mx.cli("flush")
    assert (done.returncode, "no appliance works on" in done.stderr) == (1, True)


def test_mx_records(serve: Serve, sink: SmtpSink) -> None:
    """smtp:domain asks DNS for its MX: the first takes no connection, the second gets the mail."""
    mx = serve(f"example.jp  smtp:primaries.test:{sink.port}\n")
    send(mx.port, message("by mx"))
    all_arrived(sink, ["by mx"])
    mx.logged(r"relay=primary\.test\[127\.0\.0\.1\]:\d+, .*status=sent")


def test_list_of_next_hops(serve: Serve, sink: SmtpSink) -> None:
    """Of several next hops the second takes what the first cannot."""
    mx = serve(f"example.jp  smtp:[127.0.0.9]:{sink.port}, [127.0.0.1]:{sink.port}\n")
    send(mx.port, message("second of two"))
    all_arrived(sink, ["second of two"])


def test_kinds_of_lines(serve: Serve, tmp_path: Path, sink: SmtpSink) -> None:
    """.domain, *, one address, lmtp:, error: and retry: send each recipient where its line says."""
    with smtp_sink(tmp_path / "lmtp", "-L") as lmtp:
        mx = serve(
            f"example.jp          lmtp:inet:127.0.0.1:{lmtp.port}\n"
            f".example.jp         smtp:[127.0.0.1]:{sink.port}\n"
            "left@example.jp     error:5.1.6 Left the company\n"
            "later@example.jp    retry:4.3.2 Being moved\n"
            f"*                   smtp:[127.0.0.1]:{sink.port}\n",
            relay={
                "transport_map": "transport.map", "relay_domains": ["example.jp", ".example.jp", "example.org"],
            },
        )  # fmt: skip
        send(mx.port, message("lmtp"), "bob@example.jp")
        send(mx.port, message("subdomain"), "bob@deep.sub.example.jp")
        send(mx.port, message("star"), "bob@example.org")
        all_arrived(lmtp, ["lmtp"])
        assert send(mx.port, message("no"), "left@example.jp", sender="").code == 250
        mx.logged(r"to=<left@example\.jp>, relay=none, .*dsn=5\.1\.6, status=unreturned \(.*Left the company")
        send(mx.port, message("later"), "later@example.jp")
        mx.logged(r"to=<later@example\.jp>, relay=none, .*dsn=4\.3\.2, status=deferred \(.*Being moved")
        all_arrived(sink, ["subdomain", "star"])
        assert [m["recipients"][0]["address"] for m in mx.queue()] == ["later@example.jp"]
        assert send(mx.port, message("stranger"), "bob@elsewhere.test").code == 554


def test_restart(serve: Serve, primary: Primary) -> None:
    """What waits when the appliance stops goes out when it starts again."""
    primary.stop()
    mx = serve(bound_to(DOMAINS, primary.port))
    send(mx.port, message("over a restart"))
    mx.logged(r"status=deferred")
    assert mx.stop() == 0
    primary.start()
    mx.start()
    assert mx.cli("flush").returncode == 0
    all_arrived(primary, ["over a restart"])
