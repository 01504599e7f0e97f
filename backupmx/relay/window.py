"""Pure.  window: how many connections one next hop gets (Postfix: SCHEDULER_README, qmgr_queue.c).

It starts at 5 (initial_destination_concurrency), grows by one for each message
that found the next hop well, up to 20 (default_destination_concurrency_limit),
and shrinks by one for each connection that fails or breaks.  That is Postfix's
default feedback, 1 both ways: a cohort, as many messages as there are connections,
doubles the window or closes it.  Its other styles (1/concurrency) move slower, for
hosts of strangers that punish who comes with many; a primary is a friend, who comes back
is met gently anyway (ramp.py), and what one connection costs it is known after one round.

As there, it does not grow past what is in use and the first few: an idle
window of 20 would say nothing of what the next hop can take.

When as many connections broke one after another as the window is wide, a
pseudo-cohort, the next hop is taken for dead
(default_destination_concurrency_failed_cohort_limit = 1); one message that goes well in
between begins the count anew.  Who was dead begins again at 5.
"""


class Window:
    __slots__ = ("_broken", "_first", "_most", "size")

    def __init__(self, first: int, most: int) -> None:
        self.size = min(first, most)
        self._first = first
        self._most = most
        self._broken = 0.0

    def succeeded(self, in_use: int) -> None:
        self._broken = 0.0
        if self.size < min(in_use + self._first, self._most):
            self.size += 1

    def revive(self) -> None:
        """It was dead and answers."""
        self.size = min(self._first, self._most)
        self._broken = 0.0

    def failed(self) -> bool:
        """A connection broke.  True: a whole cohort of them has, one after another."""
        self._broken += 1 / self.size
        self.size = max(1, self.size - 1)
        return self._broken >= 1
