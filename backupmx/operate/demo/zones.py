"""zones: a DNS server on loopback for one zone file (RFC 1035 section 5).

UDP only, answers from memory, never asks anybody.  Every name is absolute;
what the file does not have does not exist (NXDOMAIN), so the demo looks up
nothing in the world and gives the same answers without a network.
"""

import socket
import threading
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.zone

SHIPPED = Path(__file__).parents[2] / "policy" / "samples" / "demo.zone"


class Zones:
    """start(), stop(); `server` is what [dns] servers wants to know."""

    def __init__(self, text: str) -> None:
        self._zone = dns.zone.from_text(text, origin=".", relativize=False, check_origin=False)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)  # how long stop() may wait for the thread
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="demo dns", daemon=True)

    @property
    def server(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                wire, peer = self._socket.recvfrom(4096)
                self._socket.sendto(self.answer(dns.message.from_wire(wire)).to_wire(), peer)
            except (TimeoutError, dns.exception.DNSException, OSError):
                continue  # Silence, what is no question, or a peer that left: DNS says nothing then.

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Pure.  The zone's answer to one question."""
        reply = dns.message.make_response(query)
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            reply.set_rcode(dns.rcode.NOTIMP)
            return reply
        reply.flags |= dns.flags.AA
        question = query.question[0]
        node = self._zone.get_node(question.name)
        if node is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif found := node.get_rdataset(dns.rdataclass.IN, question.rdtype):
            reply.answer.append(dns.rrset.from_rdata_list(question.name, found.ttl, list(found)))
        return reply
