"""arc: verifies the chain of ARC sets of a message that has any.

    arc=pass | fail | temperror

A message without ARC headers is not mentioned: nearly all have none, and
nothing of ours asks.  The chain is dkimpy's work, behind the same bounds as
DKIM.  Its structure is checked first: a set missing, doubled or beyond the
50th fails the chain without a look-up.

BUGS
    An ARC-Message-Signature whose i= is not written " i=N;" fails in dkimpy.

Standards: RFC 8617.
"""

import re
import time
from collections.abc import Mapping, Sequence

import dkim

from backupmx.check.aside import aside
from backupmx.check.dkim import look_up_keys
from backupmx.check.dkim_body import after_blank_line
from backupmx.check.field import plain, resinfo
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.check.signature import (
    Body,
    Bounded,
    Keys,
    Reasons,
    Refused,
    field_of,
    key_name,
    sane,
    tags_of,
    vetted_key,
)
from backupmx.mail.message import Message
from backupmx.net.dns import Resolver

_MOST_SETS = 50
_NAMES = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
_INSTANCE = re.compile(rb"(?:^|;)\s{0,64}i\s{0,64}=\s{0,64}(\d{1,3})(?!\d)")


class _Chain(Bounded, dkim.ARC):  # type: ignore[misc]
    """dkimpy's chain validator, bounded."""


class Arc:
    """The ARC check."""

    name = "arc"

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def look(self, mail: Mail) -> Finding | None:
        """None: the message has no ARC headers."""
        started = time.monotonic()
        headers = arc_headers(mail.message)
        if not headers:
            return None
        try:
            names = key_names(headers)
        except Refused as refused:
            return finding("fail", str(refused), time.monotonic() - started)
        keys, trouble = await look_up_keys(self._resolver, names)
        if trouble:
            return finding("temperror", "key look-up failed", time.monotonic() - started)
        result, reason = await aside(mail.message.size, verify, mail.message, headers, keys)
        return finding(result, reason, time.monotonic() - started)


def arc_headers(message: Message) -> list[bytes]:
    return [h for h in message.headers if h[:4].lower() == b"arc-" and _name(h) in _NAMES]


def key_names(headers: Sequence[bytes]) -> list[str]:
    """The keys of a chain that is whole: sets 1 to N, each with one of the three fields.  Raises Refused."""
    if len(headers) > _MOST_SETS * len(_NAMES):
        raise Refused("more than 50 sets")
    places = set()
    for header in headers:
        sane(header)
        match = _INSTANCE.search(header.partition(b":")[2])
        places.add((_name(header), int(match[1]) if match else 0))
    sets = range(1, len(headers) // len(_NAMES) + 1)
    if len(places) != len(headers) or places != {(name, instance) for name in _NAMES for instance in sets}:
        raise Refused("incomplete or doubled set")
    return [key_name(tags_of(h.partition(b":")[2])) for h in headers if _name(h) != _NAMES[0]]


def verify(message: Message, headers: Sequence[bytes], keys: Mapping[str, bytes]) -> tuple[str, str]:
    """Pure.  -> result and reason."""
    chain = _Chain()
    chain.logger = Reasons()
    chain.headers = [field_of(header) for header in headers]
    chain.guard(message.headers, Body(after_blank_line(message.body)))
    try:
        records: Keys = {name: vetted_key(record) for name, record in keys.items()}
        result, _, reason = chain.verify(lambda name, timeout=0: records.get(name.decode().rstrip(".").lower()))
    except Refused as refused:
        return "fail", str(refused)
    except Exception:
        # As in dkim: what dkimpy raises on a stranger's field is that field's fault.
        return "fail", "unusable chain"
    return ("pass", "") if result == dkim.CV_Pass else ("fail", plain(str(reason), 60))


def _name(header: bytes) -> bytes:
    return header.partition(b":")[0].rstrip().lower()


def finding(result: str, reason: str, seconds: float = 0.0) -> Finding:
    """Pure."""
    detail = f"{result} ({plain(reason)})" if reason else result
    return Finding(
        "arc",
        "dkimpy",
        Seen.NEUTRAL,
        detail,
        results=(resinfo("arc", result, reason),),
        facts={"result": result},
        seconds=seconds,
    )
