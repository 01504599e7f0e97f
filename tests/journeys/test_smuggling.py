"""SMTP smuggling (CVE-2023-51764, -51765, -51766) from end to end: a sender's bytes, our relaying, a real Postfix.

Postfix stands as our primary as it stood before its mend: it takes LF for a
line end wherever it stands, and ends a message at LF . LF too.  What we relay
must be one message to it, whatever it looked like to us.
"""

import re
import socket
from collections.abc import Iterator
from itertools import product

import pytest

from tests.journeys.appliance import Appliance, bound_to
from tests.journeys.arrivals import all_arrived, subjects
from tests.journeys.conftest import Serve
from tests.journeys.patience import eventually
from tests.journeys.primary import Primary, real_primary

pytestmark = pytest.mark.neighbours

ENDS = (b"\n", b"\r", b"\r\n", b"\0\n", b"\r\0\n", b"\n\0", b"\r\r\n")
NOT_AN_END = [
    before + b"." + after for before, after in product(ENDS, ENDS) if not (before + b"." + after).endswith(b"\r\n.\r\n")
]
"""Every way to write the end of data wrong: one server takes it for the end, the next does not."""
SMUGGLED = (
    b"MAIL FROM:<admin@example.jp>\r\nRCPT TO:<bob@example.jp>\r\nDATA\r\nSubject: smuggled\r\n\r\nfrom the inside\r\n"
)


@pytest.fixture
def lenient() -> Iterator[Primary]:
    with real_primary(smtpd_forbid_bare_newline="no", smtpd_forbid_unauth_pipelining="no") as running:
        yield running


def content(subject: str, not_an_end: bytes) -> bytes:
    return b"From: <a@sender.test>\r\nSubject: %s\r\n\r\nfirst" % subject.encode() + not_an_end + SMUGGLED


def by_data(content: bytes) -> bytes:
    return b"DATA\r\n" + content + b".\r\n"


def by_bdat(content: bytes) -> bytes:
    half = len(content) // 2
    return b"BDAT %d\r\n%sBDAT %d LAST\r\n%s" % (half, content[:half], len(content) - half, content[half:])


def deliver(mx: Appliance, dialogue: bytes, *, octets: bool) -> bytes:
    """One connection, the bytes as they are, whole or one by one.  -> all that is answered"""
    with socket.create_connection(("127.0.0.1", mx.port), 30, ("127.0.0.5", 0)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (dialogue[i : i + 1] for i in range(len(dialogue))) if octets else [dialogue]:
            opened.sendall(piece)
        opened.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: opened.recv(65536), b""))


def test_one_message_stays_one(serve: Serve, lenient: Primary) -> None:
    """Sent by DATA or BDAT, whole or octet by octet: as many messages arrive as were sent, none from the inside."""
    mx = serve(bound_to(["example.jp"], lenient.port))
    sent = []
    for number, not_an_end in enumerate(NOT_AN_END):
        for name, way, octets in (("data", by_data, False), ("octets", by_data, True), ("bdat", by_bdat, False)):
            subject = f"{name} {number}"
            begin = b"EHLO x\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<bob@example.jp>\r\n"
            said = deliver(mx, begin + way(content(subject, not_an_end)) + b"QUIT\r\n", octets=octets)
            assert said.count(b"queued as") == 1, (subject, not_an_end, said)
            assert len(re.findall(rb"(?m)^250 2\.1\.0 ", said)) == 1, (subject, not_an_end, said)
            sent.append(subject)
    mx.empty(60)
    eventually(lambda: len(lenient.messages()) >= len(sent), 60)
    assert sorted(sent) == sorted(subjects(lenient))
    for mail in lenient.messages():
        assert mail.sender == "a@sender.test"
        assert b"from the inside" in mail.content


def test_the_primary_is_as_lenient_as_that(lenient: Primary) -> None:
    """Without us between them the same bytes are two messages: the test above could fail."""
    with socket.create_connection(("127.0.0.1", lenient.port), 30) as opened:
        begin = b"EHLO x\r\nMAIL FROM:<a@sender.test>\r\nRCPT TO:<bob@example.jp>\r\n"
        opened.sendall(begin + by_data(content("outer", b"\n.\n")) + b"QUIT\r\n")
        said = b"".join(iter(lambda: opened.recv(65536), b""))
    assert said.count(b"queued as") == 2, said
    all_arrived(lenient, ["outer", "smuggled"])
