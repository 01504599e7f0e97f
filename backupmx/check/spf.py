"""spf: may this client send for that domain?

    spf=pass smtp.mailfrom=sender.example
    spf=none smtp.helo=mx.sender.example           (the null sender: its HELO name stands in)

Authentication-Results gets the result of MAIL FROM.  That of HELO is a fact
beside it ("helo=fail"), for the builtin spam rules and for `explain`.

pyspf asks its questions synchronously.  It is not put in a thread: a look-up
it has no answer for is noted and answered "nothing", and when the run is over
all that was noted is looked up at once and the run begins anew.  Only a run
that missed nothing counts.  A record with includes takes two or three runs of
a tenth of a millisecond, one when the answers are in the cache already.

    temperror  the DNS did not answer, or not within 20 seconds (RFC 7208 4.6.4).
               After one wait for a DNS that says nothing there is no second
    permerror  their record is wrong, too large (8 KiB, or 512 octets a term:
               pyspf's expressions are quadratic), or needs more than 10 look-ups

Standards: RFC 7208; RFC 8601 2.7.2.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import spf

from backupmx.check.author import ascii_domain
from backupmx.check.field import plain, resinfo
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.net.dns import Answer, DNSTrouble, Resolver

_SECONDS = 20.0
_LONGEST_RECORD = 8 << 10
_LONGEST_TERM = 512
_MOST_RUNS = 30
# RFC 7208 allows 10 look-ups one after another, each with one more for MX and PTR names.

_Question: TypeAlias = tuple[str, str]
_Known: TypeAlias = Callable[[_Question], Answer | DNSTrouble | None]


class Spf:
    """The SPF check."""

    name = "spf"

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def look(self, mail: Mail) -> Finding:
        started = time.monotonic()
        sender, helo = mail.envelope.sender, ascii_domain(mail.client.helo)
        local, at, domain = sender.rpartition("@")
        domain = ascii_domain(domain) if at else ""
        greeting, result = await asyncio.gather(
            self._result(mail.client.address, "", helo if "." in helo else ""),
            self._result(mail.client.address, f"{local}@{domain}" if domain else "", helo if domain else ""),
        )
        if not sender:
            result, domain = greeting, helo
        return finding(result, domain, helo, greeting, bool(sender), time.monotonic() - started)

    async def _result(self, address: str, sender: str, helo: str) -> str:
        """RFC 7208 2.3: only a name that can be in the DNS is checked; without one it is none."""
        if not (sender or helo):
            return "none"
        answers: dict[_Question, Answer | DNSTrouble] = {}
        result, missing = evaluate(address, sender, helo, self._known(answers))
        if not missing:
            return result  # the usual case: everything was in the cache
        try:
            async with asyncio.timeout(_SECONDS):
                for _ in range(_MOST_RUNS):
                    started = time.monotonic()
                    found = await self._resolver.lookups(missing)
                    answers.update(found)
                    result, missing = evaluate(address, sender, helo, self._known(answers))
                    if not missing:
                        return result
                    silent = time.monotonic() - started > self._resolver.timeout / 2
                    if silent and any(isinstance(answer, DNSTrouble) for answer in found.values()):
                        return "temperror"
        except TimeoutError:
            return "temperror"
        return "permerror"

    def _known(self, answers: dict[_Question, Answer | DNSTrouble]) -> "_Known":
        """What was looked up for this run (a TTL of zero counts as well), and what the cache has."""
        return lambda question: answers.get(question) or self._resolver.known(*question)


def evaluate(address: str, sender: str, helo: str, known: _Known) -> tuple[str, list[_Question]]:
    """check_host() with what is known -> result, and the questions that had no answer.

    With questions left the result is a guess and must not be used.
    """
    try:
        query = _Query(address, sender, helo, known)
    except spf.PermError:
        return "none", []  # the client has no address: nothing to check
    try:
        result = query.check()[0]
    except Exception:
        # pyspf meets what strangers publish: what it raises beside its own errors
        # (AssertionError, UnicodeError, IndexError) is their record's fault.
        result = "permerror"
    return str(result), list(query.missing)


class _Query(spf.query):  # type: ignore[misc]
    """pyspf's query, with its look-ups taken from a mapping and its record sizes bounded."""

    def __init__(self, address: str, sender: str, helo: str, known: _Known) -> None:
        self.missing: dict[_Question, None] = {}
        self._known = known
        super().__init__(i=address, s=sender, h=helo)

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """In place of pyspf's own: no cache, no CNAMEs to follow, the same count of void look-ups."""
        question = (str(name).rstrip(".").lower(), qtype)
        answer = self._known(question)
        if answer is None:
            self.missing[question] = None
            return []
        if isinstance(answer, DNSTrouble):
            raise spf.TempError("DNS trouble")
        if not answer.records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError("too many void look-ups")
        return _as_pyspf(answer, qtype)

    def validated_ptrs(self) -> list[str]:
        """RFC 7208 5.5: with DNS trouble at the client's name nothing matches; at a name's addresses it is skipped."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            return []
        return [name for name in names if self._leads_back(name)]

    def _leads_back(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def dns_spf(self, domain: str) -> str | None:
        record: str | None = super().dns_spf(domain)
        if record and (len(record) > _LONGEST_RECORD or any(len(t) > _LONGEST_TERM for t in record.split(" "))):
            raise spf.PermError("record too large")
        return record

    def get_explanation(self, spec: str) -> None:
        """exp= is for a reply to the client; we give none and spare the look-up."""


def _as_pyspf(answer: Answer, qtype: str) -> list[Any]:
    if qtype == "TXT":
        return [(octets,) for octets in answer.strings]
    if qtype == "MX":
        pairs = (record.partition(" ") for record in answer.records)
        return [(int(preference), host.rstrip(".")) for preference, _, host in pairs]
    return [record.rstrip(".") for record in answer.records]


def finding(
    result: str, domain: str, helo: str, helo_result: str, has_sender: bool = True, seconds: float = 0.0
) -> Finding:
    """Pure."""
    told = resinfo("spf", result, **{"smtp_mailfrom" if has_sender else "smtp_helo": domain})
    facts = {"result": result, "domain": domain, "helo": helo_result}
    detail = plain(f"{result} ({domain}), helo {helo_result} ({helo})")
    return Finding("spf", "pyspf", Seen.NEUTRAL, detail, results=(told,), facts=facts, seconds=seconds)
