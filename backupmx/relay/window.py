"""Pure.  window: how many connections one next hop gets (Postfix: SCHEDULER_README).

It starts at 5, grows by one for each delivery while all of it is in use, up
to 20, and shrinks by one for each connection that fails or breaks.  When as
many broke one after another as the window is wide, the next hop is taken for
dead (default_destination_concurrency_failed_cohort_limit = 1).
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

    def failed(self) -> bool:
        """A connection broke.  True: a whole cohort of them has, one after another."""
        self._broken += 1 / self.size
        self.size = max(1, self.size - 1)
        return self._broken >= 1
