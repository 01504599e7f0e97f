"""tokens: who may see what: the file of tokens, and the sessions made of them.

    page.tokens     0600, in state_dir: "WHO TOKEN" a line
    operator        everything
    metrics         /metrics alone, for Prometheus
    example.jp      what waits for this domain, to read

A token is 256 bits of chance; nobody guesses one, however often he may try.  A session is a
cookie that says who and until when, signed with his token: nothing is kept of it here, a
restart ends none, and a new token ends all that the old one began.  The CSRF word of a
session is signed the same way, so another site cannot know it.

Comparisons take the same time whatever is wrong.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FILE = "page.tokens"
OPERATOR, METRICS = "operator", "metrics"
SESSION = 12 * 3600.0
"""Seconds until somebody has to come with his token again: one shift."""
_STEP = 300.0
"""So far the clock may be set back without ending sessions; further, and they would last longer than a shift."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks."""

    who: str
    csrf: str = ""
    """What his forms must say; "" for a program, which no other site can send."""

    @property
    def operates(self) -> bool:
        return self.who == OPERATOR

    @property
    def domain(self) -> str:
        """Whose mail he may see; "" for operator and metrics."""
        return "" if self.who in (OPERATOR, METRICS) else self.who


class Tokens:
    """The file.  Every method may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """Who has which."""
        try:
            lines = self.path.read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return {}
        return {words[0]: words[1] for line in lines if len(words := line.split()) == 2}

    def issue(self, who: str, new: bool = False) -> str:
        """His token, made if he has none or shall have a new one."""
        with self._alone():
            known = self.read()
            if new or who not in known:
                known[who] = secrets.token_urlsafe(32)
                self._write(known)
            return known[who]

    def revoke(self, who: str) -> bool:
        """-> whether he had one"""
        with self._alone():
            known = self.read()
            if known.pop(who, None) is None:
                return False
            self._write(known)
            return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands at once: neither loses what the other wrote."""
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, known: Mapping[str, str]) -> None:
        """Whole or not at all: who reads meanwhile reads the old ones."""
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.writelines(f"{who} {token}\n" for who, token in sorted(known.items()))
                file.flush()
                os.fsync(file.fileno())  # else a power cut leaves an empty file of the right name
            fresh.replace(self.path)
        except OSError:  # a full disk: what is half a file is in nobody's way
            fresh.unlink(missing_ok=True)
            raise


def bearer(known: Mapping[str, str], token: str) -> Visitor | None:
    """Pure.  Whose token this is."""
    given, found = token.encode("utf-8", "replace"), None
    for who, his in known.items():  # all of them, also behind the one that fits
        if hmac.compare_digest(given, his.encode()):
            found = who
    return None if found is None else Visitor(found)


def same(given: str, right: str) -> bool:
    """Pure.  In the same time, whatever differs."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


def session(token: str, who: str, now: float) -> str:
    """A cookie's value, for whoever came with this token."""
    plain = f"{who}:{int(now + SESSION)}:{secrets.token_hex(8)}"
    return f"{plain}:{_signed(token, 'session', plain)}"


def visitor(known: Mapping[str, str], cookie: str, now: float) -> Visitor | None:
    """Pure.  Of a session that is ours and not over."""
    plain, _, mac = cookie.rpartition(":")
    who, _, rest = plain.partition(":")
    until, _, nonce = rest.partition(":")
    token = known.get(who, "")
    good = hmac.compare_digest(mac.encode("utf-8", "replace"), _signed(token, "session", plain).encode())
    if not (token and good and until.isdecimal() and 0 < int(until) - now <= SESSION + _STEP):
        return None
    return Visitor(who, _signed(token, "csrf", nonce))


def _signed(token: str, purpose: str, text: str) -> str:
    key = f"{purpose} {token}".encode()
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
