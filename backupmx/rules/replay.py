"""Pure.  replay: what the header rules do to a message, told to a person or a program.

`replay(content, tables, added, settings)` is the server's own `judge` and
`judge_added` with nothing else: no Received of ours, no checks.  `as_json`,
`as_lines` and `as_diff` put its answer into words.

Headers given with --add are asked about as those of a milter are: in order,
at the end of the header block, and not at all where Postfix would not have
asked the milter (after REJECT, DISCARD, PASS and REDIRECT).
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from backupmx.mail.message import Content, Message
from backupmx.mail.reply import Reply
from backupmx.mail.verdict import Verdict
from backupmx.rules.engine import DEFAULT, MILTER_HEADER_LIMIT, Decision, Settings, Tables, judge, judge_added

ACCEPTED = Reply(250, "2.0.0", "Ok: queued")
_OTHERS = 49
"""Received headers of others that Postfix refuses: hopcount_limit is 50, and its own is one."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The message as it would be relayed, and why."""

    message: Message
    verdict: Verdict
    decisions: tuple[Decision, ...]
    body_changed: bool
    troubles: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Is there still a message to relay?"""
        return not self.verdict.ends

    @property
    def reply(self) -> Reply:
        return self.verdict.reply or ACCEPTED


def replay(
    content: Content,
    tables: Tables,
    added: Sequence[bytes] = (),
    settings: Settings = DEFAULT,
    clock: Callable[[], float] | None = None,
    own: Sequence[bytes] = (),
) -> Replayed:
    """Judge a message, then what a milter adds to it.  `own`: headers of ours on top, if they are to be there."""
    limit = min(settings.header_size_limit, MILTER_HEADER_LIMIT) if added else settings.header_size_limit
    settings = replace(settings, header_size_limit=limit, hopcount_limit=_OTHERS + len(own))
    judged = judge(content, tables, own=own, settings=settings, clock=clock)
    message, verdict, decisions, troubles = judged.message, judged.verdict, judged.decisions, judged.troubles
    if added and not judged.passed and not verdict.ends:
        after = judge_added(added, tables, verdict)
        message = replace(message, headers=message.headers + after.fields)
        verdict, decisions, troubles = after.verdict, decisions + after.decisions, troubles + after.troubles
    if verdict.ends:
        message = Message(())
    return Replayed(message, verdict, decisions, judged.body_changed and not verdict.ends, troubles)


def as_json(file: str, result: Replayed, warnings: Sequence[str]) -> dict[str, object]:
    """The object of the command's --json."""
    verdict, reply = result.verdict, result.reply
    return {
        "file": file,
        "action": str(verdict.fate),
        "code": reply.code,
        "text": f"{reply.status} {reply.text}".rstrip(),
        "redirect_to": verdict.redirect_to,
        "filter_to": verdict.filter_to,
        "bcc": list(verdict.bcc),
        "headers": [text(header) for header in result.message.headers],
        "body_changed": result.body_changed,
        "decisions": [
            {"table": d.table, "line": d.line, "action": d.action, "text": d.text, "header": text(d.header)}
            for d in result.decisions
        ],
        "warnings": [*warnings, *result.troubles],
    }


def as_lines(result: Replayed) -> Iterator[str]:
    """A line for each header that a rule touched, then the verdict."""
    for decision in result.decisions:
        said = f" {shown(decision.text)}" if decision.text else ""
        yield f"{decision.table}:{decision.line}: {decision.action}{said}: {shown(decision.header)}"
    yield from map(shown, result.troubles)
    yield told(result)


def told(result: Replayed) -> str:
    """The verdict in one line: "discard: 250 2.0.0 Ok: queued (header_checks:2)"."""
    verdict = result.verdict
    words = [f"{verdict.fate}: {result.reply}"]
    if verdict.redirect_to:
        words.append(f"to {verdict.redirect_to} only")
    if verdict.filter_to:
        words.append(f"by {verdict.filter_to}")
    if verdict.bcc:
        words.append(f"and to {', '.join(verdict.bcc)}")
    if result.body_changed:
        words.append("body changed")
    return shown("; ".join(words) + (f" ({verdict.reason})" if verdict.reason else ""))


def as_diff(before: Sequence[bytes], result: Replayed) -> Iterator[str]:
    """The header block before and after, all of it: "-" gone, "+" new."""
    old = [shown(line) for header in before for line in header.split(b"\n")]
    new = [shown(line) for header in result.message.headers for line in header.split(b"\n")]
    if not result.kept:
        new = []
    # Not ndiff: what it does to find lines that are much alike takes minutes for thousands of headers.
    for how, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if how == "equal":
            yield from (f" {line}" for line in old[a:b])
        else:
            yield from (f"-{line}" for line in old[a:b])
            yield from (f"+{line}" for line in new[c:d])


def sent_headers(content: Content, settings: Settings) -> tuple[bytes, ...]:
    """The logical headers as no rule has touched them, nothing dropped."""
    untouched = judge(content, Tables(), settings=replace(settings, drop=False))
    return untouched.message.headers


def same(one: Replayed, other: Replayed) -> bool:
    """Is a message judged alike: same fate, same reply, same way, same bytes?"""
    plain = [
        (r.verdict.fate, str(r.reply), r.verdict.redirect_to, r.verdict.filter_to, r.verdict.bcc) for r in (one, other)
    ]
    return plain[0] == plain[1] and list(one.message.chunks()) == list(other.message.chunks())


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def shown(raw: bytes | str) -> str:
    """On a terminal: folds and control characters as escapes, so that no header can move the cursor."""
    said = raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in said)


def differs(file: str, now: Replayed, then: Replayed) -> str:
    """One line of --against."""
    return f"{shown(file)}: {told(now)} -> {told(then)}"
