"""replay-headers: what the header rules do to a message, offline.

The same functions that `serve` calls, on a message from a file.  Nothing is
asked of an engine or of DNS, nothing is queued.

A FILE is a message, `-` is standard input.  A maildir, a directory of messages
or an mbox (it begins with "From " and is not named .eml) is many messages:
then a summary follows, one line a rule with its hits.

Exit status: 0 whatever the verdict, 2 when a FILE or TABLE cannot be read.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from backupmx.mail.message import Content, canonical
from backupmx.operate.serve.tables import TableTrouble, read_table, read_tables
from backupmx.rules.engine import Settings, Tables
from backupmx.rules.replay import Replayed, as_diff, as_json, as_lines, differs, replay, same, sent_headers, shown, told

_OPTIONS = ("header", "mime", "nested", "body", "milter")


@click.command("replay-headers")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--header-checks", "header", metavar="TABLE", help="[pcre:|regexp:]PATH; empty: no table.")
@click.option("--mime-header-checks", "mime", metavar="TABLE", help="For MIME headers and those of parts.")
@click.option("--nested-header-checks", "nested", metavar="TABLE", help="For headers of attached messages.")
@click.option("--body-checks", "body", metavar="TABLE", help="For body lines.")
@click.option("--milter-header-checks", "milter", metavar="TABLE", help="For headers given with --add.")
@click.option("--add", "added", multiple=True, metavar='"NAME: VALUE"', help="A header as a milter adds it.")
@click.option("--header-size-limit", type=click.IntRange(min=1), default=102_400, metavar="N", show_default=True)
@click.option("--no-mime", is_flag=True, help="As disable_mime_input_processing = yes.")
@click.option("--against", metavar="TABLE", help="Which messages would this header_checks table judge differently?")
@click.option("--diff", is_flag=True, help="The header block before and after.")
@click.option("--json", "as_json_lines", is_flag=True, help="One JSON object a message, a line each.")
@click.option("--output", metavar="FILE", help="Write the message as it would be relayed (one FILE only).")
@click.option("-c", "--config", "config_file", metavar="FILE", help="The configuration file.")
def command(
    files: tuple[str, ...],
    added: tuple[str, ...],
    header_size_limit: int,
    no_mime: bool,
    against: str | None,
    diff: bool,
    as_json_lines: bool,
    output: str | None,
    config_file: str | None,
    **specs: str | None,
) -> None:
    """What the header rules do to a message, offline.

    As soon as one table option is given the others are empty and no
    configuration is read; with none, all tables come from the configuration.
    """
    if diff and as_json_lines:
        raise click.UsageError("--diff and --json exclude each other")
    if output is not None and len(files) != 1:
        raise click.UsageError("--output wants exactly one FILE")
    try:
        tables = _tables(specs, config_file)
        other = replace(tables, header=read_table(against)) if against is not None else None
    except TableTrouble as trouble:
        click.echo(f"backupmx: {trouble}", err=True)
        sys.exit(2)
    settings = Settings(header_size_limit=header_size_limit, mime=not no_mime)
    run = _Run(tables, other, settings, [_as_added(header) for header in added])
    run.form = "json" if as_json_lines else "diff" if diff else "lines"
    run.output = output
    run.all(files)
    sys.exit(2 if run.unreadable else 0)


def _tables(specs: dict[str, str | None], config_file: str | None) -> Tables:
    """Raises TableTrouble, ConfigTrouble."""
    if any(spec is not None for spec in specs.values()):
        return Tables(**{name: read_table(specs.get(name) or "") for name in _OPTIONS})
    from backupmx.config import find, load

    return read_tables(load(find(config_file)))


@dataclass
class _Run:
    """One invocation: every message of every FILE, and what they add up to."""

    tables: Tables
    other: Tables | None
    settings: Settings
    added: list[bytes]
    form: str = "lines"
    output: str | None = None
    last: Replayed | None = None
    unreadable: bool = False
    messages: int = 0
    different: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    in_messages: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)

    def all(self, files: Sequence[str]) -> None:
        warnings = self.tables.warnings
        if self.form != "json":
            for warning in warnings:
                click.echo(f"warning: {warning}", err=True)
        several = len(files) > 1 or any(Path(f).is_dir() for f in files)
        for file in files:
            try:
                for name, raw in messages(file):
                    several = several or name != file
                    self.one(name, raw, warnings, several)
            except OSError as error:
                self.unreadable = True
                click.echo(f"backupmx: {error.filename or file}: {error.strerror or error}", err=True)
        if several and self.form != "json":
            self.summary()
        if self.output is not None and self.last is not None:
            self.write(self.last, self.output)

    def one(self, name: str, raw: bytes, warnings: Sequence[str], several: bool) -> None:
        content = Content(whole(raw))
        result = replay(content, self.tables, self.added, self.settings, time.monotonic)
        then = replay(content, self.other, self.added, self.settings, time.monotonic) if self.other else None
        self.count(result)
        self.last = result
        changed = then is not None and not same(result, then)
        self.different += changed
        if self.form == "json":
            answer = as_json(name, result, warnings)
            if then is not None and self.other is not None:
                answer |= {"differs": changed, "against": as_json(name, then, self.other.warnings)}
            _say(json.dumps(answer))
            return
        if then is not None:
            if changed:
                _say(differs(name, result, then))
                self.tell(name, then, content, False)
            return
        self.tell(name, result, content, several)

    def tell(self, name: str, result: Replayed, content: Content, several: bool) -> None:
        prefix = f"{shown(name)}: " if several else ""
        if self.form == "diff":
            if several:
                _say(f"{shown(name)}: {told(result)}")
            for line in as_diff(sent_headers(content, self.settings), result):
                _say(line)
            return
        for line in as_lines(result):
            _say(prefix + line)

    def count(self, result: Replayed) -> None:
        self.messages += 1
        self.fates[str(result.verdict.fate)] += 1
        rules = [f"{d.table}:{d.line}: {d.action}" for d in result.decisions]
        self.hits.update(rules)
        self.in_messages.update(set(rules))

    def write(self, result: Replayed, output: str) -> None:
        if self.messages > 1:
            raise click.UsageError(f"--output wants one message; there are {self.messages}: nothing was written")
        if not result.kept:
            click.echo(f"backupmx: {output}: not written, the message would not be relayed", err=True)
            return
        try:
            with open(output, "wb") as stream:
                stream.writelines(result.message.chunks())
        except OSError as error:
            self.unreadable = True
            click.echo(f"backupmx: {output}: {error.strerror or error}", err=True)

    def summary(self) -> None:
        """What many messages add up to: one line a rule, then the fates."""
        _say("")
        for rule, hits in sorted(self.hits.items()):
            _say(f"{rule}: {_count(hits, 'hit')} in {_count(self.in_messages[rule], 'message')}")
        fates = ", ".join(f"{count} {fate}" for fate, count in self.fates.most_common())
        _say(f"{_count(self.messages, 'message')}: {fates or 'none'}")
        if self.other is not None:
            _say(f"{self.different} of them judged differently")


def messages(file: str) -> Iterator[tuple[str, bytes]]:
    """The messages of a FILE, with a name for each.  Raises OSError."""
    if file == "-":
        yield file, sys.stdin.buffer.read()
        return
    path = Path(file)
    if path.is_dir():
        for entry in _in_directory(path):
            yield str(entry), entry.read_bytes()
        return
    with path.open("rb") as stream:
        if stream.peek(5)[:5] != b"From " or path.suffix == ".eml":
            yield file, stream.read()
            return
        for number, one in enumerate(of_mbox(stream), 1):
            yield f"{file}:{number}", one


def _in_directory(path: Path) -> list[Path]:
    """A maildir's cur and new, or every file that stands there."""
    places = [path / "cur", path / "new"] if (path / "cur").is_dir() or (path / "new").is_dir() else [path]
    return [one for place in places if place.is_dir() for one in sorted(place.iterdir()) if one.is_file()]


def of_mbox(stream: Iterable[bytes]) -> Iterator[bytes]:
    """mboxrd, its lines: "From " behind an empty line begins a message; ">From " in it loses one ">"."""
    lines: list[bytes] = []
    blank = True
    for line in stream:
        if blank and line.startswith(b"From "):
            if lines:
                yield b"".join(lines)
            lines = []
            blank = False
            continue
        blank = line in (b"\n", b"\r\n")
        if line.lstrip(b">").startswith(b"From ") and line.startswith(b">"):
            line = line[1:]
        lines.append(line)
    yield b"".join(lines)


def whole(raw: bytes) -> bytes:
    """As it would come over the wire: CRLF line ends, the last line ended too."""
    return canonical(raw if raw.endswith(b"\n") else raw + b"\r\n")


def _as_added(header: str) -> bytes:
    """As a milter's: any line end is a fold's, and none stands at the end."""
    return canonical(header.encode("utf-8", "surrogateescape")).replace(b"\r\n", b"\n").rstrip(b"\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say(line: str) -> None:
    sys.stdout.write(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n")


if __name__ == "__main__":
    # `python -m backupmx.operate.cli.replay_headers replay-headers FILE` is the command without the group.
    command(args=[a for a in sys.argv[1:] if a != "replay-headers"])
