"""Pure.  ramp: how many messages may be under way to a next hop, and when it wants a rest.

A primary that has just booted is not run over: two messages at first, one more
for each that goes well, so the number doubles every round trip until connections
are the limit (as TCP's slow start, RFC 5681 3.1).  A primary that answers in a
millisecond has all it can take in ten of them; one that takes a second a message
has ten seconds to warm up.  Nothing here waits for a clock while all is well.

What a next hop says of a message is one of three things of itself:

    easy      2xx; 5xx and 4xx about this recipient (4.1, 4.2, 4.6; a bare 450)
    busy      4xx about us or by policy (4.5, 4.7, any other): a limit of rate, a greylist
    troubled  421, a lost connection, 4xx about the whole system (4.3, 4.4; a bare 452):
              disk full, scanner away

One bad answer is one message's trouble; a burst is the host's.  When bad ones
outnumber the good ones by half of what is under way, that number is halved.
Troubled even with one message at a time, it is left alone for a second, then two,
up to half a minute: a full disk costs two tries a minute and not all
that waits, each with an hour to wait.  One that goes well ends that.  Busy never pauses: with a
greylist every message must have its first try.

    feed --heard, rest--> Ramp        revive <-- health: it answers again

Window (window.py) is about connections, this about messages; the narrower one rules.
"""

from collections.abc import Sequence
from enum import IntEnum

from backupmx.mail.reply import Reply
from backupmx.relay.judge import Answer

FIRST = 2
_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_OF_THE_RECIPIENT = ("4.1", "4.2", "4.6")
_OF_THE_SYSTEM = ("4.3", "4.4")


class Mood(IntEnum):
    """Of a next hop, as one message found it."""

    EASY = 0
    BUSY = 1
    TROUBLED = 2


def mood(answers: Sequence[Answer]) -> Mood:
    """The worst of what it said to one message's recipients."""
    return max((_mood(answer.reply, uncertain=answer.uncertain) for answer in answers), default=Mood.EASY)


def _mood(reply: Reply, *, uncertain: bool) -> Mood:
    if reply.code == 421 or uncertain:
        return Mood.TROUBLED
    if not reply.temporary:
        return Mood.EASY
    subject = reply.status[:3] if reply.status else {450: "4.2", 452: "4.3"}.get(reply.code, "")
    if subject in _OF_THE_SYSTEM:
        return Mood.TROUBLED
    return Mood.EASY if subject in _OF_THE_RECIPIENT else Mood.BUSY


class Ramp:
    """One next hop's.  Begins at full width: only who comes back is treated gently."""

    __slots__ = ("_bad", "_pause", "_rest_until", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = most
        """Messages that may be under way."""
        self._bad = 0
        self._pause = 0.0
        self._rest_until = 0.0

    @property
    def slow(self) -> bool:
        return self.size < self.most

    def revive(self) -> None:
        """It answers again."""
        self.size = min(FIRST, self.most)
        self._bad, self._pause, self._rest_until = 0, 0.0, 0.0

    def heard(self, said: Mood, now: float) -> None:
        """Of one message, at its end."""
        if said is Mood.EASY:
            self.size = min(self.size + 1, self.most)
            self._bad = max(0, self._bad - 1)
            self._pause = self._rest_until = 0.0
            return
        self._bad += 1
        if self._bad * 2 < self.size:
            return
        self._bad = 0
        if self.size == 1 and said is Mood.TROUBLED:
            self._pause = min(max(_PAUSE, self._pause * 2), _LONGEST_PAUSE)
            self._rest_until = now + self._pause
        self.size = max(1, self.size // 2)

    def rest(self, now: float) -> float:
        """Seconds until the next message may begin; 0: now."""
        return max(0.0, self._rest_until - now)
