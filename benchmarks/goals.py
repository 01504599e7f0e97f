"""goals: what backupmx promises beside Postfix, and what this machine says.

    python -m benchmarks [--short] [--json FILE] [--keep FILE] [--against FILE]

Asks the questions that have a goal, each a program of its own in this folder,
and prints one table: medians and spreads of interleaved rounds, the ratio to
Postfix in the same run, and the least and the hoped for.

    --short    fewer rounds of fewer messages: some minutes; for `make bench-check`
    --json     all figures of all rounds
    --keep     one line more in this history: version, machine, ratios (no times: they
               mean nothing on another machine)
    --against  the last run of the same length in this history: a warning for each ratio that fell by more
               than a fifth; status 1 when there is one

BUGS
    Ratios move with what else the machine does, most of all the flush, which is
    over in two seconds.  One warning wants a second run before it is believed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from backupmx import __version__
from benchmarks.servers import machine

FELL = 0.8
"""Of the ratio before: less than this is worth a warning."""


@dataclass(frozen=True, slots=True)
class Goal:
    name: str
    what: str
    unit: str
    least: float
    hope: float
    smaller_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    goal: Goal
    ours: Sequence[float]
    theirs: Sequence[float]
    """A figure a round."""

    @property
    def ratio(self) -> float:
        ratio = median(self.ours) / median(self.theirs)
        return 1 / ratio if self.goal.smaller_is_better else ratio


GOALS = (
    Goal("fresh", "4 KB, a connection each", "msg/s", 2.5, 5),
    Goal("reused", "4 KB, kept connections", "msg/s", 4, 8),
    Goal("checked", "the same with virus, DKIM and SPF", "msg/s", 2, 4),
    Goal("large", "1 MiB messages", "msg/s", 1, 2),
    Goal("flush", "flush of 5,000 × 4 KB", "msg/s", 8, 20),
    Goal("memory", "memory with 1,000 idle clients", "MiB", 5, 20, smaller_is_better=True),
    Goal("flood", "a flood of one message, with spamd", "tr/s", 20, 50),
)
QUESTIONS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "end_to_end": (
        ["--rounds", "5", "--loads", "fresh,reused,large,flush"],
        ["--rounds", "3", "--scale", "0.5", "--loads", "fresh,reused,large,flush"],
    ),
    "checked": (["--rounds", "5"], ["--rounds", "3", "--messages", "150"]),
    "memory": (["--rounds", "3"], ["--rounds", "1"]),
    "flood": (["--rounds", "3"], ["--rounds", "1", "--beside", "60"]),
}
"""Each question with what it is asked, wholly and shortly."""


def asked(short: bool) -> Iterator[Found]:
    goals = {goal.name: goal for goal in GOALS}
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as folder:
        for question, options in QUESTIONS.items():
            answer = Path(folder) / question
            print(f"asking {question} …", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", f"benchmarks.{question}", *options[short], "--json", str(answer)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            told = json.loads(answer.read_text())
            for name, by in {question: told}.items() if question in goals else told.items():
                yield Found(goals[name], *([figures[0] for figures in by[who]] for who in ("backupmx", "Postfix")))


def table(found: Sequence[Found]) -> str:
    lines = [f"{'':<34} {'backupmx':>18} {'Postfix':>18} {'':<6} {'ratio':>6} {'least':>6} {'hope':>5}"]
    for one in found:
        goal = one.goal
        missed = "" if one.ratio >= goal.least else "  missed"
        lines.append(
            f"{goal.what:<34} {spread(one.ours):>18} {spread(one.theirs):>18} {goal.unit:<6}"
            f" {one.ratio:>6.2f} {goal.least:>6g} {goal.hope:>5g}{missed}"
        )
    return "\n".join(lines)


def spread(figures: Sequence[float]) -> str:
    """The median, and how far from the least to the most, as a share of it."""
    middle = median(figures)
    return f"{middle:,.{0 if middle >= 100 else 1}f} ±{(max(figures) - min(figures)) / middle / 2:.0%}"


def fallen(found: Sequence[Found], before: Mapping[str, float]) -> list[str]:
    """A sentence for each ratio that fell by more than a fifth."""
    return [
        f"{one.goal.what}: {one.ratio:.2f} times Postfix, {before[one.goal.name]:.2f} before"
        for one in found
        if one.goal.name in before and one.ratio < before[one.goal.name] * FELL
    ]


def before(history: Path, short: bool) -> Mapping[str, float]:
    """The ratios of its last run of this length; none: it has no such run."""
    lines = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    same = [line["ratios"] for line in lines if line["short"] == short]
    return same[-1] if same else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args()
    found = list(asked(given.short))
    print(f"backupmx {__version__}, {machine()}\n\n{table(found)}")
    if given.json:
        figures = {one.goal.name: {"backupmx": one.ours, "Postfix": one.theirs, "ratio": one.ratio} for one in found}
        given.json.write_text(json.dumps(figures, indent=1))
    warnings = fallen(found, before(given.against, given.short)) if given.against else []
    for warning in warnings:
        print(f"WARNING  {warning}")
    if given.keep:
        ratios = {one.goal.name: round(one.ratio, 2) for one in found}
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        line = {"version": __version__, "day": day, "short": given.short, "machine": machine(), "ratios": ratios}
        with given.keep.open("a") as history:
            history.write(json.dumps(line) + "\n")
    return 1 if warnings else 0


if __name__ == "__main__":
    sys.exit(main())
