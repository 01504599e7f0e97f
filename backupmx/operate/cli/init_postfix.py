"""init --from-postfix: a Postfix configuration said in our words, with all that has no counterpart."""

import importlib.util
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from backupmx.config import ConfigTrouble
from backupmx.operate.cli.options import say, write_json
from backupmx.operate.moving import write
from backupmx.operate.moving.translate import translate
from backupmx.operate.moving.translation import Fate, Remark, Translation


@dataclass(slots=True)
class Outcome:
    """What was done, for a person or as JSON."""

    translation: Translation
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """They were there already."""
    errors: tuple[str, ...] = ()
    """Why the result cannot be used as it is."""
    findings: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        return 2 if self.errors else 1 if self.kept else 0


def run(directory: Path, source: Path, as_json: bool) -> None:
    """The whole command.  Ends with its status."""
    folder = write.Folder(source)
    here = socket.gethostname()
    try:
        main, services = folder.main(here), folder.services()
        yara = importlib.util.find_spec("yara_x") is not None
        outcome = Outcome(translate(main, services, folder.read, here=here, yara=yara))
        for copy in write.files(outcome.translation, source):
            done = write.write(directory, copy)
            (outcome.written if done else outcome.kept).append(str(directory / copy.name))
    except OSError as error:
        click.echo(f"backupmx: {error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    _check(outcome, directory / "backupmx.toml")
    if as_json:
        write_json(_object(outcome))
    else:
        _tell(outcome, directory, source)
    sys.exit(outcome.status)


def _check(outcome: Outcome, configuration: Path) -> None:
    """check config and lint on what is there now."""
    from backupmx.operate.cli.check import remarks
    from backupmx.operate.serve.policy import read_all

    try:
        config, files = read_all(configuration)
    except ConfigTrouble as trouble:
        outcome.errors = trouble.errors
    else:
        outcome.findings = (*files.warnings, *remarks(config, files.routes))
    outcome.findings += tuple(_lint(configuration))


def _lint(configuration: Path) -> list[str]:
    """Each mistake once, with all its lines; `backupmx lint` says what to write instead."""
    from backupmx.operate.cli.lint import configured
    from backupmx.operate.serve.tables import TableTrouble, read_table
    from backupmx.rules.lint import lint, together

    try:
        found = [finding for spec, role in configured(str(configuration)) for finding in lint(read_table(spec), role)]
    except (ConfigTrouble, TableTrouble):
        return []  # check config has said it
    return together(replace(finding, instead="") for finding in found)


def _tell(outcome: Outcome, directory: Path, source: Path) -> None:
    for name in outcome.written:
        say(f"wrote {name}")
    for name in outcome.kept:
        say(f"kept {name}: it exists; take it away to have ours")
    for fate in Fate:
        told = [remark for remark in outcome.translation.remarks if remark.fate is fate]
        if told:
            click.echo(f"\n{fate}")
        for remark in told:
            say(f"  {_line(remark)}")
    for heading, sentences in (("findings", outcome.findings), ("not usable yet", outcome.errors)):
        if sentences:
            click.echo(f"\n{heading}")
        for sentence in dict.fromkeys(sentences):
            say(f"  {sentence}")
    click.echo("\nnext")
    for step in steps(outcome, directory, source):
        say(f"  {step}")


def _line(remark: Remark) -> str:
    """Pure.  "transport_maps = hash:/etc/postfix/transport -> relay.transport_map: why"."""
    ours = f" -> {remark.ours}" if remark.ours else ""
    return f"{remark.postfix}{ours}" + (f": {remark.why}" if remark.why else "")


def steps(outcome: Outcome, directory: Path, source: Path) -> Iterator[str]:
    """Pure.  How to go on."""
    configuration = directory / "backupmx.toml"
    if outcome.errors:
        yield f"mend what is not usable, then: backupmx check config -c {configuration}"
    if any(copy.secret for copy in outcome.translation.copies):
        yield f"chown backupmx {directory}/*.password: the user that serve runs as reads it"
    if any(name == "milter" for name, _, _ in outcome.translation.sections):
        yield f"backupmx check services -c {configuration}: do the milters answer us?"
    if any("header_checks:" in finding for finding in outcome.findings):
        yield f"backupmx lint -c {configuration}: what to write instead in the rule files"
    yield f"backupmx check dns -c {configuration}; backupmx check primary -c {configuration}"
    yield f'read {configuration}, then docs/moving-from-postfix.md, "The evening"; {source} was only read'


def _object(outcome: Outcome) -> dict[str, object]:
    return {
        "written": outcome.written,
        "kept": outcome.kept,
        "settings": [
            {"fate": str(remark.fate), "postfix": remark.postfix, "ours": remark.ours, "why": remark.why}
            for remark in outcome.translation.remarks
        ],
        "usable": not outcome.errors,
        "errors": list(outcome.errors),
        "findings": list(outcome.findings),
    }
