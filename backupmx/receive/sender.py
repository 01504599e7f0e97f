"""sender: could mail to this sender be delivered?  Postfix's reject_unknown_sender_domain.

A sender whose domain has neither an MX host nor an address could not read the
notice about mail that fails.  The DNS is asked when MAIL comes, while the
client goes on; the answer stands with each RCPT, as Postfix gives it
(smtpd_delay_reject), so that the log has the recipient too.

    no MX, no A, no AAAA     450 4.1.8 (unknown_address_reject_code: Postfix's default is no 550)
    an MX without a name     550 5.7.27 (null MX, RFC 7505): the domain's owner says it takes no mail
    nobody can tell now      450 4.1.8, unless the recipient is refused for good anyway

Never asked about: the null sender, relay domains of ours, address literals.
What the resolver remembers is answered without waiting.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from backupmx.mail.address import domain_of
from backupmx.mail.reply import Reply
from backupmx.net.dns import Answer, DNSTrouble

_ADDRESSES = ("A", "AAAA")


class Domains(Protocol):
    """The resolver, as far as senders are concerned."""

    def known(self, name: str, rdtype: str) -> Answer | DNSTrouble | None: ...

    def lookup(self, name: str, rdtype: str) -> Awaitable[Answer]: ...


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a sender is not taken."""

    reply: Reply
    certain: bool = True
    """False: nobody could tell; a recipient's own refusal goes first (Postfix: defer_if_permit)."""


class Senders:
    """One worker's."""

    def __init__(self, domains: Domains) -> None:
        self._domains = domains

    def known(self, sender: str) -> Doubt | bool:
        """Without asking anybody: a doubt, True for none, False: `find` has to ask."""
        domain = _asked(sender)
        if domain is None:
            return True
        answers: list[Answer | DNSTrouble] = []
        for kind in ("MX", *_ADDRESSES):
            answer = self._domains.known(domain, kind) if domain else Answer((), exists=False)
            if answer is None:
                return False
            answers.append(answer)
            if _settles(answer):
                break
        return judge(sender, answers) or True

    async def find(self, sender: str) -> Doubt | None:
        domain = _asked(sender)
        if domain is None:
            return None
        answers: list[Answer | DNSTrouble] = []
        for kind in ("MX", *_ADDRESSES):
            answers.append(await self._ask(domain, kind))
            if _settles(answers[-1]):
                break
        return judge(sender, answers)

    async def _ask(self, domain: str, kind: str) -> Answer | DNSTrouble:
        try:
            return await self._domains.lookup(domain, kind) if domain else Answer((), exists=False)
        except DNSTrouble as trouble:
            return trouble


def judge(sender: str, answers: list[Answer | DNSTrouble]) -> Doubt | None:
    """Pure.  `answers` to MX, A and AAAA in this order, as far as they were needed; None: no doubt."""
    first = answers[0]
    if isinstance(first, Answer) and any(not _host(record) for record in first.records):
        why = f"<{sender}>: Sender address rejected: Domain {domain_of(sender)} does not accept mail (nullMX)"
        return Doubt(Reply(550, "5.7.27", why))
    if any(isinstance(answer, Answer) and answer.records for answer in answers):
        return None
    certain = not any(isinstance(answer, DNSTrouble) for answer in answers)
    return Doubt(Reply(450, "4.1.8", f"<{sender}>: Sender address rejected: Domain not found"), certain)


def _host(record: str) -> str:
    """"10 mx.example." -> "mx.example"; "0 ." -> ""."""  # fmt: skip
    return record.partition(" ")[2].strip().rstrip(".")


def _settles(answer: Answer | DNSTrouble) -> bool:
    """No further question is needed: there is something, or no such name at all."""
    return isinstance(answer, Answer) and bool(answer.records or not answer.exists)


def _asked(sender: str) -> str | None:
    """The domain to ask about; "" for a sender without one, which nobody can answer; None: not to be asked about."""
    if not sender:
        return None
    domain = domain_of(sender)
    return None if domain.startswith("[") else domain
