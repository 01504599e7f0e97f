"""clients: what the policy says of one client, from its connection to each of its recipients.

    connection ─► Clients.visit ─► Visit ─ask─► DNS lists, its name      while the client reads our greeting
    RCPT       ─► Visit.refusal ─► the first point held against it       in Postfix's order: client, HELO, sender
    first RCPT ─► Visit.seen    ─► what the log and the spam check hear

Nothing is asked about and nothing held against a client that client_access
allows, the networks of limit_exceptions and the primaries themselves; what
client_access refuses comes before that.

Trouble
    A list that does not answer in time, or not at all, has no opinion.
    A name that nobody can tell now is no name: 450, as with Postfix.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from backupmx.journal import Journal
from backupmx.mail.envelope import Client
from backupmx.mail.reply import Reply
from backupmx.net.dns import Answer, DNSTrouble
from backupmx.receive.policy import dnsbl, helo
from backupmx.receive.policy.access import Access, Entry
from backupmx.receive.policy.acquainted import Acquainted

PREGREET = "PREGREET"
PIPELINING = "PIPELINING"


class Names(Protocol):
    """The resolver, as far as clients are concerned."""

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None: ...

    def lookup(self, name: str, rdtype: str) -> Awaitable[Answer]: ...


@dataclass(frozen=True, slots=True)
class ClientRules:
    """[smtp]'s client policy, its files read."""

    hostname: str = ""
    access: Access = field(default_factory=Access)
    reject_invalid_helo_hostname: bool = False
    reject_non_fqdn_helo_hostname: bool = False
    reject_helo_as_us: bool = False
    reject_unknown_reverse_client_hostname: bool = False
    reject_unknown_client_hostname: bool = False
    reject_non_fqdn_sender: bool = False
    reject_unauth_pipelining: bool = False
    sites: tuple[dnsbl.Site, ...] = ()
    dnsbl_threshold: int = 1
    dnsbl_action: Literal["score", "enforce"] = "score"
    dnsbl_timeout: float = 10.0
    pregreet: Literal["off", "score", "enforce"] = "off"
    pregreet_wait: float = 6.0

    @property
    def on(self) -> bool:
        """Anything at all."""
        return replace(self, hostname="") != _OFF


_OFF = ClientRules()


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a client is not served, and the setting that says so."""

    reply: Reply
    setting: str


class Clients:
    """One worker's policy.  Replaced as a whole by a reload; visits that have begun keep the old one."""

    def __init__(
        self, rules: ClientRules, resolver: Names, journal: Journal, acquainted: Acquainted | None = None
    ) -> None:
        self.rules = rules
        self.resolver = resolver
        self.journal = journal
        self.acquainted = acquainted if rules.pregreet != "off" else None
        """Who has stood the wait; None: nobody has to."""
        self._zones = tuple(dict.fromkeys(site.zone for site in rules.sites))
        self._of_zones = tuple(map(dnsbl.lists_all, self._zones))

    def visit(self, address: str, *, trusted: bool) -> "Visit | None":
        """A client connects.  None: nothing is held against it, whatever it does."""
        entry = self.rules.access.lookup(address)
        if entry is not None and entry.action == "OK":
            return None
        refused = entry if entry is not None and entry.action == "REFUSE" else None
        if trusted and refused is None:
            return None
        return Visit(self, address, refused)

    def questions(self, address: str) -> Sequence[tuple[str, str]]:
        """What has to be known of it, as (name, zone); "" for its own name."""
        wants_name = self.rules.reject_unknown_reverse_client_hostname
        if not (self._zones or wants_name) or not (backwards := dnsbl.reversed_address(address)):
            return ()
        asked = [(f"{backwards}.{zone}", zone) for zone in self._zones]
        if address != "127.0.0.1":
            asked += self._of_zones
        if wants_name:
            asked.append((f"{backwards}.{'ip6' if ':' in address else 'in-addr'}.arpa", ""))
        return asked


class Visit:
    """One client's, as long as it is here."""

    __slots__ = (
        "_answers", "_clients", "_entry", "_listing", "_new", "_open", "_told",
        "address", "asking", "early", "pipelined",
    )  # fmt: skip

    def __init__(self, clients: Clients, address: str, refused: Entry | None) -> None:
        self._clients = clients
        self._entry = refused
        self._answers: dict[str, Sequence[str]] = {}
        self._open: list[tuple[str, str]] = []
        self._new = self._told = False
        self.address = address
        self.asking: asyncio.Task[None] | None = None
        """The DNS was asked and has not answered."""
        self.early = False
        """It talked before our greeting."""
        self.pipelined = False
        """It sent on behind its first greeting."""
        if refused is None:
            for name, zone in clients.questions(address):
                if (answer := clients.resolver.known(name, _type(zone))) is None:
                    self._open.append((name, zone))
                elif isinstance(answer, Answer):
                    self._answers[zone] = answer.records
        self._listing = self._weighed()

    def wait(self) -> float:
        """Seconds until our greeting; 0 when it was seen to wait before."""
        acquainted = self._clients.acquainted
        if acquainted is None or self._entry is not None or acquainted.knows(self.address):
            return 0.0
        self._new = True
        return self._clients.rules.pregreet_wait

    @property
    def asks(self) -> bool:
        """`ask` has to be awaited."""
        return bool(self._open)

    async def ask(self) -> None:
        """Everything at once.  Does not raise; takes as long as dnsbl_timeout."""
        lookups = [asyncio.ensure_future(self._look(*question)) for question in self._open]
        try:
            await asyncio.wait(lookups, timeout=self._clients.rules.dnsbl_timeout)
        finally:
            for lookup in lookups:
                lookup.cancel()  # the query itself goes on: the next client may have its answer
            self._listing = self._weighed()
            self.asking = None

    @property
    def listing(self) -> dnsbl.Listing:
        """What lists in the DNS say of it, as far as they have answered."""
        return self._listing

    def refusal(self, client: Client, sender: str) -> Objection | None:
        """At RCPT, when nothing is asked any more: the first point held against this client."""
        rules = self._clients.rules
        if self._entry is not None:
            return Objection(self._entry.reply(str(client)), f"smtp.client_access={self._entry.where}")
        return self._of_behaviour(rules, client) or self._of_name(rules, client) or _of_words(rules, client, sender)

    def seen(self, client: Client) -> Client:
        """A first recipient is taken: the client with what was seen of it, for whoever looks at its mail."""
        clients, listing = self._clients, self._listing
        marks = tuple(m for m, seen in ((PREGREET, self.early), (PIPELINING, self.pipelined)) if seen)
        if self._new and clients.acquainted and not marks and listing.score < clients.rules.dnsbl_threshold:
            clients.acquainted.meet(self.address)
        if listing.hits and not self._told:
            self._told = True
            clients.journal.listed(client, listing.score, str(listing))
        if marks == client.marks and listing.score == client.dnsbl:
            return client
        return replace(client, marks=marks, dnsbl=listing.score)

    def _of_behaviour(self, rules: ClientRules, client: Client) -> Objection | None:
        if self.early and rules.pregreet == "enforce":
            return Objection(Reply(550, "5.5.1", "Protocol error"), "smtp.pregreet")
        if self.pipelined and rules.reject_unauth_pipelining:
            text = f"<{client.helo}>: Helo command rejected: Improper use of SMTP command pipelining"
            return Objection(Reply(503, "5.5.0", text), "smtp.reject_unauth_pipelining")
        listing = self._listing
        if rules.dnsbl_action == "enforce" and listing.score >= rules.dnsbl_threshold and listing.worst:
            text = f"Service unavailable; client [{self.address}] blocked using {listing.worst.name}"
            return Objection(Reply(550, "5.7.1", text), f"smtp.dnsbl_sites: {listing.score} by {listing}")
        return None

    def _of_name(self, rules: ClientRules, client: Client) -> Objection | None:
        if client.name != "unknown":
            return None
        if rules.reject_unknown_reverse_client_hostname and not self._answers.get(""):
            text = f"Client host rejected: cannot find your reverse hostname, [{self.address}]"
            return Objection(Reply(450, "4.7.1", text), "smtp.reject_unknown_reverse_client_hostname")
        if rules.reject_unknown_client_hostname:
            text = f"Client host rejected: cannot find your hostname, [{self.address}]"
            return Objection(Reply(450, "4.7.25", text), "smtp.reject_unknown_client_hostname")
        return None

    def _weighed(self) -> dnsbl.Listing:
        answers = self._answers
        for zone in (name[1:] for name in answers if name[:1] == "!" and answers[name]):
            self._clients.journal.lists_all(zone)
        return dnsbl.weigh(self._clients.rules.sites, answers)

    async def _look(self, name: str, zone: str) -> None:
        try:
            self._answers[zone] = (await self._clients.resolver.lookup(name, _type(zone))).records
        except DNSTrouble:
            pass  # no opinion


def _of_words(rules: ClientRules, client: Client, sender: str) -> Objection | None:
    """Pure.  How it greets, and the sender it gives."""
    reply: Reply | None
    if rules.reject_invalid_helo_hostname and (reply := helo.invalid(client.helo)):
        return Objection(reply, "smtp.reject_invalid_helo_hostname")
    if rules.reject_non_fqdn_helo_hostname and (reply := helo.non_fqdn(client.helo)):
        return Objection(reply, "smtp.reject_non_fqdn_helo_hostname")
    if rules.reject_helo_as_us and (reply := helo.as_us(client.helo, rules.hostname, client.daemon[0])):
        return Objection(reply, "smtp.reject_helo_as_us")
    if rules.reject_non_fqdn_sender and (reply := helo.sender_non_fqdn(sender)):
        return Objection(reply, "smtp.reject_non_fqdn_sender")
    return None


def _type(zone: str) -> str:
    return "A" if zone else "PTR"
