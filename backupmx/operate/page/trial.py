"""trial: the rule workbench: what a rule file would do to a message, beside what today's does.

    page ──JSON on standard input──► python -m backupmx.operate.page.trial ──JSON──► page

Rules and message are pasted by somebody, and a pattern may run for ever: so they are tried in a
process of their own, with little memory, no file to write, ten seconds of CPU, and killed when
it takes longer.  It imports nothing from the folder that we happen to stand in (-P) and has
nothing of our environment but what Python wants.  Two at once; a third waits.  Nothing is queued and no engine asked.

The same functions as the server's and replay-headers': rules/replay.py.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

from backupmx.config import Config, ConfigTrouble, load
from backupmx.mail.message import Content, canonical
from backupmx.operate.page.facts import Judged, Trial
from backupmx.operate.serve.tables import TableTrouble, read_tables
from backupmx.rules import table
from backupmx.rules.engine import DEFAULT
from backupmx.rules.replay import Replayed, as_diff, as_lines, replay, same, sent_headers
from backupmx.rules.syntax import Kind

SECONDS = 10.0
_MEMORY = 1 << 30
"""Octets of address space: Python and its libraries take a third of it."""
_MOST_LINES, _LONGEST = 2000, 1000
"""Of an answer: what is more is cut."""
_PYTHONS = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "PYTHONHOME", "TZ")
_at_once = asyncio.Semaphore(2)


async def attempt(config: Config, message: str, rules: str) -> Trial:
    """Never raises; what went wrong is in `trouble`."""
    asked = json.dumps({"message": message, "rules": rules}).encode()
    async with _at_once:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "backupmx.operate.page.trial", str(config.path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name in _PYTHONS},
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS):
                out, _ = await process.communicate(asked)
        except TimeoutError:
            return Trial(
                trouble=f"It took longer than {SECONDS:.0f} s and was stopped: look for a pattern that runs away."
            )
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    try:
        said = json.loads(out)
        return Trial(Judged(**said["yours"]), Judged(**said["today"]), said["differs"], said["trouble"])
    except (ValueError, KeyError, TypeError):
        return Trial(trouble="It took too much memory or time and was stopped")


def rules_of(config: Config) -> str:
    """Today's header_checks, to be edited; "" when it is no file, or a large one."""
    path = Path(config.table(config.rules.header_checks).removeprefix("pcre:").removeprefix("regexp:") or os.devnull)
    try:
        if path.stat().st_size > 1 << 18:
            return ""
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def judge(config: Config, message: str, rules: str) -> Trial:
    """In the process of its own.  Raises TableTrouble."""
    today = read_tables(config)
    kind: Kind = "regexp" if config.rules.header_checks.startswith("regexp:") else "pcre"
    mine = table.load(rules.encode("utf-8", "replace"), "yours", kind)
    raw = message.encode("utf-8", "replace").replace(b"\r\n", b"\n")
    content = Content(canonical(raw if raw.endswith(b"\n") else raw + b"\n"))
    before = sent_headers(content, DEFAULT)
    yours = replay(content, replace(today, header=mine), (), DEFAULT, time.monotonic)
    theirs = replay(content, today, (), DEFAULT, time.monotonic)
    differs = not same(yours, theirs)
    return Trial(_judged(yours, mine.warnings, before), _judged(theirs, today.warnings, before), differs)


def _judged(result: Replayed, warnings: Sequence[str], before: Sequence[bytes]) -> Judged:
    *lines, verdict = as_lines(result)
    return Judged(verdict[:_LONGEST], _cut(lines), _cut(as_diff(before, result)), _cut(warnings))


def _cut(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(line[:_LONGEST] for line in islice(lines, _MOST_LINES))


def _limit() -> None:
    """Before anything strange is looked at."""
    seconds = int(SECONDS)
    for what, most in (
        (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0),
    ):  # fmt: skip
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):
            pass  # the system's own is lower; the time limit holds in any case


def main() -> None:
    asked = json.load(sys.stdin.buffer)
    try:
        config = load(Path(sys.argv[1]))
        _limit()
        answer = judge(config, asked["message"], asked["rules"])
    except (TableTrouble, ConfigTrouble) as trouble:
        answer = Trial(trouble=str(trouble))
    sys.stdout.write(json.dumps(asdict(answer)))


if __name__ == "__main__":
    main()
