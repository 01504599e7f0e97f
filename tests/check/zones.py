"""zones: a DNS server for the zones of the RFC 7208 test suite, faults included.

A real one cannot be had for them: they have loops, names that never answer, and another zone a document.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
from dns.rdataclass import IN
from dns.rdtypes.ANY.TXT import TXT


class Zones(asyncio.DatagramProtocol):
    """`records`: what each name has, as the suite writes it: {"MX": [10, "mx.example"]}, "TIMEOUT" …"""

    def __init__(self) -> None:
        self.records: dict[str, list[Any]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = dns.message.from_wire(data)
        if answer := self._answer(question):
            self._transport.sendto(answer.to_wire(max_size=65535), addr)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        """None: silence."""
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        for _ in range(10):  # CNAMEs; a loop's answer ends somewhere
            records = self.records.get(b".".join(name.labels[:-1]).decode("latin-1").lower())
            if records is None:
                answer.set_rcode(dns.rcode.NXDOMAIN if len(name.labels) > 1 else dns.rcode.NOERROR)
                return answer
            if alias := next(iter(_values(records, "CNAME")), None):
                target = dns.name.from_text(alias)
                answer.answer.append(_rrset(name, "CNAME", [alias]))
                name = target
                continue
            if found := list(_values(records, kind)):
                answer.answer.append(_rrset(name, kind, found))
            elif "TIMEOUT" in records:
                return None
            return answer
        return answer


def _values(records: list[Any], kind: str) -> Iterator[Any]:
    """Where a name has no TXT, what is written as SPF is meant."""
    pairs = [pair for record in records if isinstance(record, dict) for pair in record.items()]
    kinds = ("TXT",) if any(had == "TXT" for had, _ in pairs) or kind != "TXT" else ("TXT", "SPF")
    wanted = kinds if kind == "TXT" else (kind,)
    return (value for had, value in pairs if had in wanted and value != "NONE")


def _rrset(name: dns.name.Name, kind: str, values: list[Any]) -> dns.rrset.RRset:
    rrset = dns.rrset.RRset(name, IN, dns.rdatatype.from_text(kind))
    for value in values:
        rrset.add(_rdata(kind, value), 300)
    return rrset


def _rdata(kind: str, value: Any) -> dns.rdata.Rdata:
    if kind == "TXT":
        strings = [text.encode() for text in (value if isinstance(value, list) else [value])]
        pieces = [s[at : at + 255] for s in strings for at in range(0, max(1, len(s)), 255)]
        return TXT(IN, dns.rdatatype.TXT, pieces or [b""])
    if kind == "MX":
        return dns.rdata.from_text(IN, "MX", f"{value[0]} {dns.name.from_text(value[1]).to_text()}")
    if kind in ("PTR", "CNAME"):
        return dns.rdata.from_text(IN, kind, dns.name.from_text(value).to_text())
    return dns.rdata.from_text(IN, kind, str(value))
