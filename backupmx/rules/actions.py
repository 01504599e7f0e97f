"""Pure.  actions: what rules do to one message (cleanup_message.c, cleanup_milter.c).

A `Ruling` gathers the decisions of one message and says the verdict.  DISCARD
and REJECT end everything, whichever comes first; PASS and REDIRECT end the
asking; HOLD, FILTER and BCC are remembered while it goes on.

A bad argument is a warning and no action, as in Postfix.  No text at all is a
configuration error there: the message is tempfailed, 451 4.3.0.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict
from backupmx.rules.syntax import SPACE
from backupmx.rules.table import Asked, Hit, Rule, Table
from backupmx.rules.vocabulary import Where, address, remark, split

_DSN = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=[ \t\n\v\f\r]|\Z)")
# What a reply may hold: printable ASCII, and bytes that look like UTF-8 (printable.c is not strict either).
_UNPRINTABLE = re.compile(rb"([ -~]+|[\xc2-\xff][\x80-\xbf]+)|.", re.DOTALL)
_LISTED = 5_000
"""Decisions about one message that are kept to be told. A body rule that matches every line of a large message makes
hundreds of thousands: ten times the message in memory, and as many lines in the log."""
_CONFUSED = Reply(451, "4.3.0", "Error: queue file write error")


@dataclass(frozen=True, slots=True)
class Decision:
    """What one line of a table did to one header or body line."""

    table: str
    line: int
    action: str
    """The word in capitals."""
    text: str
    """Its argument; for REJECT what the client reads."""
    header: bytes
    """The logical header, or the body line, that the rule matched."""
    where: Where = "header"
    """header, body, or added: by a check or a milter."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of one header or body line."""

    kept: bytes | None
    """None: it is left out."""
    before: bytes | None = None
    """A line to put in front of it."""
    written: bool = False
    """`kept` is a rule's text."""


@dataclass(slots=True)
class Ruling:
    """What has been decided about one message so far."""

    asked: Asked
    checking: bool = True
    """False after PASS, REDIRECT and every end: no rule is asked any more."""
    passed: bool = False
    """PASS or REDIRECT: in Postfix the milters are not asked either."""
    fate: Fate = Fate.ACCEPT
    reply: Reply | None = None
    redirect_to: str | None = None
    filter_to: str | None = None
    bcc: dict[str, None] = field(default_factory=dict)
    reason: str = ""
    decisions: list[Decision] = field(default_factory=list)
    hits: Counter[tuple[Table, Rule]] = field(default_factory=Counter)
    """How often each rule matched, also one whose action could not be taken or changed nothing any more."""
    effort: int = 1 << 30
    """What may still be looked at."""

    @property
    def over(self) -> bool:
        return self.fate in (Fate.REJECT, Fate.DEFER, Fate.DISCARD)

    def act(self, hit: Hit, subject: bytes, where: Where) -> Edit:
        """Take the action of a rule that matched."""
        self.hits[hit.table, hit.rule] += 1
        if not hit.text:
            self._end(Fate.DEFER, hit, _CONFUSED)
            self._trouble(hit, "no action: the message is tempfailed")
            return Edit(subject)
        word, argument = split(hit.text)
        if why := remark(word, argument, where):
            self._trouble(hit, why)
            return Edit(subject)
        said = _text(argument)
        if word == "REJECT":
            reply = rejection(argument)
            said = f"{reply.status} {reply.text}"
            self._end(Fate.DEFER if reply.temporary else Fate.REJECT, hit, reply)
        elif word == "DISCARD":
            self._end(Fate.DISCARD, hit, None)
        elif word == "HOLD" and self.fate is Fate.HOLD:
            return Edit(subject)
        else:
            self._go_on(word, argument, hit)
        if len(self.decisions) < _LISTED:
            self.decisions.append(Decision(hit.table.name, hit.rule.line, word, said, subject, where))
        else:
            self.asked.troubles[f"more than {_LISTED:,} decisions about one message: the rest is not listed"] = None
        if word in ("IGNORE", "STRIP"):
            return Edit(None)
        if word == "REPLACE":
            return Edit(argument, written=True)
        return Edit(subject, argument if word == "PREPEND" else None)

    def _go_on(self, word: str, argument: bytes, hit: Hit) -> None:
        """The actions that do not end everything."""
        said = _text(argument)
        if word == "HOLD":
            self.fate, self.reason = Fate.HOLD, _place(hit)
        elif word == "REDIRECT":
            self.redirect_to, self.checking, self.passed = said, False, True
            self.reason = self.reason or _place(hit)
        elif word == "PASS":
            self.checking, self.passed = False, True
        elif word == "FILTER":
            self.filter_to = said
            self.reason = self.reason or _place(hit)
        elif word == "BCC" and (copy_to := address(argument)):
            if copy_to.lower() not in map(str.lower, self.bcc):  # been_here(3): one copy, however it is spelt
                self.bcc[copy_to] = None
        elif word == "BCC":
            self._trouble(hit, f'"{said}" is no address: nobody gets a copy')

    def _end(self, fate: Fate, hit: Hit, reply: Reply | None) -> None:
        self.fate, self.reply, self.reason, self.checking = fate, reply, _place(hit), False

    def refuse(self, fate: Fate, reply: Reply, reason: str) -> None:
        """Not a rule's word: a limit was exceeded."""
        if not self.over:
            self.fate, self.reply, self.reason, self.checking = fate, reply, reason, False

    def spend(self, effort: int) -> None:
        """So many headers, boundaries or lines were looked at."""
        self.effort -= effort
        if self.effort < 0:
            self.refuse(
                Fate.REJECT, Reply(550, "5.6.0", "Message has too many headers or parts"), "too many headers or parts"
            )

    def _trouble(self, hit: Hit, why: str) -> None:
        self.asked.troubles[f"{_place(hit)}: {why}"] = None

    def verdict(self) -> Verdict:
        fate = self.fate
        if self.over:
            return Verdict(fate, self.reply, reason=self.reason)
        if fate is Fate.ACCEPT and self.redirect_to:
            fate = Fate.REDIRECT
        elif fate is Fate.ACCEPT and self.filter_to:
            fate = Fate.FILTER
        filter_to = None if self.redirect_to else self.filter_to  # qmgr_message.c: redirect overrides all else
        return Verdict(fate, None, self.redirect_to, filter_to, tuple(self.bcc), self.reason)


def rejection(argument: bytes) -> Reply:
    """The reply of a REJECT: "4.7.1 text" is 451, all else 550."""
    match = _DSN.match(argument)
    status = match[1].decode() if match else "5.7.1"
    text = argument[match.end() :].lstrip(SPACE) if match else argument or b"message content rejected"
    if status[0] == "2":
        status = "4" + status[1:]
    return Reply(451 if status[0] == "4" else 550, status, _text(one_line(text)))


def one_line(text: bytes) -> bytes:
    """Text with captures in it, fit for a reply: everything that is not printable is a blank."""
    return _UNPRINTABLE.sub(lambda match: match[1] or b" ", text)


def _place(hit: Hit) -> str:
    return f"{hit.table.name}:{hit.rule.line}"


def _text(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
