"""proxy: whom a proxy in front of us speaks for (HAProxy's PROXY protocol, versions 1 and 2).

    PROXY TCP4 192.0.2.1 198.51.100.1 56324 25        version 1, a line
    \\r\\n\\r\\n\\0\\r\\nQUIT\\n, 4 octets, addresses, TLVs   version 2

Addresses in smtp.proxy_protocol_from must begin with such a header, before
our greeting: who of them does not, or sends one we cannot read, is logged and
dropped, for whatever it is, its mail would be taken for the proxy's.  From
everybody else the same bytes are a bad command.  LOCAL and UNKNOWN are the
proxy's own: its health checks.

    connection ─► Herald ─► header ─► Session, as if the client had come itself
                    └ nobody's proxy: Session at once

Trouble
    NoHeader   these bytes do not begin with a header; the text says why.

Standards: haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

import asyncio
import ipaddress
import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from backupmx.receive.service import Service

if TYPE_CHECKING:
    from backupmx.receive.anvil import Cells
    from backupmx.receive.wire import Wire

Origin: TypeAlias = tuple[str, int]
"""Address and port of the client."""

PATIENCE = 5.0
"""Seconds for a header (Postfix smtpd_upstream_proxy_timeout)."""

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_WORD = b"PROXY "
_LINE = 107
"""Octets of the longest header of version 1, with its CR LF."""
_TLVS = 4096
"""Octets we take behind the fixed part of version 2; a TLS proxy's certificate names fit in a few hundred."""

_TCP = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_FAMILIES = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}


class NoHeader(Exception):
    """No proxy header, or one that says nothing we could use."""


def header(data: bytes) -> tuple[Origin | None, int] | None:
    """Pure.  -> (whom the proxy speaks for, None: itself; octets of the header); None: more has to come.

    Raises NoHeader, as soon as it is certain.
    """
    if data[:12] == _SIGNATURE[: len(data)]:
        return _version_2(data)
    if data[:6] == _WORD[: len(data)]:
        return _version_1(data)
    raise NoHeader("it does not begin with a PROXY header")


def _version_1(data: bytes) -> tuple[Origin | None, int] | None:
    end = data.find(b"\r\n", 0, _LINE)
    if end < 0:
        if len(data) >= _LINE:
            raise NoHeader("a PROXY line without an end")
        return None
    line = data[:end]
    if _UNKNOWN.fullmatch(line):
        return None, end + 2
    if not (match := _TCP.fullmatch(line)):
        raise NoHeader("a PROXY line that says no TCP4, TCP6 or UNKNOWN, or not what belongs to it")
    try:
        client, server = (ipaddress.ip_address(match[n].decode()) for n in (2, 3))
    except ValueError:
        raise NoHeader("a PROXY line with an address that is none") from None
    if f"{client.version}{server.version}".encode() != match[1] * 2 or max(int(match[4]), int(match[5])) > 65535:
        raise NoHeader("a PROXY line with an address of another kind, or a port that is none")
    return (_plain(client), int(match[4])), end + 2


def _version_2(data: bytes) -> tuple[Origin | None, int] | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21):
        raise NoHeader("a binary PROXY header of another version or command")
    if length > _TLVS:
        raise NoHeader(f"a binary PROXY header of {length} octets")
    if len(data) < 16 + length:
        return None
    if command == 0x20 or family == 0x00:
        return None, 16 + length
    layout = _FAMILIES.get(family)
    if layout is None or length < layout.size:
        raise NoHeader("a binary PROXY header that is not of TCP over IPv4 or IPv6")
    client, _, port, _ = layout.unpack_from(data, 16)
    return (_plain(ipaddress.ip_address(client)), port), 16 + length


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As a socket writes it."""
    return str(getattr(address, "ipv4_mapped", None) or address)


class Herald(asyncio.Protocol):
    """Stands on a new connection until it is known whose it is.  The door treats it as a session that says nothing."""

    counted: "Cells | None" = None
    """As a session's: the proxy's own connections are not limited."""
    parting = False

    def __init__(self, service: Service, make: "Callable[[], Wire]") -> None:
        self.deadline = math.inf
        self._service = service
        self._make = make
        self._data = b""
        self._address = ""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer: Any = transport.get_extra_info("peername") or ("unknown", 0)
        self._address = peer[0]
        if self._address in self._service.proxies:
            self._service.sessions.add(self)
            self.deadline = asyncio.get_running_loop().time() + PATIENCE
        else:
            self._hand_over(None)

    def data_received(self, data: bytes) -> None:
        self._data += data
        try:
            found = header(self._data)
        except NoHeader as trouble:
            self._turn_away(str(trouble))
            return
        if found is not None:
            origin, end = found
            self._data = self._data[end:]
            self._service.leave(self)
            self._hand_over(origin)

    def _hand_over(self, origin: Origin | None) -> None:
        transport, session = self._transport, self._make()
        assert transport is not None
        self._transport = None
        if origin is not None:
            self._service.journal.proxied(self._address, origin[0], "PROXY")
        session.origin = origin
        transport.set_protocol(session)
        session.connection_made(transport)
        if self._data:  # for the session, or who watches whether it waits (pregreet)
            cast(asyncio.Protocol, transport.get_protocol()).data_received(self._data)

    def connection_lost(self, error: Exception | None) -> None:
        """Before the first octet that is a health check; nobody needs to read of it."""
        if self._transport is not None and not self.parting and self._data:
            self._service.journal.no_header(self._address, "it hung up in its PROXY header")
        self._transport = None
        self._service.leave(self)

    def timed_out(self) -> None:
        self._turn_away(f"no PROXY header in {PATIENCE:.0f} seconds")

    def stop(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.parting = True
        if self._transport is not None:
            self._transport.abort()

    def _turn_away(self, why: str) -> None:
        self._service.journal.no_header(self._address, why)
        self.abort()
