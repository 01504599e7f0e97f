"""compare: a real Postfix's answer to a case, and ours.

Postfix's own Received stands on top there; here the same text is given to the
engine as `own`.  What Postfix's smtp client does to lines over 998 octets is
undone before bytes are compared.
"""

import json
import re

from backupmx.mail.message import Content, canonical
from backupmx.rules.engine import Settings, Tables
from backupmx.rules.replay import Replayed, as_json, replay
from backupmx.rules.table import load
from tests.neighbours.postfix_lab import Answer

from .generate import Case

_DECISION = re.compile(
    r"\S+: QID: (?:milter-header-)?(\w+): (?:header|body) (.*) from unknown\[127\.0\.0\.1\]; "
    r"from=<[^>]*> to=<[^>]*> proto=ESMTP helo=<[^>]*>(?:: (.*))?"
)
_UNLOGGED = ("IGNORE", "DUNNO", "OK")
_DATED = re.compile(
    rb"(secondary\.example\.net \(Postfix\) with ESMTP id QID.{0,80}?); "
    rb"\w{3}, +\d+ \w{3} \d{4} [\d:]+ [+-]\d{4} \(UTC\)",
    re.DOTALL,
)
_WRAPPED = re.compile(rb"(?<=[^\r\n]{998})\r?\n ")


_DATE = b"Tue, 24 Nov 2026 05:02:55 +0000 (UTC)"
"""As long as the real one, for patterns that count; masked before anything is compared."""


def received(queue_id: str) -> bytes:
    return (
        b"Received: from mail.upstream.example (unknown [127.0.0.1])\n"
        b"\tby secondary.example.net (Postfix) with ESMTP id %s\n\tfor <user@example.jp>; %s"
        % (queue_id.encode(), _DATE)
    )


def masked(raw: bytes, queue_id: str) -> bytes:
    """Without what differs from run to run, on either side."""
    raw = raw.replace(queue_id.encode(), b"QID").replace(_DATE, b"DATE")
    return _DATED.sub(rb"\1; DATE", raw)


def ours(case: Case, queue_id: str) -> Replayed:
    """The engine's answer, the way `replay-headers` gives it."""
    kind = "regexp" if case.lane == "regexp" else "pcre"
    rules = load(case.rules, "rules", kind)
    tables = Tables(
        rules,
        rules if case.mime is None else load(case.mime, "mime", kind),
        rules if case.nested is None else load(case.nested, "nested", kind),
        load(case.body, "body", kind),
        load(case.milter, "milter", kind),
    )
    settings = Settings(header_size_limit=1024 if case.lane == "small" else 102_400, mime=case.lane != "nomime")
    added = [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in case.adds or ()]
    raw = canonical(case.message if case.message.endswith(b"\n") else case.message + b"\r\n")
    return replay(Content(raw), tables, added, settings, own=(received(queue_id),))


def differences(answer: Answer, case: Case) -> list[str]:
    """Sentences, the first the most telling; [] when both agree."""
    result = ours(case, answer.queue_id)
    got = json.loads(json.dumps(as_json("message", result, [])))
    if answer.action == "corrupt":
        return []  # Postfix broke its own queue file: nothing to agree with
    found = [
        f"{key}: Postfix {getattr(answer, key)!r}, we {got[key]!r}"
        for key in ("action", "code")
        if got[key] != getattr(answer, key)
    ]
    if answer.code >= 400 and answer.text != got["text"]:
        found.append(f"text: Postfix {answer.text!r}, we {got['text']!r}")
    for key, actions in (("redirect_to", ("redirect", "hold")), ("filter_to", ("filter",))):
        theirs_to, ours_to = getattr(answer, key), got[key]
        if answer.action in actions and (theirs_to or "") != (ours_to or "").replace("\r", "?"):
            found.append(f"{key}: Postfix {theirs_to!r}, we {ours_to!r}")
    if answer.action == "accept" and set(answer.recipients) - {"user@example.jp"} != set(got["bcc"]):
        found.append(f"bcc: Postfix {answer.recipients!r}, we {got['bcc']!r}")
    theirs = [
        (action, printable(masked((text or "").encode(), answer.queue_id))) for action, text in _decisions(answer)
    ]
    mine = [
        (_logged(d["action"]), printable(masked(d["text"].encode("utf-8", "surrogateescape"), answer.queue_id)))
        for d in got["decisions"]
        if d["action"] not in _UNLOGGED
    ]
    if theirs != mine:
        pairs = zip([*theirs, None], [*mine, None], strict=False)
        n, (a, b) = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
        found.append(f"decision {n}: Postfix {a!r}, we {b!r}")
    if answer.delivered is not None and answer.action not in ("discard", "reject", "defer"):
        found += _bytes(answer, result)
    return found


def _decisions(answer: Answer) -> list[tuple[str, str | None]]:
    """What was logged; a PREPEND of an added header is logged too, and then not done."""
    lines = [line for line in answer.log if "milter-header-prepend:" not in line]
    return [(match[1], match[3]) for line in lines if (match := _DECISION.match(line))]


def _logged(action: str) -> str:
    return {"WARN": "warning"}.get(action, action.lower())


def printable(raw: bytes) -> str:
    """What is left of a text in a log, whoever wrote it: anything but ASCII is one question mark."""
    text = raw.decode("utf-8", "replace")
    return re.sub(r"[? ]+", "?", re.sub(r"[^ -~]", "?", text))[:600].rstrip("?")


def _bytes(answer: Answer, result: Replayed) -> list[str]:
    assert answer.delivered is not None
    whole = masked(b"".join(bytes(chunk) for chunk in result.message.chunks()), answer.queue_id)
    delivered = masked(answer.delivered, answer.queue_id)
    if wrapped(whole) == delivered:
        return []
    theirs, mine = _WRAPPED.sub(b"", delivered), _WRAPPED.sub(b"", whole)
    if theirs == mine:
        return []
    pairs = zip([*theirs.split(b"\r\n"), None], [*mine.split(b"\r\n"), None], strict=False)
    n, (a, b) = next((n, pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return [f"line {n}: Postfix {a!r:.150}, we {b!r:.150}"]


def wrapped(raw: bytes) -> bytes:
    """Lines as Postfix's smtp client breaks them: 998 octets, then a blank and 997 more."""
    lines = []
    for line in raw.split(b"\r\n"):
        pieces = [line[:998], *(b" " + line[i : i + 997] for i in range(998, len(line), 997))]
        lines.append(b"\r\n".join(pieces))
    return b"\r\n".join(lines)
