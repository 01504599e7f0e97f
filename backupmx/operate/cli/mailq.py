"""Pure.  mailq: what waits in the shape of Postfix's `mailq`, for the scripts and eyes that know it.

    ----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------
    4jYkdD4pzRzJkg5*       453 Tue Nov 24 13:47:12 alice@sender.example
                             (connect to primary1.example.net: Connection refused)
                                                   bob@example.jp

Behind the id: * being delivered now, ! on hold; for what a primary refused,
which Postfix does not know, ! too.  Recipients with the same reason stand under
it together.  The widths are those of long queue ids (enable_long_queue_ids);
tests/operate/test_cli_mailq.py holds a real Postfix beside it.
"""

import time
from collections.abc import Iterator, Mapping

from backupmx.operate.desk import WAITING, queue_name, why_and_when
from backupmx.queue.entry import HopState, QueuedEntry

HEAD = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------"
EMPTY = "Mail queue is empty"
_REASON_ENDS = 76
_MARKS = {"active": "*", "hold": "!", "refused": "!"}


def lines(entry: QueuedEntry, hops: Mapping[str, HopState]) -> Iterator[str]:
    """One message and an empty line."""
    waiting = [r for r in entry.recipients if r.state in WAITING]
    name = f"{entry.id}{_MARKS.get(queue_name(waiting), ' ')}"
    when = time.strftime("%a %b %e %H:%M:%S", time.localtime(entry.arrived))
    yield f"{name:<17} {entry.size:>8} {when} {entry.sender or 'MAILER-DAEMON'}"
    said = ""
    for recipient in waiting:
        why, _ = why_and_when(entry, recipient, hops)
        if why and why != said:
            yield f"{'':>{max(0, _REASON_ENDS - len(why))}}({why})"
        said = why
        yield f"{'':>47}{recipient.address}"
    yield ""


def foot(octets: int, messages: int) -> str:
    """The last line."""
    return f"-- {octets // 1024} Kbytes in {messages} Request{'' if messages == 1 else 's'}."
