"""turns: a sender with a thousand messages does not hold up one with one.

A next hop's mail goes by `due`, which for new mail is the time of arrival.  Who has
put more than SHARE messages within an hour (by address, or from one client) has
the further ones put behind: their `due` is below zero, still in order of
arrival.  A claim takes from both rows by turns, so each has half of what the next hop
takes while the other has something, and all of it when not.

    put --behind--> due = arrival - FAR         claim: due >= 0  and  due < 0, half and half

So ten thousand messages of one sender cost another's next message one claim, not
ten thousand deliveries, and nothing waits for ever.  Deciding it where mail comes in costs a lookup
in a dictionary; at the claim one would have to read past the ten thousand.
What was tried once goes by the time of its next try, whoever sent it.

Each process counts for itself, in bounded memory, and forgets when it ends: this
is about order only.
"""

SHARE = 100
"""Messages an hour that go in order of arrival."""
FAR = 1e11
"""Seconds before any arrival."""
_HOUR = 3600
_MOST = 10_000


class Turns:
    """What one process has seen this hour.  One thread's."""

    __slots__ = ("_hour", "_many")

    def __init__(self) -> None:
        self._hour = 0
        self._many: dict[str, int] = {}

    def behind(self, sender: str, client: str, arrived: float) -> bool:
        """One more of this sender, from this client ("": our own): is that more than its share?"""
        hour = int(arrived) // _HOUR
        if hour != self._hour or len(self._many) > _MOST:
            self._hour = hour
            self._many.clear()
        # No address is a client's name in brackets.
        return max(self._one_more(sender), self._one_more(f"[{client}]") if client else 0) > SHARE

    def _one_more(self, whose: str) -> int:
        self._many[whose] = many = self._many.get(whose, 0) + 1
        return many
