"""dkim: verifies DKIM-Signature fields, the first eight of them.

    dkim=pass header.d=sender.example header.s=2026 header.a=rsa-sha256 header.b=dGhpcyBp

Keys are looked up all at once, then every signature is verified without
waiting for anything; a large message is hashed in a thread (aside).

    pass       the signature is good
    fail       the message or a signed header is not what was signed, or it expired
    policy     good, but with a key under 1,024 bits (RFC 8301)
    permerror  the signature or its key is not usable, or there is no key
    temperror  the key's DNS did not answer
    none       no signature

A signature with l= covers the beginning of the body only; the result says so.
dkimpy does the arithmetic, `signature` what must happen before it may.

Standards: RFC 6376, RFC 8301, RFC 8463, RFC 8601 2.7.1, RFC 6008 (header.b).
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dkim

from backupmx.check.aside import aside
from backupmx.check.author import ascii_domain
from backupmx.check.dkim_body import after_blank_line
from backupmx.check.field import plain, resinfo
from backupmx.check.finding import Finding, Mail, Seen
from backupmx.check.signature import (
    Body,
    Bounded,
    Keys,
    Mismatch,
    Reasons,
    Refused,
    field_of,
    key_name,
    sane,
    tags_of,
    vetted_key,
)
from backupmx.mail.message import Message
from backupmx.net.dns import DNSTrouble, Resolver

MOST = 8
# Gmail and Postfix users meet three at most; each costs a look-up and a verification.
_NAME = b"dkim-signature"


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of one signature."""

    result: str
    reason: str = ""
    domain: str = ""
    selector: str = ""
    algorithm: str = ""
    begins: str = ""
    """The first eight letters of b=."""


class _Verifier(Bounded, dkim.DKIM):  # type: ignore[misc]
    """dkimpy's verifier, bounded."""


class Dkim:
    """The DKIM check."""

    name = "dkim"

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def look(self, mail: Mail) -> Finding:
        started = time.monotonic()
        signatures = signatures_of(mail.message)
        if not signatures:
            return finding((), 0, time.monotonic() - started)
        keys, trouble = await look_up_keys(self._resolver, (name for s in signatures[:MOST] if (name := _key_of(s))))
        arguments = (mail.message, signatures[:MOST], keys, trouble)
        verified = await aside(mail.message.size, verify_all, *arguments)
        return finding(verified, len(signatures), time.monotonic() - started)


def signatures_of(message: Message) -> list[bytes]:
    """The DKIM-Signature fields, from the top."""
    return [h for h in message.headers if h[: len(_NAME)].lower() == _NAME and h[len(_NAME) :].lstrip()[:1] == b":"]


async def look_up_keys(resolver: Resolver, names: Iterable[str]) -> tuple[Keys, Mapping[str, str]]:
    """-> key records by name, and why there is none for a while; a name in neither has none."""
    answers = await resolver.lookups((name, "TXT") for name in dict.fromkeys(names))
    keys, trouble = dict[str, bytes](), dict[str, str]()
    for (name, _), answer in answers.items():
        if isinstance(answer, DNSTrouble):
            trouble[name] = "key look-up failed"
        elif found := next((s for s in answer.strings if b"p=" in s), None):
            keys[name] = found
    return keys, trouble


def verify_all(
    message: Message, signatures: Sequence[bytes], keys: Keys, trouble: Mapping[str, str]
) -> tuple[Verified, ...]:
    """Pure.  Each signature against the message."""
    body = Body(after_blank_line(message.body))
    return tuple(_verified(signature, message.headers, body, keys, trouble) for signature in signatures)


def _verified(header: bytes, headers: Sequence[bytes], body: Body, keys: Keys, trouble: Mapping[str, str]) -> Verified:
    verifier, reasons = _Verifier(), Reasons()
    verifier.logger = reasons
    verifier.headers = [field_of(header)]
    verifier.guard(headers, body)
    tags: Mapping[bytes, bytes] = {}
    try:
        sane(header)
        tags = tags_of(header.partition(b":")[2])
        name = key_name(tags)
        sig, include, fields = verifier.verify_headerprep(0)
        if name in trouble:
            return _told(tags, "temperror", trouble[name])
        if name not in keys:
            return _told(tags, "permerror", "no key for signature")
        record = vetted_key(keys[name])
        _check_key_flags(tags_of(record), tags)
        good = verifier.verify_sig(sig, include, fields[0], lambda name, timeout=0: record)
    except Mismatch as mismatch:
        return _told(tags, "fail", str(mismatch))
    except Refused as refused:
        return _told(tags, "permerror", str(refused))
    except dkim.UnknownKeyTypeError:
        return _told(tags, "permerror", "unusable key")
    except dkim.KeyFormatError as error:
        weak = "too small" in str(error)
        return _told(tags, "policy" if weak else "permerror", "key under 1024 bits" if weak else "unusable key")
    except dkim.DKIMException as error:
        return _told(tags, *_sorted_out(str(error)))
    except Exception:
        # dkimpy meets what strangers write; whatever else it raises (ValueError, IndexError, nacl's own)
        # is a fault of the signature or its key, and no message may stop the check.
        return _told(tags, "permerror", "unusable signature")
    if good:
        return _told(tags, "pass", f"l={int(tags[b'l'])}" if tags.get(b"l") else "")
    return _told(tags, "permerror", "unusable key") if reasons.last else _told(tags, "fail", "signature mismatch")


def _sorted_out(words: str) -> tuple[str, str]:
    """dkimpy's ValidationError -> result and our words; its own quote the message."""
    if words.startswith("x= value is past"):
        return "fail", "signature expired"
    return "permerror", words.partition(" (")[0].partition(" b'")[0]


def _check_key_flags(key: Mapping[bytes, bytes], tags: Mapping[bytes, bytes]) -> None:
    """RFC 6376 3.6.1 t=s: the domain of i= must be that of d=.  Raises Refused."""
    flags = re.split(rb"\s*:\s*", key.get(b"t", b""))
    if b"s" in flags and b"i" in tags and tags[b"i"].rpartition(b"@")[2].lower() != tags[b"d"].lower():
        raise Refused("i= is a subdomain, the key forbids it")


def _told(tags: Mapping[bytes, bytes], result: str, reason: str) -> Verified:
    def text(name: bytes) -> str:
        return plain(tags.get(name, b"").decode("utf-8", "replace"))

    begins = re.sub(r"\s", "", text(b"b"))[:8]
    domain = ascii_domain(tags.get(b"d", b"").decode("utf-8", "replace")) or text(b"d")
    return Verified(result, reason, domain, text(b"s"), text(b"a"), begins)


def _key_of(header: bytes) -> str:
    """The name of its key; "" when it names none."""
    try:
        sane(header)
        return key_name(tags_of(header.partition(b":")[2]))
    except Refused:
        return ""


def finding(verified: Sequence[Verified], count: int, seconds: float = 0.0) -> Finding:
    """Pure.  All signatures as one finding; the best of them is its result."""
    results = tuple(
        resinfo(
            "dkim", v.result, v.reason, header_d=v.domain, header_s=v.selector, header_a=v.algorithm, header_b=v.begins
        )
        for v in verified
    )
    order = ("pass", "temperror", "fail", "policy", "permerror")
    best = min((v.result for v in verified), key=order.index, default="none")
    told = ", ".join(f"{v.result} ({', '.join(filter(None, (v.domain, v.reason)))})" for v in verified) or "none"
    detail = plain(told if count <= MOST else f"the first {MOST} of {count}: {told}")
    facts: dict[str, str | float | tuple[str, ...]] = {
        "result": best,
        "passed": tuple(v.domain for v in verified if v.result == "pass" and ascii_domain(v.domain)),
    }
    return Finding(
        "dkim", "dkimpy", Seen.NEUTRAL, detail, results=results or ("dkim=none",), facts=facts, seconds=seconds
    )
