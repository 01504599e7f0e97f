"""Pure.  units: Postfix's times, sizes and networks, as backupmx.toml writes them."""

import re
from ipaddress import ip_network

_TIME = re.compile(r"(\d{1,9})([smhdw]?)")


def duration(text: str, unit: str) -> str:
    """ "5d" -> "5d", "300" -> "300s"; `unit`: what a number alone counts.  "" for what is no time."""
    match = _TIME.fullmatch(text.strip().lower())
    return f"{int(match[1])}{match[2] or unit}" if match else ""


def number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def size(octets: int) -> str | int:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if octets and octets % (1 << shift) == 0:
            return f"{octets >> shift}{unit}"
    return octets


def network(word: str) -> str:
    """ "[2001:db8::]/32" -> "2001:db8::/32"; "" for what is no network."""
    try:
        return str(ip_network(word.replace("[", "").replace("]", ""), strict=False))
    except ValueError:
        return ""
