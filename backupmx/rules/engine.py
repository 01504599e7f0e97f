"""Pure.  engine: content and tables in, what is left of it and a verdict out.

    judge(content, tables)         what a client sent, and our own Received
    judge_added(fields, tables)    what checks and milters add to it

The running server and `replay-headers` call these two, so what the one shows
offline the other does.

    header_checks          the message's own headers, but for the six MIME names
    mime_header_checks     the six wherever they stand, and every header of a part
    nested_header_checks   headers of attached messages
    body_checks            every other line, the first 51,200 octets of each segment
    milter_header_checks   what is added later

Where no table can look below the first header block, nothing below it is read.
Where one can, untouched stretches of the body stay slices of the content.

What is done without any rule, as Postfix does it: Bcc, Resent-Bcc,
Content-Length and Return-Path are dropped (after the rules saw them), a header
is cut at header_size_limit, "Name :" becomes "Name:", NUL ends a header line,
an mbox "From " line becomes X-Mailbox-Line:.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backupmx.mail.headers import fields, label, plain_block, rendered
from backupmx.mail.message import Buffer, Content, Message, Spool, stretch
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Fate, Verdict
from backupmx.rules.actions import Decision, Ruling
from backupmx.rules.body import Walk
from backupmx.rules.mime import NAMES, Mime
from backupmx.rules.table import Asked, Rule, Table
from backupmx.rules.tables import DEFAULT, DROPPED, Settings, Tables, ask

__all__ = ["DEFAULT", "Added", "Decision", "Judged", "Settings", "Tables", "judge", "judge_added"]

MILTER_HEADER_LIMIT = 60_000
"""cleanup_message.c KLUDGE_HEADER_LIMIT: where there is a milter, and of what it adds, a header is cut here."""
_BLANK_LINE = re.compile(rb"\r\n\r\n")
_MAILBOX = re.compile(rb"(>*From [^\r]*)\r\n")


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rules made of a message."""

    message: Message
    """The headers to relay; a body whose untouched stretches are slices of the content."""
    verdict: Verdict
    decisions: tuple[Decision, ...]
    own: int
    """How many of message.headers at the front come from `own`."""
    passed: bool
    """PASS or REDIRECT: Postfix would ask no milter either."""
    body_changed: bool
    """A mime, nested or body rule, or a repair of a part's headers, changed what stands below the header block."""
    troubles: tuple[str, ...] = ()
    """ "FILE:LINE: message": patterns that gave no answer, actions that could not be taken."""
    hits: Mapping[tuple[Table, Rule], int] = field(default_factory=dict)
    """How often each rule matched."""


@dataclass(frozen=True, slots=True)
class Added:
    """What the rules made of headers that were added."""

    fields: tuple[bytes, ...]
    """Those to add, in order."""
    verdict: Verdict
    """With what was decided before."""
    decisions: tuple[Decision, ...]
    troubles: tuple[str, ...] = ()
    hits: Mapping[tuple[Table, Rule], int] = field(default_factory=dict)


def judge(
    content: Content,
    tables: Tables,
    *,
    own: Sequence[bytes] = (),
    settings: Settings = DEFAULT,
    clock: Callable[[], float] | None = None,
) -> Judged:
    """Pure.  Every table on a message, header by header, then part by part.

    `own` are headers of ours on top of what the client sent: they pass
    header_checks too, as Postfix's Received does.
    """
    ruling = Ruling(Asked(clock, settings.budget), effort=settings.effort)
    head = _Head(ruling, tables, settings)
    head.take(own)
    kept_own = len(head.out)
    block, at, unended = _first_block(content.data, settings.header_size_limit, settings.effort + 1)
    ruling.spend(len(block))
    if not ruling.over:
        head.take(block)
    body: tuple[Buffer, ...] = ()
    changed = False
    if not ruling.over:
        body, changed = _body(content.data, at, unended, ruling, head.mime, tables, settings)
    if head.mime.too_deep and not ruling.over:
        # cleanup_message.c: MIME_OPT_REPORT_NESTING, found at the end of the message.
        ruling.refuse(Fate.REJECT, Reply(550, "5.6.0", "MIME nesting exceeds safety limit"), "mime nesting")
    spool = content.spool if len(body) == 1 and not changed else None
    if spool is not None:
        spool = Spool(spool.path, spool.offset + at)
    return Judged(
        Message(tuple(head.out), body, spool),
        ruling.verdict(),
        tuple(ruling.decisions),
        kept_own,
        ruling.passed,
        changed,
        tuple(ruling.asked.troubles),
        ruling.hits,
    )


def judge_added(added: Sequence[bytes], tables: Tables, before: Verdict) -> Added:
    """Pure.  Each header that a check or a milter adds, through milter_header_checks.

    After a REDIRECT in this table the rest is added unasked; after an end, nothing is.
    """
    ruling = Ruling(
        Asked(), fate=before.fate if before.fate is Fate.HOLD or before.ends else Fate.ACCEPT, reply=before.reply,
        redirect_to=before.redirect_to, filter_to=before.filter_to, bcc=dict.fromkeys(before.bcc), reason=before.reason,
    )  # fmt: skip
    ruling.checking = bool(tables.milter)
    kept: list[bytes] = []
    for text in added:
        if ruling.over:
            break
        edit = ask(ruling, tables.milter, text, label(text), "added")
        if edit.kept is not None and ruling.fate is not Fate.DEFER:
            kept.append(rendered(edit.kept, MILTER_HEADER_LIMIT))
    return Added(tuple(kept), ruling.verdict(), tuple(ruling.decisions), tuple(ruling.asked.troubles), ruling.hits)


class _Head:
    """The first header block on its way through header_checks (and mime_header_checks, for its six names)."""

    __slots__ = ("_received", "_ruling", "_settings", "_tables", "mime", "out")

    def __init__(self, ruling: Ruling, tables: Tables, settings: Settings) -> None:
        self._ruling = ruling
        self._tables = tables
        self._settings = settings
        self._received = 0
        self.mime = Mime(settings.mime)
        self.out: list[bytes] = []

    def take(self, texts: Sequence[bytes]) -> None:
        """Headers in order.  Most of them no rule is anchored to: for those this loop is all there is."""
        wanted, every = self._tables.wanted, bool(self._tables.header.unnamed)
        every = every or self._settings.hopcount_limit > 0
        limit, untouched = self._settings.header_size_limit, self.out.append
        for text in texts:
            name = text.partition(b":")[0].lower()
            if every or name in wanted or len(text) > limit:
                self._one(text, name)
                if self._ruling.over:
                    return
            else:
                untouched(text)

    def _one(self, text: bytes, name: bytes) -> None:
        ruling, limit = self._ruling, self._settings.header_size_limit
        of_mime = name in NAMES
        if of_mime:
            ruling.spend(len(text) // 10 if name == b"content-type" else 0)
            self.mime.header(name, text)
        self._received += name == b"received"
        edit = ask(ruling, self._tables.mime if of_mime else self._tables.header, text, name, "header")
        if edit.before is not None:
            self.out.append(rendered(edit.before, limit))
        if edit.kept is None or ruling.over:
            return
        if edit.written:
            name = label(edit.kept)
        if name == b"received" and 0 < self._settings.hopcount_limit <= self._received:
            ruling.refuse(Fate.REJECT, Reply(554, "5.4.0", "Error: too many hops"), "hopcount_limit")
        elif of_mime or name not in DROPPED or not self._settings.drop:
            self.out.append(rendered(edit.kept, limit))


def _first_block(data: Buffer, limit: int, most: int) -> tuple[list[bytes], int, bool]:
    """-> (the logical headers of the message, where the rest begins, whether an empty line must be put there).

    smtpd: mbox lines "From " at the very top become X-Mailbox-Line: headers;
    a first line that begins with a blank continues no header: it is body.
    """
    if bytes(data[:2]) == b"\r\n":
        return [], 0, False
    end = match.start() + 2 if (match := _BLANK_LINE.search(data)) else limit + 1
    if end <= limit and (plain := plain_block(bytes(data[:end]), limit)) is not None:
        return plain, end, False
    texts: list[bytes] = []
    at = 0
    while len(texts) < most and (mailbox := _MAILBOX.match(data, at)):
        texts.append(b"X-Mailbox-Line: " + bytes(mailbox[1]).partition(b"\0")[0])
        at = mailbox.end()
    if bytes(data[at : at + 1]) in (b" ", b"\t"):
        return texts, at, True
    found, at = fields(data, at, limit, most)
    texts += [field.text for field in found]
    return texts, at, at < len(data) and bytes(data[at : at + 2]) != b"\r\n"


def _body(
    data: Buffer, at: int, unended: bool, ruling: Ruling, mime: Mime, tables: Tables, settings: Settings
) -> tuple[tuple[Buffer, ...], bool]:
    """-> (what follows the header block, whether anything in it changed)."""
    if tables.below:
        walk = Walk(data, ruling, mime, tables, settings)
        walk.run(at, unended)
        changed, chunks = walk.changed, tuple(walk.out)
    else:
        changed, chunks = False, (stretch(data, at, len(data)),) if at < len(data) else ()
    return ((b"\r\n", *chunks) if unended else chunks), changed
