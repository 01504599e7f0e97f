"""manual: the man pages, from the sentences that --help and the configuration have.

    python -m backupmx.operate.manual man    writes man/backupmx.1 and man/backupmx.toml.5 (`make man`)

There is no other source: a command's docstring, its options' help, and the
docstring below each setting are the manual.  The pages are kept in man/, as a
wheel is built where none of our libraries is; a test holds them to their source.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

from backupmx.config.read import section_of

_SECTION_HEAD = '.TH {name} {number} "" "backupmx" "{title}"\n'


def pages() -> dict[str, str]:
    """Each man page by its file's name."""
    from backupmx.config import Config
    from backupmx.operate.cli import cli

    return {"backupmx.1": "".join(_commands(cli)), "backupmx.toml.5": "".join(_settings(Config))}


def escaped(text: str) -> str:
    """Text as roff prints it: no escape, no request, hyphens as typed."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def _paragraphs(text: str) -> str:
    parts = re.split(r"\n\s*\n", text.strip())
    return "\n.PP\n".join(escaped(" ".join(part.split())) for part in parts) + "\n"


def _commands(group: click.Group) -> Iterator[str]:
    yield _SECTION_HEAD.format(name="BACKUPMX", number=1, title="Operating a secondary MX")
    yield f".SH NAME\nbackupmx \\- {escaped((group.help or '').rstrip('.'))}\n"
    yield ".SH SYNOPSIS\n.B backupmx\n.I COMMAND\n[\\fIoptions\\fR] [\\fIarguments\\fR]\n"
    yield ".SH COMMANDS\n"
    yield from _each(group, "backupmx")
    yield ".SH EXIT STATUS\n0: yes, done, nothing found wrong. 1: no, failed, or findings. 2: wrong usage, or a\n"
    yield "configuration that cannot be used: every error at once.\n"
    yield ".SH ENVIRONMENT\n.TP\n.B BACKUPMX_CONFIG\nThe configuration, where\n.B \\-c\nnames none.\n"
    yield ".TP\n.B NO_COLOR\nNo colour on a terminal either.\n"
    yield ".SH SEE ALSO\n.BR backupmx.toml (5),\n.BR header_checks (5),\n.BR transport (5)\n"


def _each(group: click.Group, path: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _each(command, f"{path} {name}")
        elif command is not None:
            yield from _command(command, f"{path} {name}")


def _command(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    words = " ".join(command.collect_usage_pieces(context))
    yield f".SS {escaped(path)} {escaped(words)}\n{_paragraphs(command.help or '')}"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1] and "--help" not in parameter.opts:
            yield f".TP\n.B {escaped(record[0])}\n{escaped(' '.join(record[1].split()))}\n"


def _settings(model: type[BaseModel]) -> Iterator[str]:
    yield _SECTION_HEAD.format(name="BACKUPMX.TOML", number=5, title="Configuration of backupmx")
    yield ".SH NAME\nbackupmx.toml \\- configuration of the secondary MX backupmx\n"
    yield ".SH DESCRIPTION\nTOML. Paths are relative to the folder of the file, what is written to\n.BR state_dir .\n"
    yield 'Durations are "30s", "15m", "5d", sizes "50MiB". An unknown key is an error.\n'
    yield ".SH SETTINGS\n"
    yield from _keys(model, "")
    yield ".SH SEE ALSO\n.BR backupmx (1)\n"


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        if section := section_of(field):
            head = " ".join((field.description or section.__doc__ or "").split())
            yield f".SS [{escaped(prefix + name)}]\n{escaped(head)}\n"
            yield from _keys(section, f"{prefix}{name}.")
        else:
            default = _value(field.get_default(call_default_factory=True))
            words = [*(field.description or "").split(), *([] if field.is_required() else [f"Default: {default}."])]
            yield f".TP\n.B {escaped(prefix + name)}\n{escaped(' '.join(words))}\n"


def _value(default: object) -> str:
    """As TOML has it; what it has no word for is no setting yet."""
    return "none" if default is None else json.dumps(default, default=str, ensure_ascii=False)


def main(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
