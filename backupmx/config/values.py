"""Pure.  values: how durations, sizes and readers are written, and what every section is made of."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from backupmx.mail.address import Malformed, check

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|KB|MB|GB|k|K|M|G)?")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OCTETS = {
    "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30,
}  # fmt: skip


def seconds(value: object) -> object:
    """ "15m" -> 900.0; numbers pass.  ValueError says what to write."""
    if isinstance(value, str):
        if not (match := _DURATION.fullmatch(value.strip())):
            raise ValueError('a duration is a number with a unit: "30s", "15m", "1h", "5d"')
        return float(match[1]) * _SECONDS[match[2]]
    return value


def octets(value: object) -> object:
    """ "50MiB" -> 52428800; numbers pass."""
    if isinstance(value, str):
        if not (match := _SIZE.fullmatch(value.strip())):
            raise ValueError('a size is a number with a unit: "512KiB", "50MiB", "1GiB"')
        return int(float(match[1]) * _OCTETS[match[2] or "B"])
    return value


def mailbox(value: str) -> str:
    """An address that every primary takes, so in ASCII; "": nobody."""
    try:
        if value.isascii():
            return check(value) if value else ""
    except Malformed:
        pass
    raise ValueError("write an address: oncall@example.net")


Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0)]
Octets = Annotated[int, BeforeValidator(octets), Field(ge=0)]
OnError = Literal["accept", "defer", "quarantine", "reject"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
