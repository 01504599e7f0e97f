"""Pure.  drill: the message of a rehearsal is held as it comes, and nothing else is.

While `backupmx rehearse` runs, a fact names the Message-ID of its probe, which nobody
can guess.  A message with this Message-ID is put as held, in the transaction that
puts it: no moment in which a relay could claim it, and no other mail waits for it.

    rehearse --fact--> queue.put: held --release--> relay --> primary

Where no rehearsal runs it costs a dictionary's lookup for each transaction.
"""

from dataclasses import replace
from typing import Any

from backupmx.queue.entry import State
from backupmx.queue.rows import ENTRY, RECIPIENT, Packed

DRILL = "drill"
"""The fact: a Message-ID with its brackets; "": no rehearsal."""
REASON = "rehearsal"
_MESSAGE_ID = ENTRY.index("message_id") - 1
_DUE = RECIPIENT.index("due")
_STATE, _WHY = (RECIPIENT.index(name) - _DUE for name in ("state", "reason"))


def held(packed: Packed, message_id: str) -> Packed:
    """The probe's recipients that would be tried are held; other mail is as it was."""
    if packed.entry[_MESSAGE_ID] != message_id:
        return packed
    return replace(packed, recipients=tuple((hop, _held(rest)) for hop, rest in packed.recipients))


def _held(rest: tuple[Any, ...]) -> tuple[Any, ...]:
    if rest[_STATE] != State.QUEUED:
        return rest  # a rule settled it: the rehearsal says so
    row = list(rest)
    row[0], row[_STATE], row[_WHY] = None, State.HELD, REASON
    return tuple(row)
