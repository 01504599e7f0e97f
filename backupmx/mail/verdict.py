"""Pure.  verdict: what is done with a message, one for all its recipients.

Postfix's precedence (cleanup(8)): DISCARD beats everything but an earlier
REJECT; REJECT and DEFER beat HOLD; REDIRECT beats FILTER.  HOLD keeps its
redirect and filter beside it, for the day it is released.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from backupmx.mail.reply import Reply


class Fate(StrEnum):
    """The first of these that applies is the fate of the message."""

    REJECT = "reject"  # 5xx to the client, nothing kept
    DEFER = "defer"  # 4xx to the client, nothing kept
    DISCARD = "discard"  # 250 to the client, kept in quarantine or dropped
    HOLD = "hold"  # 250, kept until an operator releases it
    REDIRECT = "redirect"  # 250, one recipient in place of all
    FILTER = "filter"  # 250, another next hop
    ACCEPT = "accept"  # 250


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate = Fate.ACCEPT
    reply: Reply | None = None
    """What the client reads when the fate is reject or defer; else None: the queue id makes it."""
    redirect_to: str | None = None
    filter_to: str | None = None
    bcc: tuple[str, ...] = ()
    reason: str = ""
    """For the log and the operator: the rule ("header_checks:4"), or the check that wanted it."""

    @property
    def refuses(self) -> bool:
        """The client gets no 250."""
        return self.fate in (Fate.REJECT, Fate.DEFER)

    @property
    def ends(self) -> bool:
        """No later stage can change it: what follows is not asked."""
        return self.fate in (Fate.REJECT, Fate.DEFER, Fate.DISCARD)

    def joined(self, other: "Verdict | None") -> "Verdict":
        """Both at once: the fate that comes first in `Fate`, with its reply and reason; where mail goes is kept."""
        if other is None or other.fate is Fate.ACCEPT:
            return self
        first = self if _RANK[self.fate] <= _RANK[other.fate] else other
        return replace(
            first,
            redirect_to=self.redirect_to or other.redirect_to,
            filter_to=other.filter_to or self.filter_to,
            bcc=self.bcc + tuple(a for a in other.bcc if a not in self.bcc),
        )


_RANK = {fate: rank for rank, fate in enumerate(Fate)}
