"""screen: the demo for a person at a terminal, and for a pipe.

Both say the same: a title, one block a step, and the last line
`demo: N of N steps as expected`.  The terminal adds colour and a spinner; the
pipe is plain text, a line at a time, so a log of it reads well.
"""

import sys
from typing import Protocol, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from backupmx.operate.demo.step import Step


class Screen(Protocol):
    def opening(self, text: str) -> None: ...

    def begin(self, number: int, of: int, title: str) -> None: ...

    def end(self, number: int, of: int, step: Step) -> None: ...

    def remark(self, text: str) -> None: ...

    def closing(self, right: int, of: int) -> None: ...


def last_line(right: int, of: int) -> str:
    return f"demo: {right} of {of} steps as expected"


class Plain:
    """Lines of text."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def opening(self, text: str) -> None:
        self._line(f"{text}\n")

    def begin(self, number: int, of: int, title: str) -> None:
        """Nothing: a pipe sees a step when it is done."""

    def end(self, number: int, of: int, step: Step) -> None:
        self._line(f"[{number:>2}/{of}] {'ok  ' if step.ok else 'NOT '} {step.title}")
        for label, sentence in step.told:
            self._line(f"              {label:<10} {sentence}".rstrip())
        for sentence in step.wrong or (() if step.ok else ("nothing was compared",)):
            self._line(f"              NOT AS EXPECTED: {sentence}")
        self._line("")

    def remark(self, text: str) -> None:
        self._line(text)

    def closing(self, right: int, of: int) -> None:
        self._line(last_line(right, of))

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class Terminal:
    """The same, with colour; a spinner says what is being done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None

    def opening(self, text: str) -> None:
        self._console.print(Text(text, style="bold"), "")

    def begin(self, number: int, of: int, title: str) -> None:
        self._status = self._console.status(Text(f"{title} ...", style="dim"))
        self._status.start()

    def end(self, number: int, of: int, step: Step) -> None:
        if self._status:
            self._status.stop()
        mark = ("✔ ", "bold green") if step.ok else ("✘ ", "bold red")
        self._console.print(Text.assemble(mark, (step.title, "bold"), (f"  {number}/{of}", "dim")))
        if step.told:
            self._console.print(Padding(_told(step), (0, 0, 0, 4)))
        for sentence in step.wrong or (() if step.ok else ("nothing was compared",)):
            self._console.print(Padding(Text(f"not as expected: {sentence}", style="red"), (0, 0, 0, 4)))
        self._console.print()

    def remark(self, text: str) -> None:
        self._console.print(Text(text, style="yellow"))

    def closing(self, right: int, of: int) -> None:
        style = "bold green" if right == of else "bold red"
        self._console.print(Text(last_line(right, of), style=style))


_STYLES = {"finding": "cyan", "rules": "yellow", "verdict": "magenta", "primary": "green", "reply": "blue"}


def _told(step: Step) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, sentence in step.told:
        table.add_row(Text(label, style="dim"), Text(sentence, style=_STYLES.get(label, ""), overflow="fold"))
    return table


def screen(out: TextIO = sys.stdout) -> Screen:
    """For what standard output is."""
    return Terminal(Console(file=out, highlight=False)) if out.isatty() else Plain(out)
