"""milters: any milter there is, asked one after another when the message is here.

    rules ─► checks ─► milter ─► milter ─► ... ─► queue
                        each sees what the one before made of the message

A milter may add, insert, change and delete headers, replace the body, add and
delete recipients, change the sender, quarantine, refuse, discard.  Each header
it writes passes milter_header_checks (`Shown`).  All edits of one milter are
made when its last word is there; one that is lost before has changed nothing,
and its `on_error` decides:

    accept       as if it were not listed
    defer        451 4.7.1, the sender tries again
    quarantine   held until an operator looks; the next milters are asked
    reject       550 5.7.1

    its word       the message
    reject         its reply is ours; of one recipient among several: that one is
                   kept as refused, with its words, and the others go on
    tempfail       deferred, also when it is only about one recipient: a
                   greylisting milter wants the whole message again
    discard        as the rule DISCARD: 250, and into quarantine or dropped
    quarantine     held, and no further milter is asked, as in Postfix

Trouble
    none for the caller.  A milter that is away or breaks off is told to the
    journal once a minute, and once when it answers again; one that does so
    again and again is left alone for a while (milter_listed).

RFC 5321 4.5.3.2.6: the client waits ten minutes for our reply.  All milters
together get nine.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from backupmx.check.aside import aside
from backupmx.check.breaker import EngineState
from backupmx.check.field import plain
from backupmx.check.finding import Mail, Seen
from backupmx.check.milter_draft import Draft, Work, draft
from backupmx.check.milter_listed import Listed, Milter
from backupmx.check.milter_macros import Macros
from backupmx.check.milter_replay import Said
from backupmx.config import Config
from backupmx.journal import Journal
from backupmx.mail.envelope import Envelope, Recipient
from backupmx.mail.message import Message
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict
from backupmx.net.endpoint import Endpoint
from backupmx.net.milter import MilterTrouble, Timeouts
from backupmx.net.milter_answers import TRY_AGAIN, Discard, Edit, Refuse, ReplaceBody

TOGETHER = 540.0

_AT_A_TIME = 50
"""Edits, each with its look at the rules: a few milliseconds.  Then it is others' turn."""
_UNAVAILABLE = Reply(550, "5.7.1", "Service unavailable")  # milter_default_action = reject
_WORDS = {Fate.REJECT: "reject", Fate.DEFER: "reject", Fate.DISCARD: "discard", Fate.HOLD: "hold"}


Refused: TypeAlias = tuple[Recipient, str]
"""A recipient that a milter did not want while it took others, and its words: "milter NAME said: 550 5.7.1 ..."."""


class Shown(Protocol):
    """milter_header_checks, and what it has decided so far."""

    @property
    def verdict(self) -> Verdict: ...

    def show(self, header: bytes) -> bytes | None:
        """The header as it is to be written; None: not at all."""
        ...


class Places(Protocol):
    """What milters need to know of routes."""

    def is_ours(self, address: str) -> bool: ...

    def is_routed(self, address: str) -> bool: ...

    def next_hop(self, address: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Milked:
    """What all milters together made of a message."""

    message: Message
    envelope: Envelope
    """Its recipients are those who get the message."""
    verdict: Verdict = field(default_factory=Verdict)
    """Their own; what milter_header_checks decided is in `Shown`."""
    refused: tuple[Refused, ...] = ()
    """To be kept as refused."""


class Milters:
    """Those of the configuration, in its order."""

    def __init__(
        self,
        milters: Sequence[Milter],
        hostname: str,
        journal: Journal,
        *,
        largest: int = 50 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.all = tuple(milters)
        self._listed = tuple(Listed(milter) for milter in self.all)
        self._hostname, self._journal, self._largest, self._clock = hostname, journal, largest, clock
        self._down: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.all)

    @property
    def states(self) -> tuple[EngineState, ...]:
        """Which of them this process holds to be up or away, since when and why."""
        return tuple(listed.state for listed in self._listed)

    async def run(self, mail: Mail, hidden: int, trace: int, shown: Shown, places: Places) -> Milked:
        """Ask them all, or up to one that settles it.

        `hidden` headers at the front are ours and nobody's to see, the first `trace` of them our Received.
        """
        macros = Macros(mail, self._hostname, places.next_hop)
        so_far = _SoFar(mail, draft(mail.message, mail.envelope, hidden, trace))
        until = self._clock() + TOGETHER
        for listed in self._listed:
            milter = listed.milter
            verdict = await self._one(listed, so_far, macros, shown, places, until)
            if verdict.fate is not Fate.ACCEPT:
                so_far.verdict = so_far.verdict.joined(verdict)
                self._act(milter, so_far, verdict)
            if so_far.verdict.ends or shown.verdict.ends or so_far.draft.held:
                break
        return so_far.milked()

    async def _one(
        self, listed: Listed, so_far: "_SoFar", macros: Macros, shown: Shown, places: Places, until: float
    ) -> Verdict:
        """One milter: its word, and its edits made."""
        started, milter = self._clock(), listed.milter
        try:
            left = max(0.0, until - started)
            said, leading_space = await listed.ask(so_far.mail, so_far.draft, macros, self._largest, left)
        except MilterTrouble as trouble:
            self._lost(milter, so_far.mail.queue_id, trouble, self._clock() - started)
            return without(milter, str(trouble))
        if milter.name in self._down:
            self._down.discard(milter.name)
            self._journal.engine_up(milter.called)
        so_far.step = said.step.name
        seconds = self._clock() - started
        self._journal.found(so_far.mail.queue_id, "milter", milter.name, Seen.NEUTRAL, _told(said), seconds)
        if verdict := _refusal(milter, said):
            return verdict
        for recipient, reply in said.refused:
            self._journal.milter_acted(
                so_far.mail.queue_id, "reject", "RCPT", str(reply), so_far.mail.client, so_far.mail.envelope,
                milter=milter.name, recipient=recipient.address,
            )  # fmt: skip
        so_far.refuse(milter.name, said.refused)
        return await self._edit(milter, said, leading_space, so_far, shown, places) if said.edits else Verdict()

    async def _edit(
        self, milter: Milter, said: Said, leading_space: bool, so_far: "_SoFar", shown: Shown, places: Places
    ) -> Verdict:
        def is_ours(address: str) -> bool:
            return places.is_ours(address) and not places.is_routed(address)

        before = so_far.draft
        work = Work(before, shown.show, is_ours, leading_space)
        for at, edit in enumerate(said.edits, 1):
            work.do(edit)
            if at % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        so_far.draft = await aside(_octets(said.edits), work.done)
        for remark in so_far.draft.remarks[len(before.remarks) :]:
            self._journal.milter_remarked(so_far.mail.queue_id, milter.name, remark)
        if so_far.draft.held:
            return Verdict(Fate.HOLD, reason=f"milter {milter.name}: {plain(so_far.draft.held)}")
        if not so_far.draft.recipients and not so_far.refused:
            return Verdict(Fate.DISCARD, reason=f"milter {milter.name}: it deleted every recipient")
        return Verdict()

    def _lost(self, milter: Milter, queue_id: str, trouble: MilterTrouble, seconds: float) -> None:
        self._down.add(milter.name)
        self._journal.engine_down(milter.called, str(trouble))
        self._journal.found(queue_id, "milter", milter.name, Seen.AWAY, str(trouble), seconds)

    def _act(self, milter: Milter, so_far: "_SoFar", verdict: Verdict) -> None:
        said = str(verdict.reply) if verdict.reply else verdict.reason
        self._journal.milter_acted(
            so_far.mail.queue_id, _WORDS[verdict.fate], so_far.step, said, so_far.mail.client, so_far.mail.envelope,
            milter=milter.name,
        )  # fmt: skip


class _SoFar:
    """One message on its way from milter to milter."""

    def __init__(self, mail: Mail, first: Draft) -> None:
        self.mail = mail
        self.draft = first
        self.verdict = Verdict()
        self.refused: tuple[Refused, ...] = ()
        self.step = "END-OF-MESSAGE"

    def refuse(self, milter: str, refused: Sequence[tuple[Recipient, Reply]]) -> None:
        """These recipients are out: no later milter hears of them."""
        if not refused:
            return
        out = {recipient for recipient, _ in refused}
        self.refused += tuple((r, f"milter {milter} said: {said}") for r, said in refused if r in self.draft.recipients)
        left = tuple(r for r in self.mail.envelope.recipients if r not in out)
        self.mail = replace(self.mail, envelope=replace(self.mail.envelope, recipients=left))
        self.draft = replace(self.draft, recipients=tuple(r for r in self.draft.recipients if r not in out))

    def milked(self) -> Milked:
        recipients = self.draft.recipients
        if not recipients and not self.refused:  # it is discarded, for those it was meant for
            recipients = self.mail.envelope.recipients
        envelope = replace(self.mail.envelope, sender=self.draft.sender, recipients=recipients)
        return Milked(self.draft.message, envelope, self.verdict, self.refused)


def without(milter: Milter, why: str) -> Verdict:
    """Pure.  What `on_error` makes of a message whose milter is away."""
    reason = f"milter {milter.name}: away: {plain(why)}"
    return {
        "accept": Verdict(),
        "defer": Verdict(Fate.DEFER, TRY_AGAIN, reason=reason),
        "quarantine": Verdict(Fate.HOLD, reason=reason),
        "reject": Verdict(Fate.REJECT, _UNAVAILABLE, reason=reason),
    }[milter.on_error]


def _refusal(milter: Milter, said: Said) -> Verdict | None:
    """What ends the message: a refusal, a discard, or one recipient to be tried again."""
    reason = f"milter {milter.name}: {said.step.name}"
    if isinstance(said.answer, Refuse):
        return _refused(said.answer.reply, reason)
    if isinstance(said.answer, Discard):
        return Verdict(Fate.DISCARD, reason=f"{reason}: discard")
    later = next((reply for _, reply in said.refused if reply.temporary), None)
    return _refused(later, f"milter {milter.name}: RCPT") if later else None


def _refused(reply: Reply, reason: str) -> Verdict:
    return Verdict(Fate.DEFER if reply.temporary else Fate.REJECT, reply, reason=f"{reason}: {reply}")


def _octets(edits: Sequence[Edit]) -> int:
    """Of a new body."""
    return sum(len(edit.chunk) for edit in edits if isinstance(edit, ReplaceBody))


def _told(said: Said) -> str:
    """One line for the log: "END-OF-MESSAGE: accept, 2 changes"."""
    words = [f"{said.step.name}: {type(said.answer).__name__.lower()}"]
    if said.edits:
        words.append(f"{len(said.edits)} change{'s' if len(said.edits) != 1 else ''}")
    if said.refused:
        words.append(f"{len(said.refused)} recipient{'s' if len(said.refused) != 1 else ''} refused")
    return ", ".join(words)


def build(config: Config, journal: Journal) -> Milters:
    """The milters that a configuration lists.  Raises ValueError for an address that is none, or a name twice."""
    names = [section.name for section in config.milter]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"milter.name: {twice} is there twice; the log must tell them apart")
    return Milters(
        list(_listed(config)), config.hostname, journal, largest=max(config.smtp.message_size_limit, 1 << 20)
    )


def _listed(config: Config) -> Iterator[Milter]:
    """rspamd may be both, an engine and a milter: one of them away is not the other."""
    engines = (*config.checks.virus.engines, config.checks.spam.engine)
    for section in config.milter:
        timeouts = Timeouts(section.connect_timeout, section.command_timeout, section.content_timeout)
        alias = f"milter {section.name}" if section.name in engines else ""
        yield Milter(section.name, Endpoint.parse(section.address, "inet"), timeouts, section.on_error, alias)
