"""Pure.  translation: what a Postfix configuration becomes, as values."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Value = str | int | float | bool | tuple[str, ...]


class Fate(StrEnum):
    """What became of a Postfix setting."""

    TAKEN = "taken"
    CHANGED = "changed"
    """Taken, and something is different."""
    NONE = "no counterpart"


@dataclass(frozen=True, slots=True)
class Remark:
    """What is said of one Postfix setting."""

    fate: Fate
    postfix: str
    """Its name: "smtpd_milters", "smtpd_recipient_restrictions: reject_rbl_client"."""
    ours: str = ""
    """What it is here: "relay.transport_map"."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of ours, made of files of Postfix'."""

    name: str
    """In our directory: "transport.map"."""
    content: bytes
    secret: bool = False
    """0600."""


@dataclass(slots=True)
class Translation:
    """Grows while settings are read; the writer only reads it."""

    settings: dict[str, Value] = field(default_factory=dict)
    """"relay.transport_map" -> value"""
    origins: dict[str, str] = field(default_factory=dict)
    """Where a setting comes from: the comment behind it."""
    sections: list[tuple[str, Mapping[str, Value], str]] = field(default_factory=list)
    """[[milter]], [[recipients.source]]: name, settings, the comment above."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Comment lines under a section: what to write instead."""
    copies: list[Copy] = field(default_factory=list)
    _remarks: dict[Remark, None] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """In the order they were made, each once."""
        return tuple(self._remarks)

    def take(self, key: str, value: Value, postfix: str, why: str = "") -> None:
        """A setting of ours from one of Postfix'.  With `why` it is a changed one."""
        self.settings[key] = value
        self.origins[key] = postfix
        self.say(Fate.CHANGED if why else Fate.TAKEN, postfix, key, why)

    def say(self, fate: Fate, postfix: str, ours: str = "", why: str = "") -> None:
        self._remarks[Remark(fate, postfix, ours, why)] = None

    def leave(self, postfix: str, why: str) -> None:
        """It has no counterpart."""
        self.say(Fate.NONE, postfix, why=why)


def toml(value: Value) -> str:
    """As TOML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(toml(each) for each in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


_ORDER = (
    "", "smtp", "relay", "recipients", "rules", "checks", "checks.virus", "checks.spam", "checks.spf", "queue",
)  # fmt: skip


def configuration(translation: Translation, heading: Iterable[str]) -> str:
    """The text of backupmx.toml."""
    lines = [f"# {line}".rstrip() for line in heading]
    for section in _ORDER:
        own = {key.rpartition(".")[2]: key for key in translation.settings if key.rpartition(".")[0] == section}
        notes = translation.notes.get(section, ())
        if not own and not notes:
            continue
        lines += ["", f"[{section}]"] if section else [""]
        for name, key in own.items():
            origin = translation.origins.get(key, "")
            lines.append(f"{name} = {toml(translation.settings[key])}" + (f"   # {_comment(origin)}" if origin else ""))
        lines += [f"# {_comment(note)}" for note in notes]
    for name, settings, comment in translation.sections:
        lines += ["", *([f"# {_comment(comment)}"] if comment else []), f"[[{name}]]"]
        lines += [f"{key} = {toml(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
