"""The demo's DNS server answers from its zone file and from nothing else."""

from collections.abc import Iterator

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from backupmx.operate.demo.zones import SHIPPED, Zones

ZONE = """$TTL 60
sender.example.  IN TXT "v=spf1 -all"
a.sender.example. IN A 192.0.2.1
"""


@pytest.fixture
def zones() -> Iterator[Zones]:
    served = Zones(ZONE)
    served.start()
    yield served
    served.stop()


def ask(zones: Zones, name: str, rdtype: str) -> dns.message.Message:
    host, port = zones.server.split(":")
    return dns.query.udp(dns.message.make_query(name, rdtype), host, port=int(port), timeout=5)


def test_record(zones: Zones) -> None:
    """A record of the file is answered, with authority."""
    reply = ask(zones, "SENDER.example.", "TXT")
    assert [[s.decode() for s in r.strings] for rrset in reply.answer for r in rrset] == [["v=spf1 -all"]]
    assert reply.flags & dns.flags.AA


def test_other_type(zones: Zones) -> None:
    """A name that is there without this type: no error, no answer."""
    reply = ask(zones, "sender.example.", "AAAA")
    assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])


def test_unknown_name(zones: Zones) -> None:
    """A name that is not there does not exist: nobody else is asked."""
    assert ask(zones, "debian.org.", "A").rcode() == dns.rcode.NXDOMAIN


def test_nonsense_gets_no_answer_and_stops_nothing(zones: Zones) -> None:
    """Bytes that are no question are passed over; the next question is answered."""
    import socket

    host, port = zones.server.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"\x00\x01garbage", (host, int(port)))
    assert ask(zones, "a.sender.example.", "A").rcode() == dns.rcode.NOERROR


def test_shipped_zone_is_whole() -> None:
    """The shipped zone file loads, with SPF and DMARC for every sender of the samples."""
    from backupmx.operate.demo.samples import SAMPLES

    zones = Zones(SHIPPED.read_text("utf-8"))
    try:
        for domain in sorted({s.sender.partition("@")[2] for s in SAMPLES}):
            for name in (f"{domain}.", f"_dmarc.{domain}."):
                query = dns.message.make_query(name, "TXT")
                assert zones.answer(query).answer, name
    finally:
        zones._socket.close()
