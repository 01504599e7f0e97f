"""show_finding: one finding of `check dns` and `check primary`, as soon as it is known."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from backupmx.operate.cli.options import say, write_json

if TYPE_CHECKING:
    from backupmx.operate.inspect.finding import Finding


def show(finding: "Finding", as_json: bool) -> None:
    """A line, and below it what to do; flushed, so that one sees how far it is."""
    if as_json:
        write_json({**asdict(finding), "grade": str(finding.grade)})
    else:
        mark = {"good": "ok  ", "note": "note", "finding": "BAD ", "unknown": "??? "}[finding.grade]
        say(f"{mark}  {finding.about}: {finding.check}: {finding.text}")
        for line in finding.remedy.splitlines():
            say(f"        {line}")
    sys.stdout.flush()


def summary(findings: "Sequence[Finding]", as_json: bool) -> int:
    """The last line.  -> The command's status."""
    from backupmx.operate.inspect.finding import status

    wrong = sum(finding.wrong for finding in findings)
    if not as_json:
        say(f"{len(findings)} looked at, {wrong or 'nothing'} wrong")
    return status(findings)
