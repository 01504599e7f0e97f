"""Pure.  signature: what dkimpy verifies for DKIM and ARC, and what we do before it may.

dkimpy parses tags, canonicalizes headers, hashes them and checks RSA and
ed25519.  Around its `verify_sig`, the one place through which DKIM signatures,
ARC-Message-Signatures and ARC-Seals all pass, `Bounded` does three things:

    the body hash is ours (dkim_body), computed once for each form of it;
        dkimpy gets the tags without bh= and so leaves the body alone
    only those headers that h= selects are handed on: dkimpy looks through all
        of them once for each name
    keys come from answers that were looked up before: nothing here waits

and refuses what costs more than any signature is worth: a field over 16 KiB,
a run of more than 64 blanks in it (dkimpy's expressions backtrack over
blanks), more than 500 names in h=, an RSA key over 8,192 bits or with an
exponent over 64 bits.

Standards: RFC 6376, RFC 8301 (rsa-sha1, short keys), RFC 8463, RFC 8617.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import UnparsableKeyError, parse_public_key
from dkim.util import parse_tag_value

from backupmx.check.dkim_body import body_hash
from backupmx.mail.message import Buffer

_LONGEST_FIELD = 16 << 10
_MOST_NAMES = 500
_LONGEST_KEY = 1600
# Octets of base64: 8,192 bits of RSA are about 1,400.
_BLANKS = re.compile(rb"\s{65}")
_FOLD = re.compile(rb"\n(?=[ \t])")

Keys = Mapping[str, bytes]
"""By name without the final dot, in lower case: the key record."""


class Refused(dkim.DKIMException):  # type: ignore[misc]
    """Costs more than it is worth, or says nothing: a permanent error of the signer."""


class Mismatch(dkim.DKIMException):  # type: ignore[misc]
    """The body is not the one that was signed."""


def field_of(header: bytes) -> list[bytes]:
    """A logical header as dkimpy wants it: name and value, folds and end as CRLF."""
    name, _, value = header.partition(b":")
    return [name, value.replace(b"\n", b"\r\n") + b"\r\n"]


def sane(value: bytes) -> None:
    """Raises Refused for a signature field that nobody writes."""
    if len(value) > _LONGEST_FIELD:
        raise Refused("field too long")
    if _BLANKS.search(value):
        raise Refused("too many blanks")


@lru_cache(maxsize=500)
def tags_of(value: bytes) -> Mapping[bytes, bytes]:
    """The tags of a signature field or key record.  Raises Refused."""
    try:
        tags: dict[bytes, bytes] = parse_tag_value(value)
    except (dkim.util.InvalidTagValueList, IndexError):
        raise Refused("not a list of tags") from None
    return tags


def key_name(tags: Mapping[bytes, bytes]) -> str:
    """selector._domainkey.domain.  Raises Refused."""
    try:
        name = tags[b"s"] + b"._domainkey." + tags[b"d"]
        return name.decode("utf-8").rstrip(".").lower()
    except (KeyError, UnicodeDecodeError):
        raise Refused("no s= or d=") from None


@lru_cache(maxsize=1000)
def vetted_key(record: bytes) -> bytes:
    """A key record that dkimpy may compute with.  Raises Refused."""
    tags = tags_of(record)
    key = re.sub(rb"\s+", b"", tags.get(b"p", b""))
    if not key:
        raise Refused("key revoked" if b"p" in tags else "no key in the record")
    if len(key) > _LONGEST_KEY:
        raise Refused("key too long")
    if tags.get(b"k", b"rsa") == b"rsa":
        try:
            parts = parse_public_key(base64.b64decode(key))
        except (UnparsableKeyError, binascii.Error, ValueError, IndexError, KeyError, TypeError):
            raise Refused("unreadable key") from None
        if parts["modulus"].bit_length() > 8192 or parts["publicExponent"].bit_length() > 64:
            raise Refused("key too long")
    return record


class Body:
    """A message body whose hashes are computed once for each form, algorithm and l=."""

    def __init__(self, chunks: Sequence[Buffer]) -> None:
        self._chunks = chunks
        self._digests: dict[tuple[str, bool, int | None], bytes] = {}

    def digest(self, algorithm: str, relaxed: bool, length: int | None) -> bytes:
        key = (algorithm, relaxed, length)
        if key not in self._digests:
            self._digests[key] = body_hash(self._chunks, algorithm, relaxed=relaxed, length=length)
        return self._digests[key]


class Reasons:
    """dkimpy tells its logger why a key was not good; this keeps the last word instead of logging it."""

    def __init__(self) -> None:
        self.last = ""

    def error(self, message: object, *rest: object) -> None:
        self.last = str(message)

    def debug(self, message: object, *rest: object) -> None:
        """Its monologue."""

    def isEnabledFor(self, level: int) -> bool:
        return False


class Bounded:
    """Mixed in before dkim.DKIM or dkim.ARC."""

    headers: list[list[bytes]]

    def guard(self, headers: Sequence[bytes], body: Body) -> None:
        """All headers of the message, and its body."""
        self._all = headers
        self._body = body

    def verify_sig(self, sig: dict[bytes, bytes], include: list[bytes], field: Sequence[bytes], dns: Any) -> bool:
        """Through here pass all three kinds of signatures.  Raises DKIMException."""
        sane(field[1])
        if len(include) > _MOST_NAMES:
            raise Refused("too many names in h=")
        if sig.get(b"a") == b"rsa-sha1":
            raise Refused("rsa-sha1 is no longer valid")  # RFC 8301 3.1: MUST NOT be used for verifying
        if b"bh" in sig:
            self._check_body(sig)
        before, self.headers = self.headers, selected(self._all, include)
        try:
            tags = {name: value for name, value in sig.items() if name != b"bh"}
            verified: bool = super().verify_sig(tags, include, field, dns)  # type: ignore[misc]
            return verified
        finally:
            self.headers = before

    def _check_body(self, sig: Mapping[bytes, bytes]) -> None:
        try:
            form = CanonicalizationPolicy.from_c_value(sig.get(b"c", b"simple/simple")).body_algorithm.name
        except dkim.InvalidCanonicalizationPolicyError:
            raise Refused("unknown c=") from None
        length = int(sig[b"l"]) if sig.get(b"l") else None
        digest = self._body.digest("sha256", form == b"relaxed", length)
        try:
            signed = base64.b64decode(re.sub(rb"\s+", b"", sig[b"bh"]))
        except (binascii.Error, ValueError):
            raise Refused("bh= is no base64") from None
        if signed != digest:
            raise Mismatch("body hash mismatch")


def selected(headers: Sequence[bytes], include: Iterable[bytes]) -> list[list[bytes]]:
    """The headers that h= can reach: of each name the lowest, as many as h= names it, and one From more.

    RFC 6376 5.4.2: names are taken from the bottom of the header block up.
    """
    wanted = Counter(include)
    if b"from" in wanted:
        wanted[b"from"] += 1  # dkimpy hashes one more, so that no second From can be added unseen
    reached = []
    for header in reversed(headers):
        name = header.partition(b":")[0].rstrip().lower()
        if wanted.get(name, 0) > 0:
            wanted[name] -= 1
            reached.append(field_of(header))
    reached.reverse()
    return reached
