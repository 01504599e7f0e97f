"""read: the configuration file, read and checked as a whole.

`load(path)` gives a frozen tree, or raises ConfigTrouble with every error at
once: file, key, what is wrong, what to write instead.  Unknown keys are
errors, with "did you mean".
"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from backupmx.config.home import ConfigTrouble, read_toml, toml
from backupmx.config.sections import Config


def load(path: Path) -> Config:
    """The configuration in a file.  Raises ConfigTrouble with every error at once."""
    return _checked(read_toml(path), path)


def parse(text: str, path: Path) -> Config:
    """The configuration in a text; `path` is where it stands.  Raises ConfigTrouble."""
    return _checked(toml(text, path), path)


def _checked(values: Mapping[str, Any], path: Path) -> Config:
    if "path" in values:
        raise ConfigTrouble([f"{path}: path: unknown key"])
    try:
        return Config.model_validate({**values, "path": path.absolute()})
    except ValidationError as error:
        rest = _without(error, values, path)
        raise ConfigTrouble([f"{path}: {sentence}" for sentence in _sentences(error)], rest) from None


def _without(error: ValidationError, values: Mapping[str, Any], path: Path) -> Config | None:
    """What is left when the settings that are wrong have their defaults; None: one of them has none."""
    rest = {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}
    for item in error.errors():
        section, key = item["loc"][0], item["loc"][1] if len(item["loc"]) > 1 else None
        if isinstance(rest.get(str(section)), dict) and key is not None:
            rest[str(section)].pop(str(key), None)
        else:
            rest.pop(str(section), None)
    try:
        return Config.model_validate({**rest, "path": path.absolute()})
    except ValidationError:
        return None


def _sentences(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if part not in ("str", "tuple[str, ...]"))
        if item["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_did_you_mean(item['loc'])}"
        elif item["type"] == "missing":
            yield f"{key}: missing; it has no default"
        else:
            message = item["msg"].removeprefix("Value error, ")
            yield f"{key}: {message[0].lower()}{message[1:]} (it says {item['input']!r})"


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """[relay] of Config's `relay`, [[milter]] of `milter`; None: a setting."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _did_you_mean(place: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Config
    for part in place[:-1]:
        if isinstance(part, str) and part in section.model_fields:
            section = section_of(section.model_fields[part]) or section
    close = difflib.get_close_matches(str(place[-1]), section.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close and close[0] != "path" else ""
