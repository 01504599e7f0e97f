"""dns: the one resolver, for reverse names, MX, SPF, DKIM and DMARC alike.

`lookup` asks one name for one type and gives an Answer; a name that does not
exist is an answer too.  Answers, also negative ones, are kept for their TTL
in a cache of bounded size; several who ask the same at once share one query.
A truncated answer is asked again over TCP.

    receive.session --reverse--> Resolver <--lookup-- relay, check

Trouble
    DNSTrouble   no server answered in time, or all said SERVFAIL or REFUSED.
                 Never the message's fault: temporary.  Remembered for five
                 seconds, so that a broken zone costs each name one wait; servers
                 that are dead cost nobody one (dns_servers).
    A name that cannot be put in a query (a label over 63 octets, an empty
    one) does not exist: Answer.exists is False and nothing is asked.

Names are absolute: no search list, no /etc/hosts (Postfix: smtp_host_lookup =
dns).  `localhost` is answered here (RFC 6761 6.3).

pyspf and dkimpy ask synchronously.  No thread waits for them: what they need is
looked up before they run (check.spf, check.dkim).

Why not getaddrinfo for addresses?  It blocks a thread each, has no TTL and
cannot tell "no such name" from "no answer".

Standards: RFC 1035, RFC 2308 (negative caching), RFC 9520 (failure caching),
RFC 6840 5.7 (AD asked for in the query).
"""

import asyncio
import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
import dns.ttl

from backupmx.journal import Journal
from backupmx.mail.reply import Reply
from backupmx.net.dns_servers import AllDead, Servers, ServerState, Unanswered

_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_LOOPBACK = {"A": "127.0.0.1", "AAAA": "::1"}
_MAX_TTL = 86400.0
_MAX_NEGATIVE_TTL = 900.0
# RFC 2308 section 5 allows three hours; a domain's owner who repairs a record waits a quarter of one.
_TROUBLE_TTL = 5.0
# RFC 9520 section 3.2: at least one second, at most five minutes.
_MOST_OCTETS = 32 << 20
# One answer may be 64 KB: whoever makes us ask for 20,000 of his own must not fill our memory.
_PTR_NAMES = 5
# More names than this for one address are not a host's name but a list of customers.


class DNSTrouble(Exception):
    """No answer now; ask again later.  The text is for the log."""

    reply = Reply(451, "4.4.3", "Temporary lookup failure")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has of one type.  No records and `exists`: the name has others."""

    records: tuple[str, ...]
    """Presentation form: "10 mx.example.", "192.0.2.1", "host.example.".  TXT: each record's strings
    joined, bytes that are not UTF-8 as lone surrogates."""
    exists: bool = True
    """False: NXDOMAIN."""
    secure: bool = False
    """The server says it validated this with DNSSEC (AD).  Worth as much as the way to that server."""
    ttl: float = 0.0
    """Seconds it may be kept, as the zone said when it was asked."""
    strings: tuple[bytes, ...] = ()
    """TXT only: the octets of each record, in the order of `records`."""


_Question: TypeAlias = tuple[str, str]
_Result: TypeAlias = Answer | str
"""An answer, or in a few words why there is none."""


class Resolver:
    """Asks, remembers, and asks only once.  Belongs to the event loop it is first used on."""

    def __init__(
        self,
        servers: Sequence[str] = (),
        journal: Journal | None = None,
        *,
        timeout: float = 10.0,
        cache_size: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`servers`: "IP", "IP:PORT" or "[IPv6]:PORT"; none: the system's.  Raises ValueError for anything else."""
        self.timeout = timeout
        self._servers = Servers(servers, journal, clock)
        self._cache: OrderedDict[_Question, tuple[float, _Result]] = OrderedDict()
        self._cache_size = cache_size
        self._octets = 0
        self._clock = clock
        self._asking: dict[_Question, asyncio.Task[_Result]] = {}
        # 200 sockets at most: a flood of strange senders must not use up our descriptors.
        self._sockets = asyncio.Semaphore(200)

    @property
    def servers(self) -> tuple[ServerState, ...]:
        """Which servers this process holds to be up or away."""
        return self._servers.states

    async def lookup(self, name: str, rdtype: str) -> Answer:
        """The records of that type.  Raises DNSTrouble when nobody can tell now."""
        result = self.known(name, rdtype)
        if result is None:
            question = (name.rstrip(".").lower(), rdtype.upper())
            result = _told(question, await asyncio.shield(self._ask_once(question)))
        if isinstance(result, DNSTrouble):
            raise result
        return result

    def known(self, name: str, rdtype: str) -> "Answer | DNSTrouble | None":
        """What the cache has, without waiting; None: it would have to be asked."""
        question = (name.rstrip(".").lower(), rdtype.upper())
        if question[0] == "localhost" and question[1] in _LOOPBACK:
            return Answer((_LOOPBACK[question[1]],), ttl=_MAX_TTL)
        result = self._remembered(question)
        return None if result is None else _told(question, result)

    async def lookups(self, questions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], "Answer | DNSTrouble"]:
        """Several (name, type) at once; trouble is a value here, one name's is not the others'."""
        found: dict[tuple[str, str], Answer | DNSTrouble] = {}
        unknown = []
        for question in questions:
            if (result := self.known(*question)) is None:
                unknown.append(question)
            else:
                found[question] = result
        if unknown:
            answers = await asyncio.gather(*(self.lookup(*q) for q in unknown), return_exceptions=True)
            for question, answer in zip(unknown, answers, strict=True):
                if not isinstance(answer, (Answer, DNSTrouble)):
                    raise answer
                found[question] = answer
        return found

    async def addresses(self, name: str) -> tuple[str, ...]:
        """A and AAAA together, both asked at once.  Raises DNSTrouble only when it leaves none."""
        answers = await self.lookups(((name, "A"), (name, "AAAA")))
        found = tuple(record for a in answers.values() if isinstance(a, Answer) for record in a.records)
        for answer in answers.values():
            if isinstance(answer, DNSTrouble) and not found:
                raise answer
        return found

    async def reverse(self, ip: str) -> str:
        """The name of a client whose forward look-up leads back to it; else "unknown".  Never raises.

        As Postfix names clients: what comes back is fit for a Received: field and a log line.
        """
        try:
            address = ipaddress.ip_address(ip)
            if address.is_loopback and ip in _LOOPBACK.values():
                return "localhost"
            pointers = await self.lookup(address.reverse_pointer, "PTR")
            for pointer in pointers.records[:_PTR_NAMES]:
                name = pointer.rstrip(".")
                if len(name) <= 255 and _HOSTNAME.fullmatch(name) and await self._leads_to(name, address):
                    return name
        except (DNSTrouble, ValueError):
            pass  # "cannot tell" is "unknown" too: a client's name decides nothing here
        return "unknown"

    async def close(self) -> None:
        """Queries still on their way are given up."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._servers.close()

    async def _leads_to(self, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        forward = await self.lookup(name, "A" if address.version == 4 else "AAAA")
        return any(ipaddress.ip_address(record) == address for record in forward.records)

    def _remembered(self, question: _Question) -> _Result | None:
        entry = self._cache.get(question)
        if entry is None:
            return None
        until, result = entry
        if self._clock() >= until:
            self._forget(question)
            return None
        self._cache.move_to_end(question)
        return result

    def _remember(self, question: _Question, result: _Result) -> None:
        seconds = _TROUBLE_TTL if isinstance(result, str) else result.ttl
        if seconds <= 0:
            return
        self._forget(question)
        self._cache[question] = (self._clock() + seconds, result)
        self._octets += _octets(result)
        while len(self._cache) > self._cache_size or self._octets > _MOST_OCTETS:
            self._forget(next(iter(self._cache)))

    def _forget(self, question: _Question) -> None:
        entry = self._cache.pop(question, None)
        if entry is not None:
            self._octets -= _octets(entry[1])

    def _ask_once(self, question: _Question) -> asyncio.Task[_Result]:
        """The query for it that is on its way, or a new one.  It outlives a caller who gives up."""
        task = self._asking.get(question)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        return task

    async def _ask(self, question: _Question) -> _Result:
        try:
            async with asyncio.timeout(self.timeout), self._sockets:
                result: _Result = await self._query(*question)
        except TimeoutError:
            result = f"no answer in {self.timeout:g} s"
        except AllDead as trouble:
            return str(trouble)  # not remembered: the next one may find a server that is back
        except Unanswered as trouble:
            result = str(trouble)
        except (dns.exception.DNSException, OSError) as trouble:
            result = " ".join(str(trouble).split()) or type(trouble).__name__
        self._remember(question, result)
        return result

    async def _query(self, name: str, rdtype: str) -> Answer:
        try:
            qname = dns.name.from_text(name, dns.name.root)
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return Answer((), exists=False)
        try:
            answer = await self._servers.ask(qname, rdtype, self.timeout)
        except dns.resolver.NXDOMAIN as none:
            response: dns.message.QueryMessage = none.response(qname)  # type: ignore[no-untyped-call]
            return _nothing(response)
        return _something(answer)


def _octets(result: _Result) -> int:
    """What it takes to remember it, roughly."""
    return 200 if isinstance(result, str) else 200 + sum(len(r) for r in result.records + result.strings)


def _told(question: _Question, result: _Result) -> "Answer | DNSTrouble":
    return DNSTrouble(f"{' '.join(question)}: {result}") if isinstance(result, str) else result


def _something(answer: dns.resolver.Answer) -> Answer:
    response = answer.response
    secure = bool(response.flags & dns.flags.AD)
    if answer.rrset is None:
        return Answer((), secure=secure, ttl=min(_least_ttl(response), _MAX_NEGATIVE_TTL))
    records = tuple(answer.rrset)
    ttl = min(_least_ttl(response), _MAX_TTL)
    if answer.rdtype != dns.rdatatype.TXT:
        return Answer(tuple(record.to_text() for record in records), secure=secure, ttl=ttl)
    strings = tuple(b"".join(record.strings) for record in records)
    return Answer(tuple(s.decode("utf-8", "surrogateescape") for s in strings), secure=secure, ttl=ttl, strings=strings)


def _nothing(response: dns.message.QueryMessage) -> Answer:
    ttl = min(_least_ttl(response), _MAX_NEGATIVE_TTL)
    return Answer((), exists=False, secure=bool(response.flags & dns.flags.AD), ttl=ttl)


def _least_ttl(response: dns.message.Message) -> float:
    """The shortest TTL of the chain; for "nothing", the SOA's.  RFC 2308 5: without a SOA it is not kept."""
    assert isinstance(response, dns.message.QueryMessage)
    ttl = response.resolve_chaining().minimum_ttl
    return 0.0 if ttl >= dns.ttl.MAX_TTL else float(ttl)
