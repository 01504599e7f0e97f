"""flame: where does a worker spend its time?

    python -m benchmarks.flame [--seconds N] [--svg FILE]

`backupmx serve` with one worker takes messages of 4 KB over a connection each,
as in end_to_end's `fresh`, while py-spy looks two hundred times a second at what
the worker's threads do.  Printed is the share of each part; FILE gets the
picture: a stack is a column, its caller above it, as wide as it was often.

Threads that wait for work are left out; those that wait for the disk are not.

BUGS
    py-spy sees Python.  What the kernel and libuv do stands under the Python
    function that called them: "the loop itself" is epoll, accept, read and close.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from benchmarks.servers import CONFIG, Ours, Sink, listens, machine, send, wait
from tests.neighbours.unbound import free_port

LOAD = ["-s", "20", "-l", "4096"]
_ROOTS = ("Runner.run (asyncio", "Thread.run (threading")
_IDLE = ("_worker (concurrent", "Writer._gather (", "Condition.wait (", "wait (threading")
PARTS = (
    ("waiting for the disk", "Connection.sync ("),
    ("commit: SQLite", "Writer._run ("),
    ("log", "backupmx/journal.py"),
    ("our Received:, rules, checks", "backupmx/receive/assess.py"),
    ("intake, handing over to the queue", "backupmx/receive/intake.py"),
    ("dialogue: commands, addresses, replies", "backupmx/receive/"),
    ("names in the DNS", "backupmx/net/"),
)
COLOURS = {"receive": "#f2b880", "queue": "#8fb8de", "check": "#c6a5d8", "rules": "#c6a5d8", "journal": "#d8d08f"}
WIDTH, ROW = 1200.0, 17.0

Stack = tuple[str, ...]


@dataclass
class Frame:
    """A function under its callers, and how often it was there."""

    name: str
    times: int = 0
    below: "dict[str, Frame]" = field(default_factory=dict)

    def add(self, stack: Sequence[str], times: int) -> None:
        self.times += times
        if stack:
            self.below.setdefault(stack[0], Frame(stack[0])).add(stack[1:], times)


def stacks(raw: str) -> Counter[Stack]:
    """py-spy's lines "a (file:line);b (file:line) COUNT", without line numbers, idle threads, callers of the loop."""
    found: Counter[Stack] = Counter()
    for line in raw.splitlines():
        frames, _, times = line.rpartition(" ")
        stack = [re.sub(r":\d+\)$", ")", frame) for frame in frames.split(";")]
        if not stack[-1].startswith(_IDLE):
            root = max((n for n, frame in enumerate(stack) if frame.startswith(_ROOTS)), default=0)
            found[tuple(stack[root:])] += int(times)
    return found


def shares(found: Counter[Stack]) -> Iterator[tuple[str, float]]:
    """Each part's share, the largest first."""
    parts: Counter[str] = Counter()
    for stack, times in found.items():
        whole = ";".join(stack)
        parts[next((name for name, mark in PARTS if mark in whole), "the loop itself")] += times
    for name, times in parts.most_common():
        yield name, times / found.total()


def rects(frame: Frame, left: float, depth: int, scale: float, total: int) -> Iterator[str]:
    """One rectangle for each frame that can be seen."""
    width = frame.times * scale
    if width < 0.5:
        return
    area = re.search(r"backupmx/(\w+)", frame.name)
    colour = COLOURS.get(area[1], "#cfe3c4") if area else "#e4e4e4"
    top, fits = depth * ROW, int(width / 6.3) - 1
    words = frame.name.partition(" (")[0]
    words = words if len(words) <= fits else f"{words[: fits - 1]}…" if fits > 3 else ""
    yield (
        f'<g><title>{escape(frame.name)}: {frame.times / total:.1%}</title><rect x="{left:.1f}" y="{top:.0f}"'
        f' width="{max(width - 0.5, 0.3):.1f}" height="{ROW - 1:.0f}" fill="{colour}"/>'
        f'<text x="{left + 3:.1f}" y="{top + 12:.0f}">{escape(words)}</text></g>'
    )
    for each in sorted(frame.below.values(), key=lambda f: f.name):
        yield from rects(each, left, depth + 1, scale, total)
        left += each.times * scale


def picture(found: Counter[Stack]) -> str:
    root = Frame("one worker")
    for stack, times in found.items():
        root.add(stack, times)
    height = ROW * (2 + max(len(stack) for stack in found))
    boxes = "\n".join(rects(root, 0.0, 0, WIDTH / root.times, root.times))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" font-family="monospace"'
        f' font-size="10.5">\n{boxes}\n</svg>\n'
    )


def record(seconds: int) -> str:
    """What py-spy saw."""
    program = Path(sys.executable).with_name("py-spy")
    with tempfile.TemporaryDirectory(prefix="backupmx-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        sink = Sink(folder)
        sink.start()
        stack.callback(sink.stop)
        config = CONFIG.replace("[relay]", "workers = 1\n[relay]")
        server = Ours(folder / "backupmx", sink.port, free_port(), config=config)
        stack.callback(server.stop)
        wait(lambda: listens(server.port))
        send(server, LOAD, 500)
        worker = re.findall(r"started: worker 1, pid (\d+)", (folder / "backupmx" / "log").read_text())[-1]
        spy = subprocess.Popen(
            [program, "record", "-r", "200", "-d", str(seconds), "-f", "raw", "-o", folder / "raw", "-p", worker],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while spy.poll() is None:
            send(server, LOAD, 500)
        return (folder / "raw").read_text()


def table(found: Iterable[tuple[str, float]]) -> str:
    return "\n".join(f"{share:>5.0%}  {name}" for name, share in found)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=12)
    arguments.add_argument("--svg", type=Path)
    given = arguments.parse_args()
    found = stacks(record(given.seconds))
    print(machine())
    print(table(shares(found)))
    if given.svg:
        given.svg.write_text(picture(found), "utf-8")


if __name__ == "__main__":
    main()
