"""Pure, but for `groups`.  refusals: what primaries refused, by next hop and by kind of reason.

    primary1 refused 7: 5 × unknown user, 2 × content

A kind is read from the words that are kept with each recipient: from the enhanced
status code where there is one (RFC 3463: 5.1.x is about the address, 5.2.x about the
mailbox ...), from the words where it says little (5.0.0, 5.7.1) or is not there.
It only sorts mail for an operator; nothing else is decided by it.

BUGS    Words are English; a primary that refuses in another language without a
        code has said something else ("other").
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from backupmx.queue.schema import Connection, one_state


class Kind(StrEnum):
    """Why, as far as the primary's words say."""

    UNKNOWN_USER = "unknown-user"  # 5.1.x: nobody of that name
    MAILBOX = "mailbox"  # 5.2.x: full, disabled
    SIZE = "size"  # 5.3.4, 5.2.3: larger than it takes
    SYSTEM = "system"  # 5.3.x: the primary itself is in trouble
    ROUTING = "routing"  # 5.4.x: loops, no route
    PROTOCOL = "protocol"  # 5.5.x: it did not like a command
    CONTENT = "content"  # 5.6.x, 5.7.x that speak of the message: spam, a virus, a header
    POLICY = "policy"  # 5.7.x: who may send, who is blocked
    OTHER = "other"

    @property
    def words(self) -> str:
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True)
class Group:
    """Recipients that one next hop refused for one kind of reason."""

    next_hop: str
    kind: Kind
    recipients: int
    oldest: float
    """Arrival of the oldest message among them, seconds since the epoch."""
    example: str
    """The words about the newest of them."""


_CODE = re.compile(r"5\d\d[ -](5\.(\d{1,3})\.(\d{1,3}))?")
_CLASSES = {
    "1": Kind.UNKNOWN_USER, "2": Kind.MAILBOX, "3": Kind.SYSTEM, "4": Kind.ROUTING, "5": Kind.PROTOCOL,
    "6": Kind.CONTENT, "7": Kind.POLICY,
}  # fmt: skip
_EXACT = {
    "5.1.7": Kind.POLICY, "5.1.8": Kind.POLICY,  # the sender's address
    "5.2.3": Kind.SIZE, "5.3.4": Kind.SIZE,
}  # fmt: skip
_SAY_LITTLE = {"5.0.0", "5.4.1", "5.5.0", "5.7.0", "5.7.1"}
"""Given for anything, so the words count first.  5.4.1 is how Exchange Online says "no such recipient"."""
_WHO = r"(?:user|mailbox|recipient|account|addressee)"
_WORDS: Sequence[tuple[Kind, "re.Pattern[str]"]] = tuple(
    (kind, re.compile(words, re.IGNORECASE))
    for kind, words in (
        (Kind.SIZE, r"\bsize limit|\btoo (?:large|big|long)\b|exceeds .{0,30}\bsize"),
        (
            Kind.MAILBOX,
            rf"\bquota\b|\b{_WHO} .{{0,20}}\b(?:full|disabled|inactive)\b",
        ),
        (Kind.UNKNOWN_USER, rf"\b(?:unknown|no such|invalid|non-?existent) (?:\w+ )?{_WHO}\b"),
        (
            Kind.UNKNOWN_USER,
            rf"\b{_WHO}\b.{{0,60}}\b(?:unknown|not found|not exist|n't exist|unavailable|invalid)\b",
        ),
        (Kind.UNKNOWN_USER, r"^5\d\d[ -]5\.4\.1 .*recipient address rejected"),
        (Kind.CONTENT, r"\b(?:spam|virus|malware|phish\w*|content|attachments?|headers?|body)\b"),
        (Kind.POLICY, r"\brelay|\bblock|\bblack|\bden(?:y|ied)|\bpolicy|\breject|\bnot (?:allowed|permitted|authori)"),
    )
)


def kind_of(reason: str) -> Kind:
    """Of what is kept with a refused recipient: "host p1[192.0.2.1] said: 550 5.1.1 <u@example.jp>: unknown"."""
    words = reason.partition(" said: ")[2] or reason
    code = _CODE.match(words)
    status = code and code[1]
    if status in _EXACT:
        return _EXACT[status]
    by_code = _CLASSES.get(code[2], Kind.OTHER) if code and status else Kind.OTHER
    if by_code is Kind.OTHER or status in _SAY_LITTLE:
        return _by_words(words, by_code)
    return by_code


def _by_words(words: str, otherwise: Kind) -> Kind:
    """Of 5.7.1 they say whether it is about the message; "rejected" says nothing that a code does not say better."""
    found = next((kind for kind, pattern in _WORDS if pattern.search(words)), Kind.OTHER)
    return otherwise if found is Kind.OTHER or (found is Kind.POLICY and otherwise is not Kind.OTHER) else found


def is_named(next_hop: str, name: str) -> bool:
    """Whether an operator means this next hop: "smtp:[primary1]:25", "[primary1]:25" or "primary1"."""
    place = next_hop.partition(":")[2]
    host = place.partition(",")[0].strip()
    plain = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() in (next_hop.lower(), place.lower(), plain.lower())


def line(groups: Iterable[Group]) -> str:
    """ "refused 7: 5 × unknown user, 2 × content", the most frequent first."""
    sums: Counter[Kind] = Counter()
    for group in groups:
        sums[group.kind] += group.recipients
    split = ", ".join(f"{many} × {kind.words}" for kind, many in sums.most_common())
    return f"refused {sums.total()}: {split}"


def groups(db: Connection) -> Sequence[Group]:
    """By next hop, then the largest first.  A scan of the recipients, as `totals` is."""
    with one_state(db):
        hops = dict(db.execute("SELECT key, name FROM hop").fetchall())
        many: Counter[tuple[int, Kind]] = Counter()
        first: dict[tuple[int, Kind], int] = {}
        last: dict[tuple[int, Kind], str] = {}
        refused = "SELECT abs(hop), reason, entry FROM recipient WHERE state = 'refused' ORDER BY entry"
        for hop, reason, entry in db.execute(refused):
            key = hop, kind_of(reason)
            many[key] += 1
            first.setdefault(key, entry)
            last[key] = reason
        arrived = {
            key: db.execute("SELECT arrived FROM entry WHERE key = ?", (entry,)).fetchone()[0]
            for key, entry in first.items()
        }
    found = (Group(hops[key[0]], key[1], many[key], arrived[key], last[key]) for key in many)
    return sorted(found, key=lambda group: (group.next_hop, -group.recipients, group.kind))
