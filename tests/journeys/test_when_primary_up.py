"""Mail at our door while the primary is up, down, coming back or slow, for people who exist, do not, or are new.

The primary is a real Postfix, example.jp's list comes from a real directory, example.net's was never brought.

    known@    listed and at the primary       new@   at the primary, in no list yet
    gone@     listed, refused by the primary  x@     nowhere
    sub.example.jp   the primary takes any name
"""

import re
import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.client import message, send
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import DOMAINS, Primary, real_primary
from tests.neighbours.slapd import SUFFIX, people, slapd

pytestmark = [pytest.mark.neighbours, pytest.mark.slow]

CLIENT = ("127.0.0.6", 0)
PLEASE, LATER = "450 4.7.1 please use it", "450 4.1.1 cannot be verified now"
NOBODY, ITS_NO = "550 5.1.1 in relay recipient table", "550 5.1.1 to the primary MX"
TAKEN = "250 2.1.5 Ok"
REPLIES = {
    "known@example.jp": "OK", "new@example.jp": "OK", "known@example.net": "OK", "new@example.net": "OK",
    "slow@example.net": "sleep 3", "blocked@example.net": "550 5.7.1 we do not like you",
    "example.jp": "550 5.1.1 User unknown", "example.net": "550 5.1.1 User unknown", "sub.example.jp": "OK",
}  # fmt: skip


@pytest.fixture
def picky() -> Iterator[Primary]:
    with real_primary(replies=REPLIES) as running:
        yield running


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    with slapd(tmp_path / "slapd", people([["known@example.jp", "gone@example.jp", "slow@example.jp"]])) as port:
        yield port


def start(serve: Serve, primary: Primary, directory: int, mode: str, **recipients: object) -> Appliance:
    relay = {"when_primary_up": mode, "probe_interval": "1s", "up_after": 2, "relay_domains": list(DOMAINS)}
    mx = serve(
        bound_to(DOMAINS, primary.port),
        started=False,
        relay={"transport_map": "transport.map", **relay},
        recipients={"verify": True, "verify_wait": "1s", **recipients},
        queue={"min_free": 0, "retry_min": "1s", "retry_max": "2s"},
        smtp={"limit_exceptions": ["127.0.0.1"], "workers": 2},
    )
    with mx.config.open("a") as file:
        file.write(
            f'[[recipients.source]]\nname = "people"\ndomains = ["example.jp"]\nldap = "ldap://127.0.0.1:{directory}"\n'
            f'base = "{SUFFIX}"\n[[recipients.source]]\nname = "brought"\ndomains = ["example.net"]\n'
        )
    mx.start()
    mx.logged("recipients: people: 3 addresses")
    return mx


def replies(mx: Appliance, *recipients: str) -> list[str]:
    """What RCPT is answered for each, in short."""
    said = []
    with smtplib.SMTP("127.0.0.1", mx.port, "client.sender.test", 60, source_address=CLIENT) as smtp:
        smtp.ehlo()
        smtp.mail("alice@sender.test")
        for recipient in recipients:
            code, text = smtp.rcpt(recipient)
            said.append(f"{code} {text.decode().replace(f'<{recipient}>: Recipient address rejected: ', '')}")
        smtp.rset()
    return [re.sub(r"the primary MX is up, |, try again later|User unknown ", "", line) for line in said]


def becomes(mx: Appliance, state: str) -> None:
    """The relay says so, and the workers know."""
    eventually(lambda: mx.objects("status")[0]["next_hops"][0]["state"] == state, 60, lambda: mx.log)
    time.sleep(2.5)  # every two seconds a worker looks


def said(mx: Appliance, expected: dict[str, str]) -> None:
    assert dict(zip(expected, replies(mx, *expected), strict=True)) == expected


def no_notices(mx: Appliance) -> None:
    """Nobody was sent a notice."""
    assert "sender non-delivery notification" not in mx.log
    assert [one for one in mx.queue() if one["sender"] in ("", "MAILER-DAEMON")] == []


def test_accept(serve: Serve, picky: Primary, directory: int) -> None:
    """Lists decide; where they cannot the primary is asked, in an outage what it said before counts."""
    mx = start(serve, picky, directory, "accept")
    becomes(mx, "up")
    said(mx, {
        "known@example.jp": TAKEN, "gone@example.jp": TAKEN, "new@example.jp": NOBODY, "x@example.jp": NOBODY,
        "known@example.net": TAKEN, "new@example.net": TAKEN, "x@example.net": ITS_NO, "blocked@example.net": LATER,
        "any@sub.example.jp": TAKEN, "postmaster@example.net": TAKEN,
    })  # fmt: skip
    asked = picky.log.count("from=<> to=<x@example.net>")
    assert replies(mx, "x@example.net") == [NOBODY]  # the no is kept
    assert picky.log.count("from=<> to=<x@example.net>") == asked == 1
    picky.stop()
    becomes(mx, "down")
    said(mx, {
        "known@example.jp": TAKEN, "gone@example.jp": TAKEN, "new@example.jp": NOBODY, "x@example.jp": NOBODY,
        "known@example.net": TAKEN, "new@example.net": TAKEN, "x@example.net": LATER, "y@example.net": LATER,
        "another@sub.example.jp": TAKEN,
    })  # fmt: skip
    assert send(mx.port, message("in the outage"), "known@example.net").code == 250
    picky.start()
    eventually(lambda: any(b"in the outage" in one.content for one in picky.messages()), 60, lambda: mx.log)
    no_notices(mx)


def test_slow(serve: Serve, picky: Primary, directory: int) -> None:
    """A client is not held longer than recipients.verify_wait; the answer is there when it comes again."""
    mx = start(serve, picky, directory, "accept")
    becomes(mx, "up")
    assert replies(mx, "slow@example.net") == [LATER]
    mx.logged(r"verify: to=<slow@example.net>, .*status=deliverable")
    assert replies(mx, "slow@example.net") == [TAKEN]


def test_defer(serve: Serve, picky: Primary, directory: int) -> None:
    """Clients are sent to a primary that is up, not to one that is down or has just come back; nobody is asked for."""
    mx = start(serve, picky, directory, "defer")
    becomes(mx, "up")
    up = {
        "known@example.jp": PLEASE, "x@example.jp": NOBODY, "known@example.net": PLEASE, "x@example.net": PLEASE,
        "any@sub.example.jp": PLEASE,
    }  # fmt: skip
    said(mx, up)
    assert "verify:" not in mx.log
    picky.stop()
    becomes(mx, "down")
    down = {"known@example.jp": TAKEN, "x@example.jp": NOBODY, "known@example.net": LATER, "any@sub.example.jp": LATER}
    said(mx, down)
    picky.start()
    mx.logged(r"answers again after")
    assert replies(mx, "known@example.jp") == [TAKEN]  # flapping, as far as anybody knows
    becomes(mx, "up")
    said(mx, up)
    no_notices(mx)


def test_verify(serve: Serve, picky: Primary, directory: int) -> None:
    """The primary's refusal is ours, also of who is listed; in an outage the lists decide alone."""
    mx = start(serve, picky, directory, "verify", verify=False)
    becomes(mx, "up")
    said(mx, {
        "known@example.jp": TAKEN, "gone@example.jp": ITS_NO, "new@example.jp": NOBODY, "x@example.jp": NOBODY,
        "known@example.net": TAKEN, "x@example.net": ITS_NO, "blocked@example.net": LATER, "any@sub.example.jp": TAKEN,
    })  # fmt: skip
    picky.stop()
    becomes(mx, "down")
    said(mx, {
        "known@example.jp": TAKEN, "gone@example.jp": TAKEN, "x@example.jp": NOBODY, "known@example.net": TAKEN,
        "x@example.net": LATER, "any@sub.example.jp": TAKEN,
    })  # fmt: skip
    shown = mx.cli("explain", "-", "--to", "x@example.jp", "--to", "known@example.net").stdout
    assert "<x@example.jp> in no list of its domain (people" in shown
    assert "<known@example.net> taken by the primary" in shown
    assert re.search(r"<known@example.net> smtp:\[127.0.0.1\]:\d+ is down\n", shown)
    no_notices(mx)


PLACES = ("known@example.jp", "gone@example.jp", "new@example.jp", "x@example.jp",
          "known@example.net", "new@example.net", "x@example.net", "any@sub.example.jp")  # fmt: skip
LISTS = (TAKEN, TAKEN, NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("mode", "taught"),
    [("accept", (TAKEN, LATER, LATER, TAKEN)), ("defer", (LATER,) * 4), ("verify", (TAKEN, LATER, LATER, TAKEN))],
)
def test_flapping(serve: Serve, picky: Primary, directory: int, mode: str, taught: tuple[str, ...]) -> None:
    """A primary that answers now and then is down for whoever knocks: nobody is sent there, or asked for."""
    mx = start(serve, picky, directory, mode)
    becomes(mx, "up")
    replies(mx, "known@example.net", "x@example.net", "one@sub.example.jp")
    mx.config.write_text(mx.config.read_text().replace("up_after = 2", "up_after = 100"))
    mx.reload()
    picky.stop()
    becomes(mx, "down")
    picky.start()
    mx.logged("answers again after")
    asked = picky.log.count("from=<> to=")
    said(mx, dict(zip(PLACES, LISTS + taught, strict=True)))
    assert picky.log.count("from=<> to=") == asked
    no_notices(mx)


ANSWERS = {one: "slow_yes" if reply == "OK" else "slow_no" for one, reply in REPLIES.items()} | {
    "gone@example.jp": "slow_no"
}
SLOWLY = {
    "smtpd_restriction_classes": "slow_yes slow_no", "slow_yes": "sleep 3, permit",
    "slow_no": "sleep 3, check_recipient_access static:{550 5.1.1 User unknown}",
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "first", "then"),
    [
        ("accept", (*LISTS, LATER, LATER, LATER, LATER), (*LISTS, TAKEN, TAKEN, NOBODY, TAKEN)),
        ("defer", (PLEASE, PLEASE, NOBODY, NOBODY, *[PLEASE] * 4), (PLEASE, PLEASE, NOBODY, NOBODY, *[PLEASE] * 4)),
        ("verify", (*LISTS, LATER, LATER, LATER, LATER), (TAKEN, NOBODY, NOBODY, NOBODY, TAKEN, TAKEN, NOBODY, TAKEN)),
    ],
)
def test_a_primary_that_is_slow(
    serve: Serve, directory: int, mode: str, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """It takes three seconds, a client waits one: it is put off, or lists count, until the answer is here."""
    with real_primary(replies=ANSWERS, **SLOWLY) as slow:
        mx = start(serve, slow, directory, mode)
        becomes(mx, "up")
        said(mx, dict(zip(PLACES, first, strict=True)))
        asked = [to for to, reply in zip(PLACES, first, strict=True) if reply == LATER]
        for to in [*asked, *(PLACES[:2] if mode == "verify" else ())]:
            mx.logged(rf"verify: to=<{to}>, .*status=(?:deliverable|unknown|undeliverable)")
        time.sleep(0.5)  # the log has it before the store
        said(mx, dict(zip(PLACES, then, strict=True)))
        no_notices(mx)


def test_reload(serve: Serve, picky: Primary) -> None:
    """SIGHUP reads lists, map and modes anew; a wrong file keeps the old ones, loudly, and status says so."""
    relay = {"transport_map": "transport.map", "relay_recipients": "people", "relay_domains": list(DOMAINS)}
    mx = serve(bound_to(DOMAINS, picky.port), started=False, relay={**relay, "probe_interval": "1s"},
               smtp={"limit_exceptions": ["127.0.0.1"], "workers": 2})  # fmt: skip
    people = mx.folder / "people"
    people.write_text("known@example.jp OK\n")
    mx.start()
    becomes(mx, "up")
    said(mx, {"known@example.jp": TAKEN, "new@example.jp": NOBODY})
    people.write_text("known@example.jp OK\nnew@example.jp OK\n")
    mx.reload()
    eventually(lambda: replies(mx, "new@example.jp") == [TAKEN])
    people.write_text("known@example.jp OK\nnobody in particular\n")
    mx.reload()
    mx.logged(r'error: reload: the old policy stays: people:2: "nobody" is no address')
    said(mx, {"known@example.jp": TAKEN, "new@example.jp": TAKEN, "x@example.jp": NOBODY})
    assert any(alarm["key"] == "reload" for alarm in mx.objects("status")[0]["alarms"])
    people.write_text("known@example.jp OK\n")
    mx.settings["relay"] = {**mx.settings["relay"], "when_primary_up": "defer"}
    mx.write()
    mx.reload()
    eventually(lambda: replies(mx, "known@example.jp", "new@example.jp") == [PLEASE, NOBODY])
    assert mx.objects("status")[0]["alarms"] == []


def test_nobody_knows(serve: Serve, picky: Primary) -> None:
    """Without any source every address is taken; what the primary refuses is held, and no notice leaves."""
    mx = serve(bound_to(DOMAINS, picky.port), relay={"transport_map": "transport.map", "relay_domains": list(DOMAINS)})
    assert send(mx.port, message("to nobody"), "x@example.jp").code == 250
    mx.logged(r"to=<x@example.jp>, .*status=refused")
    no_notices(mx)


def test_a_dictionary(serve: Serve, picky: Primary, directory: int) -> None:
    """Of ten thousand random recipients the primary sees a minute's allowance and what the time adds; we take none."""
    rate, names = 60, 10_000
    mx = start(serve, picky, directory, "accept", probe_rate=rate)
    becomes(mx, "up")
    began, codes = time.monotonic(), []
    for first in range(0, names, 20):
        lines = [f"RCPT TO:<d{number}@example.net>" for number in range(first, first + 20)]
        with socket.create_connection(("127.0.0.1", mx.port), 60) as client:
            client.sendall("\r\n".join(["EHLO c.test", "MAIL FROM:<a@sender.test>", *lines, "QUIT", ""]).encode())
            heard = b"".join(iter(lambda: client.recv(65536), b""))
        codes += re.findall(rb"(?m)^([45]\d\d) \d\.1\.1 <d", heard)
    minutes = (time.monotonic() - began) / 60
    assert len(codes) >= names - names // 20  # the twentieth error of a connection is its last
    assert set(codes) <= {b"450", b"550"}
    seen = len(re.findall(r"reject: RCPT .*to=<d\d+@example\.net>", picky.log))
    assert rate <= seen <= rate * (1 + minutes) + 1
    assert mx.queue() == []
