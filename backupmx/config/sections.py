"""sections: every setting of backupmx.toml, with its type, its default and its sentence.

Paths in the file are relative to the file's own directory; what we write is
relative to `state_dir`.  `Config.policy_path` and `Config.state_path` apply
the two rules, so nobody else needs to know them.
"""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from backupmx.config.alarms import Alarms
from backupmx.config.clients import ClientPolicy
from backupmx.config.home import STORE, Home
from backupmx.config.recipients import Recipients
from backupmx.config.values import Octets, OnError, Seconds, Section, mailbox
from backupmx.mail.address import Malformed, check

_MILTER = re.compile(r"unix:/.+|inet:[^:\s].*:\d{1,5}")
_HOST_PORT = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]|localhost):\d{1,5}")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


Patience = Annotated[Seconds, Field(gt=0)]


class Smtp(ClientPolicy):
    """[smtp]: the door.  What it may hold against clients: clients.py."""

    listen: tuple[str, ...] = ("0.0.0.0:25", "[::]:25")
    """Addresses and ports to listen on: "0.0.0.0:25", "[::]:25", "127.0.0.1:2525"."""
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Receiving processes; 0 is one for each core."""
    message_size_limit: Octets = 50 << 20
    """Larger messages are refused with 552 5.3.4 (Postfix: message_size_limit)."""
    recipient_limit: Annotated[int, Field(ge=100)] = 1000
    """Recipients a message; more are asked to come in another transaction, 452 4.5.3."""
    timeout: Seconds = 300.0
    """A client that says nothing for so long is disconnected, 421 4.4.2 (RFC 5321 4.5.3.2.7)."""
    stop_timeout: Seconds = 30.0
    """How long dialogues may take to end when we are told to stop."""
    connection_limit: Annotated[int, Field(ge=1)] = 2000
    """Open connections a worker; more are told 421 4.7.0."""
    client_connection_limit: Annotated[int, Field(ge=0)] = 50
    """Open connections of one client, over all workers; 0: no limit (Postfix: smtpd_client_connection_count_limit)."""
    client_connection_rate_limit: Annotated[int, Field(ge=0)] = 0
    """Connections a minute of one client; 0: no limit (Postfix: smtpd_client_connection_rate_limit)."""
    client_message_rate_limit: Annotated[int, Field(ge=0)] = 0
    """Messages a minute of one client, taken or not (Postfix: smtpd_client_message_rate_limit)."""
    client_recipient_rate_limit: Annotated[int, Field(ge=0)] = 0
    """Recipients a minute of one client, taken or not (Postfix: smtpd_client_recipient_rate_limit)."""
    client_new_tls_session_rate_limit: Annotated[int, Field(ge=0)] = 0
    """TLS handshakes a minute of one client, resumed ones aside (Postfix: smtpd_client_new_tls_session_rate_limit)."""
    client_ipv6_prefix_length: Annotated[int, Field(ge=1, le=128)] = 64
    """IPv6 addresses that begin alike are one client for these limits (Postfix has 84)."""
    reject_unknown_sender_domain: bool = False
    """A sender whose domain has no MX and no address is put off, 450 4.1.8 (Postfix: reject_unknown_sender_domain)."""
    limit_exceptions: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Rate and connection limits do not apply to these networks (Postfix: mynetworks)."""
    forbid_bare_newline: Literal["normalize", "reject"] = "normalize"
    """Lines that end in LF alone: made CR LF, or refused, limit_exceptions aside (Postfix has the same name)."""
    tls_chain_files: tuple[str, ...] = ()
    """Private key and certificate chain, PEM, in this order or in one file; empty: no STARTTLS."""
    tls_sni_map: str = ""
    """One certificate a name: lines of "NAME KEY-FILE CHAIN-FILE" (Postfix: tls_server_sni_maps)."""
    proxy_protocol_from: tuple[str, ...] = ()
    """Proxies in front of us: their connections must begin with a PROXY header, version 1 or 2."""
    xclient_from: tuple[str, ...] = ()
    """Addresses that may use XCLIENT: speak for any client (Postfix: smtpd_authorized_xclient_hosts)."""
    etrn_from: tuple[str, ...] = ()
    """Addresses that may use ETRN, beside the primaries: have what waits for a domain delivered now."""

    @field_validator("limit_exceptions", "proxy_protocol_from", "xclient_from", "etrn_from")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValueError(
                    f'{network!r} is no network; write "192.0.2.1", "192.0.2.0/24", "2001:db8::/32"'
                ) from None
        return value


WhenUp = Literal["accept", "defer", "verify"]


class RelayTimeouts(Section):
    """[relay.timeouts]: how long a primary may take for each answer; RFC 5321 4.5.3.2 where it says."""

    connect: Patience = 30.0
    """For the connection (Postfix: smtp_connect_timeout)."""
    greeting: Patience = 300.0
    """For the greeting, 220."""
    tls: Patience = 30.0
    """For STARTTLS and for the handshake; short, because at level may a try in clear follows."""
    hello: Patience = 300.0
    """For the answer to EHLO (Postfix: smtp_helo_timeout)."""
    mail: Patience = 300.0
    """For the answer to MAIL, and to what goes before it (XCLIENT, XFORWARD)."""
    rcpt: Patience = 300.0
    """For each answer to RCPT."""
    data: Patience = 120.0
    """For the answer to DATA (Postfix: smtp_data_init_timeout)."""
    block: Patience = 180.0
    """For a piece of a large message to be taken (Postfix: smtp_data_xfer_timeout)."""
    dot: Patience = 600.0
    """For the answer to the message (Postfix: smtp_data_done_timeout). Too short a limit makes duplicates."""
    message: Patience = 1800.0
    """For all of a message, and a second more for each 500 octets (Postfix: smtp_min_data_rate)."""


class Relay(Section):
    """[relay]: the way to the primaries."""

    transport_map: str
    """The file that names each domain's primary, in the syntax of transport(5)."""
    relay_domains: tuple[str, ...] = ()
    """Domains we take mail for; empty: those of transport_map (`example.jp`, `.example.jp`)."""
    postmaster: str = ""
    """Who reads RCPT TO:<postmaster>; empty: postmaster of the first relay domain."""
    relay_recipients: str = ""
    """Who exists: lines of "user@domain OK" or "@domain OK"; empty: everybody in a relay domain."""
    when_primary_up: WhenUp = "accept"
    """Mail that comes while the primary is up: take it, put it off (450, "please use it"), or ask the primary first."""
    when_primary_up_for: dict[str, WhenUp] = Field(default_factory=dict)
    """The same for one domain: { "example.jp" = "defer" }."""
    on_refusal: Literal["hold", "bounce"] = "hold"
    """The primary says 5xx after we said 250: keep the mail with its words, or return it to the sender."""
    bounce_to: Literal["vouched", "all"] = "vouched"
    """Who gets notices of non-delivery: senders that SPF or DKIM stands for, or whoever is named as sender."""
    bounce_rate: Annotated[int, Field(ge=0)] = 20
    """Notices an hour to one sender domain; 0: no limit."""
    digest_to: str = ""
    """Who reads once a day what wants attention; empty: the postmaster; off: nobody."""
    recipient_delimiter: str = ""
    """What begins an address extension, user+ext: the characters; empty: nothing does, as with Postfix."""
    bind_address: str = ""
    """Our address on outgoing connections, or two, IPv4 and IPv6; empty: the system's choice."""
    helo_name: str = ""
    """What we call ourselves to primaries; empty: hostname."""
    max_rate: Annotated[float, Field(ge=0)] = 0.0
    """Messages a second to one next hop; 0: no limit."""
    forward_client: Literal["auto", "xclient", "xforward", "off"] = "auto"
    """Tell a primary that asks (XCLIENT, else XFORWARD) which client brought the mail."""
    tls_level: Literal["none", "may", "encrypt", "verify", "secure"] = "may"
    """How sure of the next hop we want to be (Postfix: smtp_tls_security_level)."""
    tls_policy_map: str = ""
    """Another level for some next hops: a file as for Postfix's smtp_tls_policy_maps; empty: none."""
    tls_ca_file: str = ""
    """The CAs that count at levels verify and secure, PEM; empty: the system's (Postfix: smtp_tls_CAfile)."""
    timeouts: RelayTimeouts = RelayTimeouts()
    probe_interval: Seconds = 60.0
    """A primary that nothing was heard of for so long is looked at, mail or not; 0: only when mail waits for it."""
    up_after: Annotated[int, Field(ge=1, le=100)] = 3
    """So many answers in a row, 5 seconds apart, until a primary that was down counts as up."""

    def mode_of(self, domain: str) -> WhenUp:
        """For mail to this domain."""
        return self.when_primary_up_for.get(domain, self.when_primary_up)

    def when_up(self, mode: WhenUp) -> bool:
        """This mode is anywhere."""
        return self.when_primary_up == mode or mode in self.when_primary_up_for.values()

    @field_validator("when_primary_up_for")
    @classmethod
    def _domains(cls, value: dict[str, WhenUp]) -> dict[str, WhenUp]:
        return {domain.lower().rstrip("."): mode for domain, mode in value.items()}

    @field_validator("digest_to")
    @classmethod
    def _reader(cls, value: str) -> str:
        try:
            return value if value == "off" else mailbox(value)
        except ValueError as error:
            raise ValueError(f"{error}, or off") from None

    @field_validator("postmaster")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return check(value) if value else ""
        except Malformed:
            raise ValueError("write an address: postmaster@example.jp") from None

    @field_validator("bind_address")
    @classmethod
    def _addresses(cls, value: str) -> str:
        versions = [ip_address(word).version for word in value.replace(",", " ").split()]
        if len(versions) != len(set(versions)):
            raise ValueError("one IPv4 address, one IPv6 address, or one of each with a comma between")
        return value


class Rules(Section):
    """[rules]: header_checks and its sisters, "[pcre:|regexp:]PATH"; "" is no table."""

    header_checks: str = ""
    """For the top header block, the six MIME names aside."""
    mime_header_checks: str = ""
    """For MIME headers. Postfix's default is header_checks; ours is none (see docs/rules.md)."""
    nested_header_checks: str = ""
    """For headers of attached messages. Postfix's default is header_checks; ours is none."""
    body_checks: str = ""
    """For body lines."""
    milter_header_checks: str | None = None
    """For fields that checks and milters add; left out: the header_checks table."""
    strict: bool = True
    """Refuse a table with rules that cannot be used; false: skip them, as Postfix does."""
    discard: Literal["quarantine", "drop"] = "quarantine"
    """What DISCARD does with the mail; the client reads the same 250."""

    @property
    def added(self) -> str:
        """The table for what checks and milters add."""
        return self.header_checks if self.milter_header_checks is None else self.milter_header_checks

    @property
    def specs(self) -> tuple[str, str, str, str, str]:
        """All five: for header, mime, nested, body, and what is added."""
        return (
            self.header_checks, self.mime_header_checks, self.nested_header_checks, self.body_checks, self.added,
        )  # fmt: skip


class Virus(Section):
    """[checks.virus]"""

    engine: str | tuple[str, ...] = "clamd"
    """clamd, yara (embedded), off, or a list; the first hit wins."""
    address: str = "unix:/var/run/clamav/clamd"
    """Where clamd listens: unix:PATH or tcp:HOST:PORT."""
    timeout: Seconds = 30.0
    """For one message."""
    max_age: Seconds = 3 * 86400.0
    """clamd's signatures older than this are a warning; 0: never."""
    on_error: OnError = "accept"
    """The engine is away (Postfix: milter_default_action)."""
    on_unscannable: OnError = "defer"
    """The engine is there and this message made it fail."""

    @field_validator("engine")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (value,) if isinstance(value, str) else value
        if wrong := [n for n in names if n not in ("clamd", "yara", "off")]:
            raise ValueError(f"unknown engine {wrong[0]!r}; write clamd, yara or off")
        if len(names) != 1 and "off" in names:
            raise ValueError("off stands alone")
        return value

    @property
    def engines(self) -> tuple[str, ...]:
        """() when the check is off."""
        names = (self.engine,) if isinstance(self.engine, str) else self.engine
        return tuple(n for n in names if n != "off")


class Spam(Section):
    """[checks.spam]"""

    engine: Literal["spamd", "rspamd", "builtin", "off"] = "spamd"
    """spamd, rspamd, builtin (GTUBE and policy/spam.toml: no SpamAssassin), off."""
    address: str = "tcp:127.0.0.1:783"
    """Where spamd listens: unix:PATH or tcp:HOST:PORT; left out, rspamd's is tcp:127.0.0.1:11333."""
    required_score: float = 17.0
    """From this score on it is spam."""
    required_score_for: dict[str, float] = Field(default_factory=dict)
    """Another threshold for a recipient domain; of several recipients' the highest counts."""
    rules: str = ""
    """The rule file of the builtin engine; empty: the shipped one."""
    timeout: Seconds = 30.0
    """For one message."""
    on_error: OnError = "accept"
    """The engine is away."""

    @model_validator(mode="before")
    @classmethod
    def _usual_place(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("engine") == "rspamd":
            return {"address": "tcp:127.0.0.1:11333", **values}
        return values

    @field_validator("required_score_for")
    @classmethod
    def _domains(cls, value: dict[str, float]) -> dict[str, float]:
        if wrong := [name for name in value if "@" in name or not name.strip(".")]:
            raise ValueError(f'{wrong[0]!r} is no domain; write "example.jp" = 10.0')
        return {name.lower().rstrip("."): score for name, score in value.items()}


class Switch(Section):
    """[checks.spf], [checks.dkim], [checks.arc]"""

    enabled: bool = True
    """false: not checked, not mentioned in Authentication-Results."""


class Dmarc(Switch):
    """[checks.dmarc]"""

    enforce: Literal["off", "quarantine", "reject"] = "off"
    """What the author's domain asks for when DMARC fails: state it only; at most hold the mail; do it."""

    @model_validator(mode="after")
    def _enforces_what_it_checks(self) -> Self:
        if self.enforce != "off" and not self.enabled:
            raise ValueError("enforce needs enabled = true")
        return self


class Checks(Section):
    """[checks]: what engines and DNS are asked before we say 250."""

    deadline: Seconds = 60.0
    """All checks together. RFC 5321 4.5.3.2.6 lets a client wait 10 minutes for this reply."""
    virus: Virus = Virus()
    spam: Spam = Spam()
    spf: Switch = Switch()
    dkim: Switch = Switch()
    dmarc: Dmarc = Dmarc()
    arc: Switch = Switch()


class Milter(Section):
    """[[milter]]"""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$")]
    """For the log; each its own."""
    address: str
    """unix:PATH or inet:HOST:PORT."""
    on_error: OnError = "accept"
    """The milter is away, or breaks off (Postfix: milter_default_action)."""
    connect_timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """For the connection (Postfix: milter_connect_timeout)."""
    command_timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    """For its answer to CONNECT, HELO, MAIL, RCPT and DATA (Postfix: milter_command_timeout)."""
    content_timeout: Annotated[Seconds, Field(gt=0)] = 300.0
    """For its answer to headers, body and end of message (Postfix: milter_content_timeout)."""

    @field_validator("address")
    @classmethod
    def _place(cls, value: str) -> str:
        if not _MILTER.fullmatch(value):
            raise ValueError("write unix:/PATH or inet:HOST:PORT")
        return value


class Queue(Section):
    """[queue]: where accepted mail rests."""

    store: str = STORE
    """A file in state_dir, on a local file system that honours fsync."""
    lifetime: Seconds = 5 * 86400.0
    """Returned after this long. RFC 5321 4.5.4.1 asks for at least 4 to 5 days; a secondary may wait 30."""
    retry_min: Seconds = 300.0
    """The first wait before another try."""
    retry_max: Seconds = 3600.0
    """The longest wait."""
    delay_warning: Annotated[Seconds, Field(ge=0)] = 0.0
    """Who sent mail that waits for so long is told, once, if SPF or DKIM stood for him; "0s": never."""
    min_free: Octets = 200 << 20
    """With less room than this on the disk new mail is refused with 452 4.3.1."""

    @field_validator("store")
    @classmethod
    def _kind(cls, value: str) -> str:
        if not value.startswith("sqlite:"):
            raise ValueError('write "sqlite:FILE"')
        return value


class Quarantine(Section):
    """[quarantine]: what a rule discarded."""

    keep: Seconds = 7 * 86400.0
    """Forgotten after this long."""
    max_size: Octets = 1 << 30
    """Oldest out first beyond this, and while less than twice `queue.min_free` is free."""


class Ledger(Section):
    """[ledger]: the account of all mail."""

    keep: Seconds = 365 * 86400.0
    """`trace` finds what ended in this time; older mail is only counted."""


class Dns(Section):
    """[dns]"""

    servers: tuple[str, ...] = ()
    """"IP" or "IP:PORT"; empty: the system's."""


class Admin(Section):
    """[admin]: the page, its API, /metrics, /healthz.  They want the extra backupmx[page]."""

    listen: str = "127.0.0.1:8025"
    """Where they listen: HOST:PORT or unix:PATH; empty: nowhere."""
    mode: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = "0660"
    """Of the Unix socket: who may connect."""
    hosts: tuple[str, ...] = ()
    """Names under which a reverse proxy shows it with TLS, as in the browser's address: "mx2.example.net"."""

    @field_validator("listen")
    @classmethod
    def _place(cls, value: str) -> str:
        if value and not value.startswith("unix:/") and not _HOST_PORT.fullmatch(value):
            raise ValueError("write 127.0.0.1:8025, [::1]:8025, unix:/PATH, or nothing")
        return value

    @field_validator("hosts")
    @classmethod
    def _folded(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in value)


class Log(Section):
    """[log]"""

    format: Literal["postfix", "json"] = "postfix"
    """Postfix's line shapes, or one JSON object a line."""


class Config(Section):
    """backupmx.toml"""

    hostname: str
    """Our name in the DNS, in greetings, Received and Authentication-Results."""
    state_dir: str = ""
    """Where we write; empty: the directory of this file."""
    user: str = ""
    """Dropped to when started as root; empty: stay who we are."""
    smtp: Smtp = Smtp()
    relay: Relay
    rules: Rules = Rules()
    checks: Checks = Checks()
    milter: tuple[Milter, ...] = ()
    recipients: Recipients = Recipients()
    queue: Queue = Queue()
    quarantine: Quarantine = Quarantine()
    ledger: Ledger = Ledger()
    dns: Dns = Dns()
    admin: Admin = Admin()
    alarms: Alarms = Alarms()
    log: Log = Log()
    path: Path = Field(Path("backupmx.toml"), exclude=True)
    """The file itself; not a setting."""

    @field_validator("hostname")
    @classmethod
    def _host_name(cls, value: str) -> str:
        if not _HOST_NAME.fullmatch(value) or "." not in value:
            raise ValueError("write the full name this host has in DNS, like mx2.example.net")
        return value

    def policy_path(self, path: str) -> Path:
        """Of a file the operator writes: relative to the configuration's own directory."""
        return self.path.parent / path

    @property
    def home(self) -> Home:
        return Home(self.path, self.state_dir, self.queue.store)

    def state_path(self, path: str) -> Path:
        """Of a file we write: relative to state_dir."""
        return self.home.state_path(path)

    @property
    def queue_store(self) -> str:
        """queue.store with its path made whole: "sqlite:/var/spool/backupmx/queue.db"."""
        return self.home.queue_store

    def table(self, spec: str) -> str:
        """A table of [rules] with its path made whole: "pcre:/etc/backupmx/header_checks"; "" and inline rules stay."""
        kind, colon, path = spec.partition(":")
        if path.lstrip().startswith("{"):
            return spec
        if colon and kind in ("pcre", "regexp"):
            return path and f"{kind}:{self.policy_path(path)}"
        return spec and str(self.policy_path(spec))
