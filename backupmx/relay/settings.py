"""Pure.  settings: what the relay goes by; the appliance fills it from [relay] and [queue]."""

from dataclasses import dataclass, field

from backupmx.net.smtp import Timeouts
from backupmx.route.tls_policy import TlsPolicies


@dataclass(frozen=True, slots=True)
class RelaySettings:
    hostname: str
    """Our name, in notices and when we look for ourselves in an MX list."""
    helo_name: str = ""
    """What we call ourselves to primaries; empty: hostname."""
    bind_address: str = ""
    """Our address on outgoing connections, or two of both families; empty: the system's choice."""
    lifetime: float = 5 * 86400.0
    """Seconds until mail is given up (RFC 5321 4.5.4.1)."""
    delay_warning: float = 0.0
    """Seconds until the sender of mail that waits is told; 0: never (delay.py)."""
    retry_min: float = 300.0
    retry_max: float = 3600.0
    on_refusal: str = "hold"
    """hold or bounce: the primary says 5xx after we said 250."""
    bounce_to: str = "vouched"
    """vouched or all: senders that may be told."""
    bounce_rate: int = 20
    """Notices an hour to one sender domain; 0: no limit."""
    forward_client: str = "auto"
    """auto, xclient, xforward or off: how a primary that asks is told of the client (net/smtp_origin)."""
    max_rate: float = 0.0
    """Messages a second to one next hop; 0: no limit."""
    tls: TlsPolicies = field(default_factory=TlsPolicies)
    """Which TLS a next hop wants; by default STARTTLS where it is offered (level `may`)."""
    first_connections: int = 5
    """To one next hop at first (Postfix: initial_destination_concurrency)."""
    most_connections: int = 20
    """To one next hop while it goes well (Postfix: default_destination_concurrency_limit)."""
    all_connections: int = 100
    """To all together; a primary may always have one (Postfix: default_process_limit)."""
    recipients: int = 100
    """A transaction; RFC 5321 4.5.3.1.8 promises that a server takes so many."""
    probe_min: float = 30.0
    """A next hop that is down is tried again after so long ..."""
    probe_max: float = 300.0
    """... doubled each time, up to this (Postfix: minimal_backoff_time)."""
    probe_interval: float = 60.0
    """A primary that nothing was heard of for so long is looked at; 0: only when mail waits for it."""
    up_after: int = 3
    """Answers in a row, some seconds apart, until one that was down counts as up."""
    keep_idle: float = 5.0
    """How long a connection is kept for the next message."""
    keep_for: float = 300.0
    """A connection's longest life (Postfix: smtp_connection_reuse_time_limit)."""
    lease: float = 300.0
    """How long a claim owns its recipients; an attempt that takes longer renews it."""
    timeouts: Timeouts = field(default_factory=Timeouts)

    def bind(self, address: str) -> str:
        """Ours on a connection to that address; "": the system's choice."""
        return next((word for word in self.bind_addresses if (":" in word) == (":" in address)), "")

    @property
    def bind_addresses(self) -> tuple[str, ...]:
        """Those that are named, one a family; () is the system's choice."""
        return tuple(self.bind_address.replace(",", " ").split())

    @property
    def helo(self) -> str:
        return self.helo_name or self.hostname
