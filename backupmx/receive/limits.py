"""Pure.  limits: what a client may ask of us, each number with its precedent."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """What the door needs to know; the appliance fills it from the configuration."""

    hostname: str
    """Greeting, HELO and EHLO replies, Received:."""
    message_size_limit: int = 50 << 20
    """Octets of content; SIZE (RFC 1870) announces it.  0: no limit."""
    recipient_limit: int = 1000
    """Postfix smtpd_recipient_limit; RFC 5321 4.5.3.1.8 asks for at least 100."""
    timeout: float = 300.0
    """Seconds for the next command, and for DATA to make progress (RFC 5321 4.5.3.2.7)."""
    handshake_timeout: float = 30.0
    """Seconds for a STARTTLS handshake."""
    name_timeout: float = 5.0
    """Seconds we wait for a client's host name before it is "unknown"."""
    line_length_limit: int = 2048
    """Octets of one command (Postfix line_length_limit); lines of DATA have no limit of their own."""
    soft_error_limit: int = 10
    """Errors without a delivery after which each reply to another error takes `error_delay` (Postfix)."""
    hard_error_limit: int = 20
    """Errors without a delivery after which we hang up (Postfix smtpd_hard_error_limit)."""
    error_delay: float = 1.0
    """Postfix smtpd_error_sleep_time."""
    junk_command_limit: int = 100
    """NOOP, RSET, VRFY, HELP, HELO without a delivery; each one more is an error (Postfix)."""
    connection_limit: int = 2000
    """Open connections of one worker."""
    most_connections: int = 0
    """So many that no more are accepted, for want of descriptors.  0: never."""
    client_connection_limit: int = 50
    """At once by one client, over all workers (Postfix smtpd_client_connection_count_limit).  0: no limit."""
    client_connection_rate_limit: int = 0
    """A minute by one client, over all workers; so the next three.  0: no limit (Postfix, as all of these)."""
    client_message_rate_limit: int = 0
    client_recipient_rate_limit: int = 0
    client_new_tls_session_rate_limit: int = 0
    limit_exceptions: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Networks to which the limits of connections and rates and error_delay do not apply."""
    proxy_protocol_from: tuple[str, ...] = ()
    """Networks whose connections begin with a PROXY header."""
    xclient_from: tuple[str, ...] = ()
    """Networks that may speak for others (Postfix smtpd_authorized_xclient_hosts)."""
    etrn_from: tuple[str, ...] = ()
    """Networks that may have a domain's mail flushed, beside the primaries."""
    reject_bare_newline: bool = False
    """Refuse lines that end in LF alone, but for limit_exceptions (Postfix smtpd_forbid_bare_newline = reject)."""
    spool_folder: str = ""
    """Where content beyond `spool_above` is written while it comes in; "": it stays in memory."""
    spool_mark: str = ""
    """What the names of these files end in: whose they are when their worker died."""
    spool_above: int = 1 << 20
    """Octets of one message kept in memory."""
    spool_budget: int = 64 << 20
    """Octets of all content kept in a worker's memory; once they are, what grows goes to disk at once."""
    min_free: int = 0
    """Octets that spooling leaves free in that folder (queue.min_free)."""


DATA_RATE = 500.0
"""Octets a second that DATA must make on the whole (Postfix smtpd_min_data_rate): who sends an octet a minute
to hold a connection has `timeout` in all, not `timeout` an octet."""

OVERSHOOT = 1000
"""Recipients beyond recipient_limit that are no error yet (Postfix smtpd_recipient_overshoot_limit)."""

SWALLOWED = 2
"""A chunk of so many times message_size_limit is read and dropped; at a larger one we hang up instead."""

PIPELINE_LIMIT = 64 << 10
"""Octets of commands a client may send ahead while one of them is at work; then it is not read from."""


class Networks:
    """smtp.limit_exceptions and other lists of addresses and networks.  Raises ValueError for what is no network."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= 4096:
                self._known.clear()
            known = self._known[address] = self._spared(address)
        return known

    def _spared(self, address: str) -> bool:
        try:
            client = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(client.version == network.version and client in network for network in self._networks)
