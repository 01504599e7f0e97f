"""rules: what do header_checks cost a message?

    python benchmarks/rules.py [--json]

Measured in CPU time, the best of 40 short rounds; the tables take turns within each:
    no table        splitting a message of 30 headers and 4 KB, nothing asked
    first user      the shipped header_checks
    1,000 rules     the same behind 992 rules for names the message lacks
    10 unanchored   ten rules that may match anywhere: one PCRE2 call a header each
    runaway         one rule (a+)+$ on a header that makes it give up
    10 MB, 200 parts, with mime and nested tables, with body_checks, and with a body rule that matches
    every line; memory beside the message

Promises   first user <= 60 µs; 1,000 rules <= 2 x first user; memory <= 0.2 of the message.

BUGS    On a busy machine CPU time grows too (shared caches): then only the
        ratios mean something.  The message is made up.
"""

import json
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import backupmx
from backupmx.mail.message import Content
from backupmx.rules.engine import Tables, judge
from backupmx.rules.table import load

SHIPPED = (Path(backupmx.__file__).parent / "policy" / "header_checks").read_bytes()
NAMES = (
    "Received", "Received", "DKIM-Signature", "From", "To", "Cc", "Subject", "Date", "Message-ID", "MIME-Version",
    "Content-Type", "X-Mailer", "List-Id", "List-Unsubscribe", "References", "In-Reply-To", "Reply-To",
    "X-Spam-Status", "Authentication-Results", "Precedence", "Sender", "Return-Path",
    *(f"X-Custom-{n}" for n in range(8)),
)  # fmt: skip
ABSENT = b"".join(b"/^X-Absent-%d:\\s+foo/ REJECT x\n" % n for n in range(992))
OWN = (b"Received: from client (unknown [192.0.2.1])\n\tby mx2.example.net (backupmx) with ESMTP id X; DATE",)


def message() -> bytes:
    head = "".join(
        f"{name}: a value of some length, with words and 1234567890\r\n"
        + ("\tand a folded line\r\n" if n % 4 == 0 else "")
        for n, name in enumerate(NAMES)
    )
    return head.encode() + b"\r\n" + b"a line of text in the body\r\n" * 80


def seconds(works: dict[str, Callable[[], object]], calls: int = 100, rounds: int = 40) -> dict[str, float]:
    """One call of each."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(calls):
                work()
            best[name] = min(best[name], (time.process_time() - began) / calls)
    return best


def small() -> dict[str, float]:
    """Microseconds a message."""
    content = Content(message())
    tables = {
        "no table": Tables(),
        "first user": Tables(load(SHIPPED, "header_checks")),
        "1,000 rules": Tables(load(ABSENT + SHIPPED, "thousand")),
        "10 unanchored": Tables(load(b"".join(b"/word%d foo/ REJECT x\n" % n for n in range(10)), "unanchored")),
    }
    works: dict[str, Callable[[], object]] = {
        name: partial(judge, content, of, own=OWN, clock=time.monotonic) for name, of in tables.items()
    }
    hostile = Content(b"X-A: " + b"a" * 5000 + b"b\r\n\r\n")
    runaway = Tables(load(b"/^X-A: (a+)+$/ REJECT x\n", "runaway"))
    found = seconds(works) | seconds({"runaway": partial(judge, hostile, runaway, clock=time.monotonic)}, 5, 5)
    return {name: took * 1e6 for name, took in found.items()}


def large() -> dict[str, tuple[float, float]]:
    """Seconds, and memory beside the message as a share of it."""
    part = b"--b\r\nContent-Type: application/octet-stream\r\nX-P: 1\r\n\r\n" + (b"A" * 76 + b"\r\n") * 640
    data = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 200 + b"--b--\r\n"
    rules, body = load(SHIPPED, "t"), load(b"/^some words/ REJECT\n", "b")
    found = {}
    for name, tables in (
        ("mime and nested", Tables(rules, rules, rules)),
        ("and body", Tables(rules, rules, rules, body)),
        ("and hits", Tables(rules, rules, rules, load(b"/^AAA/ WARN\n", "b"))),
    ):
        began = time.process_time()
        judge(Content(data), tables)
        took = time.process_time() - began
        tracemalloc.start()
        judge(Content(data), tables)
        found[name] = (took, tracemalloc.get_traced_memory()[1] / len(data))
        tracemalloc.stop()
    return found


def main() -> None:
    few, many = small(), large()
    first = few["first user"]
    if "--json" in sys.argv[1:]:
        print(json.dumps({"microseconds": few, "large": many}))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, 30 headers, 4 KB")
    for name, time_taken in few.items():
        print(f"  {name:16} {time_taken:9.1f} µs   {time_taken / first:5.2f} x first user")
    for name, (took, memory) in many.items():
        print(f"  10 MB, 200 parts, {name:16} {took:6.2f} s   memory {memory:.3f} of the message")


if __name__ == "__main__":
    main()
