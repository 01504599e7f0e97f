"""told: what was said to senders and by the primary, and what must therefore be so after a crash.

A story (story.py) says each step before it is asked for and after it was done, a
line each.  What is between the two when the crash comes may have happened or not;
everything else is certain.

    begin ID ADDRESS STATE      asked for: from now on it may be so
    end ID ADDRESS STATE        done: a put that ended is a sender's 250
    void ID ADDRESS STATE       done, and there was nothing to be changed
    failed ID ADDRESS STATE     a put that read 451 or 452: it must not be there
    unsure ID ADDRESS STATE     an error, and it may be so all the same (commit.py: Uncertain)
    primary ID ADDRESS          the primary said 250 for this recipient
    dropped ID ADDRESS          a rule dropped it: its sender read 250, and the account has it
    word TEXT                   anything else: "open", "works"
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from backupmx.queue.entry import State

Recipient: TypeAlias = tuple[str, str]
"""(id, address)"""


@dataclass(slots=True)
class Fate:
    """Of one recipient, as far as anybody was told."""

    sure: State | None = None
    """None: nobody was promised anything."""
    maybe: list[State] = field(default_factory=list)
    """In the order in which they were begun: a relay may have it before its sender has read the 250."""
    past: list[State] = field(default_factory=list)
    """Begun before what is sure."""

    def end(self, state: State) -> None:
        if state in self.past:  # what came after it is known already
            self.past.remove(state)
        else:
            at = self.maybe.index(state) if state in self.maybe else -1
            self.sure, self.past, self.maybe = state, self.maybe[: max(at, 0)], self.maybe[at + 1 :]

    def allows(self, found: State | None) -> bool:
        """`found`: its state in the queue, None: it is not there."""
        if found is not None:
            return found is self.sure or found in self.maybe
        return self.sure is None or self.sure.ends or any(state.ends for state in self.maybe)


@dataclass(slots=True)
class Told:
    fates: dict[Recipient, Fate] = field(default_factory=dict)
    primary: Counter[Recipient] = field(default_factory=Counter)
    dropped: list[Recipient] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)
    """Ids whose put read 451 although it may be there."""

    def hear(self, text: str) -> None:
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word == "word":
                self.words.append(rest)
            elif word == "primary":
                id, address = rest.split()
                self.primary[id, address] += 1
            elif word == "dropped":
                id, address = rest.split()
                self.dropped.append((id, address))
            else:
                self._change(word, *rest.split())

    def _change(self, word: str, id: str, address: str, name: str) -> None:
        state = State(name)
        fate = self.fates.setdefault((id, address), Fate())
        if word == "begin":
            fate.maybe.append(state)
        elif word == "end":
            fate.end(state)
        elif word in ("failed", "void") and state in fate.maybe:
            fate.maybe.remove(state)
        if word == "unsure" and fate.sure is None and not id.endswith("N"):  # a notice of our own has no sender
            self.unsure.add(id)

    def wrongs(self, found: Mapping[Recipient, State], aside: set[Recipient]) -> list[str]:
        """What must not be, a sentence each.  `aside`: held because a body could not be read."""
        wrongs = [
            f"{id} to {address} is {found.get((id, address), 'gone')}: {_expected(fate)}"
            for (id, address), fate in self.fates.items()
            if not fate.allows(found.get((id, address))) and (id, address) not in aside
        ]
        return wrongs + [f"{id} to {address} is there and nobody put it" for id, address in found.keys() - self.fates]

    def again(self, recipient: Recipient) -> bool:
        """The primary has it already; we know nothing of its 250, and bring it a second time."""
        return self.primary[recipient] > 0


def _expected(fate: Fate) -> str:
    sure = "nobody was promised it" if fate.sure is None else f"it was {fate.sure}"
    return f"{sure}, and may be {sorted(fate.maybe)}" if fate.maybe else sure
